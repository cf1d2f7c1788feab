// Optimizer steps: each parameter, its gradient and what is remembered of it are read once and written once, and all
// tensors of a group share one run of the pool, as most of them are small.
#include "kernels/cpu/optim/step.h"

#include "kernels/cpu/math.h"
#include "kernels/cpu/rows.h"

namespace minidl::MINIDL_ISA {
namespace {

// f(tensor, first, size, task) for each task: `size` elements of a tensor from `first` on.
template <class F>
MINIDL_INLINE void for_all(const StepTensor* tensors, int64_t count, const F& f) {
  const StepTensor& last = tensors[count - 1];
  parallel_for(last.task + step_tasks(last.size), [&](int64_t task) {
    int64_t low = 0, high = count;  // the tensor is in [low, high)
    while (high - low > 1) {
      int64_t middle = (low + high) / 2;
      (tensors[middle].task <= task ? low : high) = middle;
    }
    const StepTensor t = tensors[low];
    const int64_t first = (task - t.task) * STEP_CHUNK;
    f(t, first, min(STEP_CHUNK, t.size - first), task);
  });
}

}  // namespace

void adam_step(const AdamStep& q) {
  const AdamStep s = q;
  for_all(s.tensors, s.count, [&](const StepTensor& t, int64_t first, int64_t size, int64_t) {
    for_vectors(size, [&](int64_t i, int64_t lanes) __attribute__((always_inline)) {
      i += first;
      vf p = load_n(t.p + i, lanes), g = load_n(t.g + i, lanes);
      if (s.decay != 0) g += p * s.decay;
      vf mean = load_n(t.first + i, lanes) * s.beta1 + g * s.rest1;
      vf square = load_n(t.second + i, lanes) * s.beta2 + g * g * s.rest2;
      store_n(t.first + i, mean, lanes);
      store_n(t.second + i, square, lanes);
      if (t.third) {
        square = vmax(load_n(t.third + i, lanes), square);
        store_n(t.third + i, square, lanes);
      }
      store_n(t.p + i, p * s.shrink - mean / (vsqrt(square) * t.correction + s.eps) * t.rate, lanes);
    });
  });
}

void sgd_step(const SgdStep& q) {
  const SgdStep s = q;
  for_all(s.tensors, s.count, [&](const StepTensor& t, int64_t first, int64_t size, int64_t) {
    for_vectors(size, [&](int64_t i, int64_t lanes) __attribute__((always_inline)) {
      i += first;
      vf p = load_n(t.p + i, lanes), g = load_n(t.g + i, lanes);
      if (s.decay != 0) g += p * s.decay;
      if (t.first) {
        vf velocity = load_n(t.first + i, lanes) * s.momentum + g * t.correction;
        store_n(t.first + i, velocity, lanes);
        g = s.nesterov ? g + velocity * s.momentum : velocity;
      }
      store_n(t.p + i, p - g * t.rate, lanes);
    });
  });
}

void squared_sums(const SquaredSums& q) {
  for_all(q.tensors, q.count, [&](const StepTensor& t, int64_t first, int64_t size, int64_t task) {
    Chains sums;
    for_chains(size, [&](int64_t i, int64_t lanes, int c) {
      vf g = load_n(t.g + first + i, lanes);
      sums.chain[c] += g * g;
    });
    q.sums[task] = sums.total();
  });
}

void scale_all(const ScaleAll& q) {
  for_all(q.tensors, q.count, [&](const StepTensor& t, int64_t first, int64_t size, int64_t) {
    const bool streamed = t.size * static_cast<int64_t>(sizeof(float)) >= STREAMED;
    write_row(t.p + first, size, streamed,
              [&](int64_t i, int64_t lanes) { return load_n(t.g + first + i, lanes) * q.scale; });
    if (streamed) stream_fence();
  });
}

}  // namespace minidl::MINIDL_ISA
