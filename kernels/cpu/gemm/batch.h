// Batches of products: many small ones side by side, large ones one after another on all threads.
#pragma once
#include "kernels/cpu/gemm/matmul.h"
#include "kernels/cpu/simd.h"

namespace minidl::MINIDL_ISA {

// product(a, b, c) with the offsets of each product's operands.
template <class P, class F>
void for_each_product(const P& p, const F& product) {
  constexpr double LARGE = 4e6;  // FLOPs from which one product keeps all threads busy by itself
  int64_t batch = 1;
  for (int axis = 0; axis < p.axes; axis++) batch *= p.sizes[axis];
  auto one = [&](int64_t index) {
    int64_t a = 0, b = 0, rest = index;
    for (int axis = p.axes - 1; axis >= 0; axis--) {
      a += rest % p.sizes[axis] * p.a_strides[axis];
      b += rest % p.sizes[axis] * p.b_strides[axis];
      rest /= p.sizes[axis];
    }
    product(a, b, index * p.M * p.N);
  };
  const double work = 2. * static_cast<double>(p.M) * static_cast<double>(p.N) * static_cast<double>(p.K);
  if (batch == 1 || work >= LARGE) {
    for (int64_t i = 0; i < batch; i++) one(i);
  } else {
    parallel_chunks(batch, static_cast<int64_t>(LARGE / 8 / (work + 1)), [&](int64_t first, int64_t end) {
      for (int64_t i = first; i < end; i++) one(i);
    });
  }
}

}  // namespace minidl::MINIDL_ISA
