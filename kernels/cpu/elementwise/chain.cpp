#include "kernels/cpu/elementwise/chain.h"

#include "kernels/cpu/elementwise/functions.h"
#include "kernels/cpu/elementwise/map.h"
#include "kernels/cpu/elementwise/pairs.h"

namespace minidl::MINIDL_ISA {
namespace {

using Block = const float* const*;

template <class F>
MINIDL_INLINE void each(float* to, int64_t n, const F& f) {
  for (int64_t i = 0; i < n; i += W) store(to + i, f(i));
}

template <class F>
void unary_step(float* to, Block from, int64_t n, const ChainStep& s) {
  UnaryForward p{};
  p.a = s.a, p.b = s.b, p.c = s.c;
  each(to, n, [&](int64_t i) MINIDL_HERE { return F::y(load(from[0] + i), p); });
}

template <class F>
void binary_step(float* to, Block from, int64_t n) {
  each(to, n, [&](int64_t i) MINIDL_HERE { return F::y(load(from[0] + i), load(from[1] + i)); });
}

void step(const ChainStep& s, float* to, Block from, int64_t n) {
  switch (s.function) {
#define X(name)    \
  case Step::name: \
    return unary_step<functions::name>(to, from, n, s);
    MINIDL_EACH_UNARY(X)
#undef X
#define X(name)    \
  case Step::name: \
    return binary_step<pairs::name>(to, from, n);
    MINIDL_EACH_BINARY(X)
    MINIDL_EACH_COMPARISON(X)
#undef X
    case Step::sign:
      return each(to, n, [&](int64_t i) MINIDL_HERE {
        vf x = load(from[0] + i);
        return x > 0.f ? splatf(1) : x < 0.f ? splatf(-1) : x;  // (0, or NaN)
      });
    case Step::where:
      return each(to, n, [&](int64_t i) MINIDL_HERE {
        return load(from[0] + i) != 0.f ? load(from[1] + i) : load(from[2] + i);
      });
  }
}

// What one task works in: operands as blocks, those that are one number spread out.
class Workspace {
 public:
  explicit Workspace(const Chain& p)
      : p_(p),
        constants_(p.inputs_count),
        registers_(constants_ + p.constants_count),
        memory_((registers_ + Chain::REGISTERS) * Chain::BLOCK) {
    for (int i = 0; i < p.inputs_count; i++)
      if (p.one[i]) spread(i, *p.inputs[i]);
    for (int i = 0; i < p.constants_count; i++) spread(constants_ + i, p.constants[i]);
  }
  // The result of n elements from `first` on, in whole vectors: in `y`, or where it is more convenient.
  MINIDL_INLINE const float* run(int64_t first, int64_t n, float* y) {
    const float* blocks[Chain::INPUTS + Chain::CONSTANTS + Chain::REGISTERS];
    for (int i = 0; i < registers_ + Chain::REGISTERS; i++) blocks[i] = block(i);
    for (int i = 0; i < p_.inputs_count; i++) {
      if (p_.one[i]) continue;
      if (n % W) {
        for (int64_t j = 0; j < n; j += W) store(block(i) + j, load_n(p_.inputs[i] + first + j, n - j));
      } else {
        blocks[i] = p_.inputs[i] + first;
      }
    }
    float* to = nullptr;
    for (int k = 0; k < p_.count; k++) {
      const ChainStep& s = p_.steps[k];
      const float* from[3] = {blocks[s.from[0]], blocks[s.from[1]], blocks[s.from[2]]};
      to = k + 1 == p_.count && y && n % W == 0 ? y : block(registers_ + s.to);
      step(s, to, from, round_up(n, W));
    }
    return to;
  }

 private:
  float* block(int i) { return memory_ + i * Chain::BLOCK; }
  void spread(int i, float number) {
    for (int64_t j = 0; j < Chain::BLOCK; j += W) store(block(i) + j, splatf(number));
  }
  const Chain& p_;
  const int constants_, registers_;
  Scratch<float> memory_;
};

MINIDL_INLINE float block_sum(const float* x, int64_t n) {
  Chains sums;
  for (int64_t i = 0, k = 0; i < n; i += W, k++) sums.chain[k % 4] += load_n(x + i, n - i);
  return sums.total();
}

}  // namespace

void chain(const Chain& p) {
  const int64_t tasks = ceil_div(p.size, CHUNK);
  Scratch<double> totals(p.sums ? tasks : 0);
  parallel_for(tasks, [&](int64_t task) {
    Workspace work(p);
    double total = 0;
    const int64_t end = min(p.size, (task + 1) * CHUNK);
    for (int64_t i = task * CHUNK; i < end; i += Chain::BLOCK) {
      const int64_t n = min<int64_t>(Chain::BLOCK, end - i);
      float* y = p.sums ? nullptr : p.y + i;
      const float* result = work.run(i, n, y);
      if (p.sums)
        total += block_sum(result, n);
      else if (result != y)
        for (int64_t j = 0; j < n; j += W) store_n(y + j, load(result + j), n - j);
    }
    if (p.sums) totals[task] = total;
  });
  if (!p.sums) return;
  double total = 0;
  for (int64_t task = 0; task < tasks; task++) total += totals[task];
  *p.y = static_cast<float>(total / p.divisor);
}

}  // namespace minidl::MINIDL_ISA
