// Products of matrices of floats, sums of columns.
#include "kernels/cpu/gemm/matmul.h"

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemm/batch.h"

namespace minidl::MINIDL_ISA {
namespace {

template <class T>
void products(const MatmulOf<T>& p) {
  for_each_product(p, [&](int64_t a, int64_t b, int64_t c) {
    const Epilogue<T> e{p.scale, p.bias, p.activation, p.residual, p.N};
    const bool in_place = p.M <= FEW;  // (read once, a packed matrix gains nothing)
    if (p.packed && !in_place)
      gemm_prepacked<T>(p.M, p.N, p.K, p.a, p.ars, p.acs, p.packed, p.c, p.N, e);
    else
      gemm<T>(p.M, p.N, p.K, p.a + a, p.ars, p.acs, p.b + b, p.brs, p.bcs, p.c + c, p.N, e);
  });
}

// A row of ones times x.
template <class T>
void sums(const ColumnSumsOf<T>& p) {
  const T one = 1;
  if (p.M > 0)
    thin<T>(1, p.N, p.M, {&one, 0, 0}, {p.x, p.N, 1}, p.sums, p.N, 1, false);
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
