// Gated recurrent unit: gates r, z and the new state, whose recurrent part is kept beside them, as r multiplies it
// alone.
#include "kernels/cpu/recurrent/steps.h"

namespace minidl::MINIDL_ISA {
namespace {

struct GruForward {
  static constexpr int GATES = 3, BIASES = 4, ADDED = 2, KEPT = 4;
  const RecurrentForward& p;
  const float* bias;

  MINIDL_INLINE vf operator()(const Place& at) const {
    const int64_t H = p.hidden, n = at.lanes, state = at.row * H + at.column;
    float *gate = p.gates + at.gate, *fresh_at = gate + 2 * at.pitch, *part_at = gate + 3 * at.pitch;
    const float* b = bias + at.column;
    vf part = load_n(part_at, n) + load_n(b + 3 * H, n);
    vf r = gate_sigmoid(load_n(gate, n) + load_n(b, n)),
       z = gate_sigmoid(load_n(gate + at.pitch, n) + load_n(b + H, n));
    vf fresh = gate_tanh(load_n(fresh_at, n) + load_n(b + 2 * H, n) + r * part);
    store_n(part_at, part, n);
    store_n(gate, r, n);
    store_n(gate + at.pitch, z, n);
    store_n(fresh_at, fresh, n);
    return fresh + z * (load_n(p.h + at.before * p.rows * H + state, n) - fresh);
  }
  MINIDL_INLINE void stay(const Place&) const {}
};

struct GruBackward {
  static constexpr int GATES = 3, KEPT = 4;
  const RecurrentBackward& p;

  Gradient gradient(int gate, int64_t t) const {
    if (gate == 2) return {p.gb + t * p.rows * p.hidden, p.hidden};
    return {p.ga + t * p.rows * 3 * p.hidden + gate * p.hidden, 3 * p.hidden};
  }
  MINIDL_INLINE void ask(const Place& at, int64_t state, int64_t n) const {
    MINIDL_ISA::ask(p.h + at.before * p.rows * p.hidden + state, n);
  }
  MINIDL_INLINE vf operator()(const Place& at, vf gh) const {
    const int64_t H = p.hidden, n = at.lanes, state = at.row * H + at.column;
    const int64_t gates = (at.t * p.rows + at.row) * 3 * H + at.column, recurrent = at.t * p.rows * H + state;
    const float* gate = p.gates + at.gate;
    vf r = load_n(gate, n), z = load_n(gate + at.pitch, n), fresh = load_n(gate + 2 * at.pitch, n);
    vf before = load_n(p.h + at.before * p.rows * H + state, n);
    vf of_fresh = gh * (1.f - z) * (1.f - fresh * fresh);
    store_n(p.ga + gates, of_fresh * load_n(gate + 3 * at.pitch, n) * (r - r * r), n);
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
