#pragma once
#include <cstdint>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/windows.h"

namespace minidl {

// Positions in a window are row * columns.kernel + column, in bytes where those are enough.
struct MaxPool {
  const float* x;           // (planes, rows.size, columns.size)
  float* y;                 // (planes, rows.count, columns.count)
  uint8_t* small_position;  // as y: one of these two, or none
  int32_t* position;
  int64_t planes;
  Windows rows, columns;
};

struct MaxPoolBackward {
  const float* g;  // (planes, rows.count, columns.count)
  const uint8_t* small_position;
  const int32_t* position;
  float* gx;  // (planes, rows.size, columns.size)
  int64_t planes;
  Windows rows, columns;
};

// Sums along a window's rows are divided by that column's divisor, then the sum of those by that row's.
struct MeanPool {
  const float *x, *row_divisor, *column_divisor;  // forward: x -> y; backward: y is given, x is found
  float* y;
  int64_t planes;
  Windows rows, columns;
};

// Parts of any length: part i is [start[i], end[i]).
struct Parts {
  const int64_t *start, *end;
  int64_t size, count;
};
struct PartsPool {
  const float* x;
  float* y;
  int64_t planes;
  Parts rows, columns;
};

// Each plane's mean, and the way back.
struct PlaneMean {
  const float* x;
  float* y;
  int64_t planes, size;
};

MINIDL_KERNEL(max_pool_forward, MaxPool)
MINIDL_KERNEL(max_pool_backward, MaxPoolBackward)
MINIDL_KERNEL(mean_pool_forward, MeanPool)
MINIDL_KERNEL(mean_pool_backward, MeanPool)
MINIDL_KERNEL(parts_pool_forward, PartsPool)
MINIDL_KERNEL(parts_pool_backward, PartsPool)
MINIDL_KERNEL(plane_mean_forward, PlaneMean)
MINIDL_KERNEL(plane_mean_backward, PlaneMean)

}  // namespace minidl
