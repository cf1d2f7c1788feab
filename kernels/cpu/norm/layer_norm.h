#pragma once
#include <cstdint>

#include "kernels/cpu/isa.h"

namespace minidl {

struct LayerNormForward {
  const float *x, *weight, *bias;      // (rows, columns); weight and bias (columns) or null
  float *y, *mean, *rstd;              // (rows, columns), (rows), (rows)
  int64_t rows, columns;
  float eps;
};

struct LayerNormBackward {
  const float *g, *x, *weight, *mean, *rstd;
  float *gx, *gweight, *gbias;         // gweight, gbias (columns) or null
  int64_t rows, columns;
};

MINIDL_KERNEL(layer_norm_forward, LayerNormForward)
MINIDL_KERNEL(layer_norm_backward, LayerNormBackward)

}  // namespace minidl
