// Sums of columns: gradients of biases, and the second pass over what the blocks of another kernel left behind.
//
// Always the same order of addition, whatever runs when: no atomics.
#include "numeric.cuh"

namespace minidl {

constexpr int WARPS = 8, ALONG = 4;  // rows at a time: a warp's, and those that a thread adds up apart from each other

// y[p] = the sum of rows p * chunk to (p + 1) * chunk of x (rows, columns); a block has 32 columns of one p.
template <class T, class To>
__device__ void column_sum(const T* x, To* y, int rows, i64 columns, int chunk) {
  __shared__ float shared[WARPS][32];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const i64 column = static_cast<i64>(blockIdx.x) * 32 + lane, part = blockIdx.y;
  const int count = left_of(rows, static_cast<int>(part) * chunk, chunk);
  float sums[ALONG] = {};
  if (column < columns) {
    const T* from = x + part * chunk * columns + column;
    for (int first = warp * ALONG; first < count; first += WARPS * ALONG)
#pragma unroll
      for (int i = 0; i < ALONG; i++) sums[i] += first + i < count ? to_float(from[(first + i) * columns]) : 0;
  }
  shared[warp][lane] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  __syncthreads();
  if (warp > 0 || column >= columns) return;
  float all = 0;
  for (int i = 0; i < WARPS; i++) all += shared[i][lane];
  y[part * columns + column] = from_float<To>(all);
}

#define COLUMN_SUM(FROM, T, TO, To)                                                   \
  extern "C" __global__ void __launch_bounds__(32 * WARPS)                            \
      column_sum_##FROM##_##TO(const T* x, To* y, int rows, i64 columns, int chunk) { \
    column_sum(x, y, rows, columns, chunk);                                           \
  }

COLUMN_SUM(float16, float16, float32, float)
COLUMN_SUM(bfloat16, bfloat16, float32, float)
COLUMN_SUM(float32, float, float32, float)
COLUMN_SUM(float32, float, float16, float16)
COLUMN_SUM(float32, float, bfloat16, bfloat16)

}  // namespace minidl
