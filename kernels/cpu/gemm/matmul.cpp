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
  T* c = p.c + index * p.M * p.N;
  const Epilogue<T> e{p.scale, p.bias, p.activation, p.residual, p.N};
  const bool in_place = p.M <= FEW;  // (read once, a packed matrix gains nothing)
  if (p.packed && !in_place)
    gemm_prepacked<T>(p.M, p.N, p.K, p.a, p.ars, p.acs, p.packed, c, p.N, e);
  else
    gemm<T>(p.M, p.N, p.K, p.a + a, p.ars, p.acs, p.b + b, p.brs, p.bcs, c, p.N, e);
}

template <class T>
void products(const MatmulOf<T>& p) {
  int64_t batch = 1;
  for (int axis = 0; axis < p.axes; axis++) batch *= p.sizes[axis];
  const double work = 2. * static_cast<double>(p.M) * static_cast<double>(p.N) * static_cast<double>(p.K);
  if (batch == 1 || work >= LARGE) {
    for (int64_t i = 0; i < batch; i++) product(p, i);
  } else {
    parallel_chunks(batch, static_cast<int64_t>(LARGE / 8 / (work + 1)), [&](int64_t first, int64_t end) {
      for (int64_t i = first; i < end; i++) product(p, i);
    });
  }
}

// A row of ones times x.
template <class T>
void sums(const ColumnSumsOf<T>& p) {
  const T one = 1;
  if (p.M > 0)
    thin<T>(1, p.N, p.M, {&one, 0, 0}, {p.x, p.stride, 1}, p.sums, p.N, 1, false);
  else
    std::memset(p.sums, 0, sizeof(T) * static_cast<size_t>(p.N));
}

}  // namespace

void matmul(const Matmul& p) { products(p); }
void matmul_double(const MatmulDouble& p) { products(p); }
void pack_matrix(const PackMatrix& p) { pack_b(p.K, p.N, p.b, p.brs, p.bcs, p.packed); }
void column_sums(const ColumnSums& p) { sums(p); }
void column_sums_double(const ColumnSumsDouble& p) { sums(p); }

}  // namespace minidl::MINIDL_ISA
