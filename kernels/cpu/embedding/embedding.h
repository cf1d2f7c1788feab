#pragma once
#include <cstdint>

#include "kernels/cpu/isa.h"

namespace minidl {

// y[i] = weight[index[i]], rows of `columns`.
struct GatherRows {
  const float* weight;
  const int64_t* index;  // (count), each in [0, rows)
  float* y;              // (count, columns)
  int64_t rows, columns, count;
};

// out[r] = the sum of those x[i] whose index[i] is r; 0 where there is none, and for r = skipped (-1: for no r).
struct ScatterRows {
  const float* x;  // (count, columns)
  const int64_t* index;
  float* out;  // (rows, columns)
  int64_t rows, columns, count, skipped;
};

MINIDL_KERNEL(gather_rows, GatherRows)
MINIDL_KERNEL(scatter_rows, ScatterRows)

}  // namespace minidl
