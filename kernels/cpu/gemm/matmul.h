#pragma once
#include <cstdint>

#include "kernels/cpu/bfloat16.h"
#include "kernels/cpu/gemm/activation.h"
#include "kernels/cpu/isa.h"

namespace minidl {

constexpr int MAX_BATCH_AXES = 16;

// C[batch..., M, N] = A[batch..., M, K] B[batch..., K, N]; strides in elements, 0 along an axis that broadcasts.
template <class T, class Out = T>
struct MatmulOf {
  const T *a, *b;
  const T* packed;  // B by pack_matrix, or null; not of a batch
  Out* c;           // dense
  int64_t M, N, K, ars, acs, brs, bcs;
  int axes;  // of the batch
  int64_t sizes[MAX_BATCH_AXES], a_strides[MAX_BATCH_AXES], b_strides[MAX_BATCH_AXES];
  const T *scale, *bias, *residual;  // (N), (N), (M, N), each or null; not of a batch
  Activation activation;
};

struct PackMatrix {
  const float* b;
  float* packed;  // packed_size(K, N) elements
  int64_t K, N, brs, bcs;
};

// sums[N] of the columns of x[M, N].
template <class T>
struct ColumnSumsOf {
  const T* x;
  T* sums;
  int64_t M, N;
};

// At most, whatever the instruction set.
constexpr int64_t packed_size(int64_t K, int64_t N) { return (N + 63) / 64 * 64 * K; }

using Matmul = MatmulOf<float>;
using MatmulDouble = MatmulOf<double>;
using MatmulInt8 = MatmulOf<int8_t, int32_t>;
using MatmulBfloat16 = MatmulOf<bfloat16>;
using MatmulBfloat16Wide = MatmulOf<bfloat16, float>;
using ColumnSums = ColumnSumsOf<float>;
using ColumnSumsDouble = ColumnSumsOf<double>;

MINIDL_KERNEL(matmul, Matmul)
MINIDL_KERNEL(matmul_double, MatmulDouble)
MINIDL_KERNEL_VNNI(matmul_int8, MatmulInt8)
MINIDL_KERNEL_VNNI(matmul_bfloat16, MatmulBfloat16)
MINIDL_KERNEL_VNNI(matmul_bfloat16_wide, MatmulBfloat16Wide)
MINIDL_KERNEL(pack_matrix, PackMatrix)
MINIDL_KERNEL(column_sums, ColumnSums)
MINIDL_KERNEL(column_sums_double, ColumnSumsDouble)

}  // namespace minidl
