// Elman networks, the packing of weights, and sums over rows.
#include "kernels/cpu/recurrent/steps.h"

namespace minidl::MINIDL_ISA {
namespace {

struct RnnForward {
  static constexpr int GATES = 1, BIASES = 1, ADDED = 1, KEPT = 1;
  const RecurrentForward& p;
  const float* bias;

  MINIDL_INLINE vf operator()(const Place& at) const {
    vf x = load_n(p.gates + at.gate, at.lanes);
    x += load_n(bias + at.column, at.lanes);
    return !p.relu ? gate_tanh(x) : x > 0.f ? x : x == x ? vf{} : x;
  }
  MINIDL_INLINE void stay(const Place&) const {}
};

struct RnnBackward {
  static constexpr int GATES = 1, KEPT = 1;
  const RecurrentBackward& p;

  Gradient gradient(int, int64_t t) const { return {p.ga + t * p.rows * p.hidden, p.hidden}; }
  MINIDL_INLINE void ask(const Place&, int64_t, int64_t) const {}
  MINIDL_INLINE vf operator()(const Place& at, vf gh) const {
    const int64_t state = at.row * p.hidden + at.column;
    vf h = load_n(p.h + at.after * p.rows * p.hidden + state, at.lanes);
    vf g = !p.relu ? gh * (1.f - h * h) : h > 0.f ? gh : vf{};
    store_n(p.ga + at.t * p.rows * p.hidden + state, g, at.lanes);
    return vf{};
  }
  MINIDL_INLINE void still(const Place& at) const {
    store_n(p.ga + (at.t * p.rows + at.row) * p.hidden + at.column, vf{}, at.lanes);
  }
};

}  // namespace

void rnn_forward(const RecurrentForward& p) { forward<RnnForward>(p); }
void rnn_backward(const RecurrentBackward& p) { backward(p, RnnBackward{p}); }

void recurrent_pack(const PackRecurrent& p) {
  const Problem problem{0, 0, p.hidden, p.gates, 0, false, false, nullptr};
  pack_weight(problem, p.depth, p.weight, p.packed);
}

// In blocks of rows, then over the blocks.
void sum_rows(const SumRows& p) {
  constexpr int64_t STRIP = 16 * W;
  const int64_t n = p.columns, blocks = min<int64_t>(64, ceil_div(p.rows, 64)), strips = ceil_div(n, STRIP);
  Scratch<float> sums(blocks * n);
  auto sum = [&](const float* x, int64_t rows, int64_t column, float* y) {
    vf total[16] = {};
    for (int64_t row = 0; row < rows; row++) {
      MINIDL_UNROLL
      for (int v = 0; v < 16; v++) total[v] += load_n(x + row * n + column + v * W, n - column - v * W);
    }
    for (int v = 0; v < 16; v++) store_n(y + column + v * W, total[v], n - column - v * W);
  };
  parallel_for(blocks * strips, [&](int64_t i) {
    const int64_t block = i / strips, first = p.rows * block / blocks;
    sum(p.x + first * n, p.rows * (block + 1) / blocks - first, i % strips * STRIP, sums + block * n);
  });
  parallel_for(strips, [&](int64_t i) { sum(sums, blocks, i * STRIP, p.y); });
}

}  // namespace minidl::MINIDL_ISA
