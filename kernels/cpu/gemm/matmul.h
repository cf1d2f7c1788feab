#pragma once
#include <cstdint>

#include "kernels/cpu/isa.h"

namespace minidl {

constexpr int MAX_BATCH_AXES = 8;

// C[batch..., M, N] = A[batch..., M, K] B[batch..., K, N]; strides in elements, 0 along an axis that broadcasts.
template <class T>
struct MatmulOf {
  const T *a, *b;
  T* c;  // dense
  int64_t M, N, K, ars, acs, brs, bcs;
  int axes;  // of the batch
  int64_t sizes[MAX_BATCH_AXES], a_strides[MAX_BATCH_AXES], b_strides[MAX_BATCH_AXES];
};
using Matmul = MatmulOf<float>;
using MatmulDouble = MatmulOf<double>;

MINIDL_KERNEL(matmul, Matmul)
MINIDL_KERNEL(matmul_double, MatmulDouble)

}  // namespace minidl
