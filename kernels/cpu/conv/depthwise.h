#pragma once
#include <cstdint>

#include "kernels/cpu/conv/finish.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/windows.h"

namespace minidl {

// Each channel by itself: filter o (channels * multiplier of them) sees channel o / multiplier.
struct DepthwiseShape {
  int64_t n, channels, multiplier;
  Windows rows, columns;
};

struct DepthwiseForward {
  const float *x, *weight, *bias;  // (n, channels, H, W), (filters, R, S), (filters) or null
  float* y;                        // (n, filters, P, Q)
  DepthwiseShape shape;
  Finish finish;
};

struct DepthwiseBackwardInput {
  const float *g, *weight;
  float* gx;
  DepthwiseShape shape;
};

struct DepthwiseBackwardWeight {
  const float *g, *x;
  float* gweight;
  DepthwiseShape shape;
};

MINIDL_KERNEL(depthwise_forward, DepthwiseForward)
MINIDL_KERNEL(depthwise_backward_input, DepthwiseBackwardInput)
MINIDL_KERNEL(depthwise_backward_weight, DepthwiseBackwardWeight)

}  // namespace minidl
