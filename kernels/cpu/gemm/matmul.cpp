// Products of batches of matrices: many small ones side by side, large ones one after another on all threads.
#include "kernels/cpu/gemm/matmul.h"

#include "kernels/cpu/gemm.h"

namespace minidl::MINIDL_ISA {
namespace {

constexpr double LARGE = 4e6;  // FLOPs from which one product keeps all threads busy by itself

template <class T>
void product(const MatmulOf<T>& p, int64_t index) {
  int64_t a = 0, b = 0, rest = index;
  for (int axis = p.axes - 1; axis >= 0; axis--) {
    a += rest % p.sizes[axis] * p.a_strides[axis];
    b += rest % p.sizes[axis] * p.b_strides[axis];
    rest /= p.sizes[axis];
  }
  gemm<T>(p.M, p.N, p.K, p.a + a, p.ars, p.acs, p.b + b, p.brs, p.bcs, p.c + index * p.M * p.N, p.N);
}

template <class T>
void products(const MatmulOf<T>& p) {
  int64_t batch = 1;
  for (int axis = 0; axis < p.axes; axis++) batch *= p.sizes[axis];
  const double work = 2. * static_cast<double>(p.M) * static_cast<double>(p.N) * static_cast<double>(p.K);
  if (batch == 1 || work >= LARGE) {
    for (int64_t i = 0; i < batch; i++) product(p, i);
  } else {
    parallel_chunks(batch, max<int64_t>(1, static_cast<int64_t>(LARGE / 8 / work)), [&](int64_t first, int64_t end) {
      for (int64_t i = first; i < end; i++) product(p, i);
    });
  }
}

}  // namespace

void matmul(const Matmul& p) { products(p); }
void matmul_double(const MatmulDouble& p) { products(p); }

}  // namespace minidl::MINIDL_ISA
