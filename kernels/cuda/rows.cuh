// Where the arrays of attention lie; sums over the rows of an accumulator.
#pragma once
#include "mma.cuh"

namespace minidl {

// A tensor (batch, heads, rows, width) whose rows are contiguous; of packed sequences, batch steps are 0.
template <class T>
struct Rows {
  T* data;
  i64 batch, head, row;

  __device__ T* at(int b, int h, int r) const { return data + b * batch + h * head + r * row; }
  // Do all rows begin at multiples of a chunk?
  __device__ bool aligned() const {
    return is_aligned(data) && batch % PER_CHUNK<T> == 0 && head % PER_CHUNK<T> == 0 && row % PER_CHUNK<T> == 0;
  }
};

// The sum, and the maximum, of what the four threads of a row have.
__device__ inline float row_sum(float x) {
  x += __shfl_xor_sync(~0u, x, 1);
  return x + __shfl_xor_sync(~0u, x, 2);
}
__device__ inline float row_maximum(float x) {
  x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
  return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}

}  // namespace minidl
