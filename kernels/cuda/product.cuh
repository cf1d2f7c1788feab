// Products of tiles by a block: each warp has 64 rows and 32 columns of the result.
#pragma once
#include "mma.cuh"

namespace minidl {

constexpr int WARP_ROWS = 64, WARP_COLUMNS = 32;

template <class T, int ROWS, int COLUMNS>
struct Product {
  static constexpr int WARPS_ACROSS = COLUMNS / WARP_COLUMNS, THREADS = 32 * WARPS_ACROSS * (ROWS / WARP_ROWS);

  float sums[WARP_ROWS / 16][WARP_COLUMNS / 8][4] = {};

  static __device__ int row() { return static_cast<int>(threadIdx.x) / 32 / WARPS_ACROSS * WARP_ROWS; }
  static __device__ int column() { return static_cast<int>(threadIdx.x) / 32 % WARPS_ACROSS * WARP_COLUMNS; }

  // sums += A (ROWS, K) B (COLUMNS, K) transposed.
  template <int DEPTH, class A, class B>
  __device__ void add_along(const A& a, const B& b) {
#pragma unroll
    for (int k = 0; k < DEPTH; k += STEP<T>)
      add([&](int r) { return left_along<T>(a, row() + r, k); },
          [&](Right<T>(&right)[2], int c) { right_along<T>(right, b, column() + c, k); });
  }

  // sums += A (K, ROWS) transposed, B (K, COLUMNS).
  template <int DEPTH, class A, class B>
  __device__ void add_across(const A& a, const B& b) {
#pragma unroll
    for (int k = 0; k < DEPTH; k += STEP<T>)
      add([&](int r) { return left_across<T>(a, k, row() + r); },
          [&](Right<T>(&right)[2], int c) { right_across<T>(right, b, k, column() + c); });
  }

  template <class GetLeft, class GetRight>
  __device__ void add(GetLeft get_left, GetRight get_right) {
    Right<T> right[WARP_COLUMNS / 16][2];
#pragma unroll
    for (int n = 0; n < WARP_COLUMNS / 16; n++) get_right(right[n], 16 * n);
#pragma unroll
    for (int m = 0; m < WARP_ROWS / 16; m++) {
      const Left<T> left = get_left(16 * m);
#pragma unroll
      for (int n = 0; n < WARP_COLUMNS / 8; n++) multiply(sums[m][n], left, right[n / 2][n % 2]);
    }
  }

  // Calls put(row, column, sum, sum of the next column) for all that a thread has.
  template <class Put>
  __device__ void each_pair(Put put) const {
#pragma unroll
    for (int m = 0; m < WARP_ROWS / 16; m++)
      for (int n = 0; n < WARP_COLUMNS / 8; n++)
        for (int j = 0; j < 4; j += 2)
          put(row() + 16 * m + row_of(j), column() + 8 * n, lane_column(), sums[m][n][j], sums[m][n][j + 1]);
  }
};

}  // namespace minidl
