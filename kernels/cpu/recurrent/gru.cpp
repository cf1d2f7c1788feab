// Gated recurrent unit: gates r, z and the new state, whose recurrent part is kept beside them, as r multiplies it
// alone.
#include "kernels/cpu/recurrent/steps.h"

namespace minidl::MINIDL_ISA {
namespace {

struct GruForward {
  static constexpr int GATES = 3, BIASES = 4, ADDED = 2;
  const RecurrentForward& p;
  const float* bias;

  Product product(int gate, int64_t t) const {
    if (gate == 2) return {p.recurrent + t * p.rows * p.hidden, p.hidden, false};
    return {p.gates + t * p.rows * 3 * p.hidden + gate * p.hidden, 3 * p.hidden, true};
  }
  MINIDL_INLINE vf operator()(const Place& at) const {
    const int64_t H = p.hidden, n = at.lanes, state = at.row * H + at.column;
    float* gate = p.gates + (at.t * p.rows + at.row) * 3 * H + at.column;
    float* recurrent = p.recurrent + at.t * p.rows * H + state;
    const float* b = bias + at.column;
    vf part = load_n(recurrent, n) + load_n(b + 3 * H, n);
    vf r = gate_sigmoid(load_n(gate, n) + load_n(b, n)), z = gate_sigmoid(load_n(gate + H, n) + load_n(b + H, n));
    vf fresh = gate_tanh(load_n(gate + 2 * H, n) + load_n(b + 2 * H, n) + r * part);
    store_n(recurrent, part, n);
    store_n(gate, r, n);
    store_n(gate + H, z, n);
    store_n(gate + 2 * H, fresh, n);
    return fresh + z * (load_n(p.h + at.before * p.rows * H + state, n) - fresh);
  }
  MINIDL_INLINE void stay(const Place&) const {}
};

struct GruBackward {
  static constexpr int GATES = 3;
  const RecurrentBackward& p;

  Product gradient(int gate, int64_t t) const {
    if (gate == 2) return {p.gb + t * p.rows * p.hidden, p.hidden, false};
    return {p.ga + t * p.rows * 3 * p.hidden + gate * p.hidden, 3 * p.hidden, false};
  }
  MINIDL_INLINE vf operator()(const Place& at, vf gh) const {
    const int64_t H = p.hidden, n = at.lanes, state = at.row * H + at.column;
    const int64_t gates = (at.t * p.rows + at.row) * 3 * H + at.column, recurrent = at.t * p.rows * H + state;
    vf r = load_n(p.gates + gates, n), z = load_n(p.gates + gates + H, n), fresh = load_n(p.gates + gates + 2 * H, n);
    vf before = load_n(p.h + at.before * p.rows * H + state, n);
    vf of_fresh = gh * (1.f - z) * (1.f - fresh * fresh);
    store_n(p.ga + gates, of_fresh * load_n(p.recurrent + recurrent, n) * (r - r * r), n);
    store_n(p.ga + gates + H, gh * (before - fresh) * (z - z * z), n);
    store_n(p.ga + gates + 2 * H, of_fresh, n);
    store_n(p.gb + recurrent, of_fresh * r, n);
    return gh * z;
  }
  MINIDL_INLINE void still(const Place& at) const {
    const int64_t row = at.t * p.rows + at.row;
    for (int gate = 0; gate < 3; gate++) store_n(p.ga + (row * 3 + gate) * p.hidden + at.column, vf{}, at.lanes);
    store_n(p.gb + row * p.hidden + at.column, vf{}, at.lanes);
  }
};

}  // namespace

void gru_forward(const RecurrentForward& p) { forward<GruForward>(p); }
void gru_backward(const RecurrentBackward& p) { backward(p, GruBackward{p}); }

}  // namespace minidl::MINIDL_ISA
