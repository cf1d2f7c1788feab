#pragma once
#include <cstdint>

#include "kernels/cpu/isa.h"

namespace minidl {

// Layer norm; with `mean` null RMS norm, which does not centre.
struct RowNormForward {
  const float *x, *weight, *bias;  // (rows, columns); weight and bias (columns) or null
  float *y, *mean, *rstd;          // (rows, columns), (rows) or null, (rows)
  int64_t rows, columns;
  float eps;
};

struct RowNormBackward {
  const float *g, *x, *weight, *mean, *rstd;
  float *gx, *gweight, *gbias;  // gweight, gbias (columns) or null
  int64_t rows, columns;
};

MINIDL_KERNEL(row_norm_forward, RowNormForward)
MINIDL_KERNEL(row_norm_backward, RowNormBackward)

}  // namespace minidl
