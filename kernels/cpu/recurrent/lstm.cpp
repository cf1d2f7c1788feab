// Long short-term memory: gates i, f, g, o; what is kept is the bent gates and all states.
#include "kernels/cpu/recurrent/steps.h"

namespace minidl::MINIDL_ISA {
namespace {

struct LstmForward {
  static constexpr int GATES = 4, BIASES = 4, ADDED = 4, KEPT = 4;
  const RecurrentForward& p;
  const float* bias;

  MINIDL_INLINE vf operator()(const Place& at) const {
    const int64_t H = p.hidden, n = at.lanes, state = at.row * H + at.column, pitch = at.pitch;
    const int64_t step = p.keep ? p.rows * H : 0;
    float* gate = p.gates + at.gate;
    const float* b = bias + at.column;
    vf i = gate_sigmoid(load_n(gate, n) + load_n(b, n)), f = gate_sigmoid(load_n(gate + pitch, n) + load_n(b + H, n));
    vf g = gate_tanh(load_n(gate + 2 * pitch, n) + load_n(b + 2 * H, n));
    vf o = gate_sigmoid(load_n(gate + 3 * pitch, n) + load_n(b + 3 * H, n));
    vf c = f * load_n(p.c + at.before * step + state, n) + i * g;
    store_n(p.c + at.after * step + state, c, n);
    if (p.keep) {
      store_n(gate, i, n);
      store_n(gate + pitch, f, n);
      store_n(gate + 2 * pitch, g, n);
      store_n(gate + 3 * pitch, o, n);
    }
    return o * gate_tanh(c);
  }
  MINIDL_INLINE void stay(const Place& at) const {
    float* c = p.c + at.row * p.hidden + at.column;
    if (p.keep)
      store_n(c + at.after * p.rows * p.hidden, load_n(c + at.before * p.rows * p.hidden, at.lanes), at.lanes);
  }
};

struct LstmBackward {
  static constexpr int GATES = 4, KEPT = 4;
  const RecurrentBackward& p;

  Gradient gradient(int gate, int64_t t) const {
    return {p.ga + t * p.rows * 4 * p.hidden + gate * p.hidden, 4 * p.hidden};
  }
  MINIDL_INLINE void ask(const Place& at, int64_t state, int64_t n) const {
    MINIDL_ISA::ask(p.c + at.before * p.rows * p.hidden + state, n);
  }
  MINIDL_INLINE vf operator()(const Place& at, vf gh) const {
    const int64_t H = p.hidden, n = at.lanes, state = at.row * H + at.column;
    const float* gate = p.gates + at.gate;
    vf i = load_n(gate, n), f = load_n(gate + at.pitch, n);
    vf g = load_n(gate + 2 * at.pitch, n), o = load_n(gate + 3 * at.pitch, n);
    vf before = load_n(p.c + at.before * p.rows * H + state, n);
    vf bent = gate_tanh(load_n(p.c + at.after * p.rows * H + state, n));
    vf gc = load_n(p.gc + state, n) + gh * o * (1.f - bent * bent);
    float* ga = p.ga + (at.t * p.rows + at.row) * 4 * H + at.column;
    store_n(ga, gc * g * (i - i * i), n);
    store_n(ga + H, gc * before * (f - f * f), n);
    store_n(ga + 2 * H, gc * i * (1.f - g * g), n);
    store_n(ga + 3 * H, gh * bent * (o - o * o), n);
    store_n(p.gc + state, gc * f, n);
    return vf{};
  }
  MINIDL_INLINE void still(const Place& at) const {
    float* ga = p.ga + (at.t * p.rows + at.row) * 4 * p.hidden + at.column;
    for (int gate = 0; gate < 4; gate++) store_n(ga + gate * p.hidden, vf{}, at.lanes);
  }
};

}  // namespace

void lstm_forward(const RecurrentForward& p) { forward<LstmForward>(p); }
void lstm_backward(const RecurrentBackward& p) { backward(p, LstmBackward{p}); }

}  // namespace minidl::MINIDL_ISA
