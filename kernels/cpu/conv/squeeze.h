#pragma once
#include <cstdint>

#include "kernels/cpu/gemm/activation.h"
#include "kernels/cpu/isa.h"

namespace minidl {

// gates = sigmoid(expand activation(sums) + bias2), sums = reduce means + bias1, means of planes; y = x * gates.
struct SqueezeExcite {
  const float* x;                                // (n, channels, pixels)
  const float *reduce, *bias1, *expand, *bias2;  // (inner, channels), (channels, inner); biases may be null
  float *means, *sums, *gates, *y;               // (n, channels), (n, inner), (n, channels), like x
  int64_t n, channels, inner, pixels;
  Activation activation;
};

// What the way back does to planes.
struct PlaneDots {
  const float *a, *b;  // (planes, pixels)
  float* dots;         // (planes)
  int64_t planes, pixels;
};
struct PlaneScale {
  const float *x, *scale, *shift;  // (planes, pixels), (planes), (planes)
  float* y;                        // x * scale + shift
  int64_t planes, pixels;
};

MINIDL_KERNEL(squeeze_excite, SqueezeExcite)
MINIDL_KERNEL(plane_dots, PlaneDots)
MINIDL_KERNEL(plane_scale, PlaneScale)

}  // namespace minidl
