#pragma once
#include <cstdint>

#include "kernels/cpu/isa.h"

namespace minidl {

// `count` windows of `kernel` taps on `size` elements: tap k of window p is element start + p * stride + k * dilation.
// Elements that are not there are zeros.
struct ConvAxis {
  int64_t size, kernel, stride, dilation, start, count;
};

// images (n, groups * inputs, rows.size, columns.size), filters (groups * outputs, inputs, rows.kernel,
// columns.kernel), results (n, groups * outputs, rows.count, columns.count).
struct ConvShape {
  int64_t n, groups, inputs, outputs;
  ConvAxis rows, columns;
};

// Filters of one pixel that see every pixel: images are single rows then.
inline ConvShape flattened(ConvShape s) {
  auto plain = [](const ConvAxis& a) { return a.kernel == 1 && a.stride == 1 && a.start == 0 && a.count == a.size; };
  if (plain(s.rows) && plain(s.columns)) {
    s.columns.size = s.columns.count = s.rows.size * s.columns.size;
    s.rows.size = s.rows.count = 1;
  }
  return s;
}

struct ConvForward {
  const float *x, *weight, *bias;  // images, filters, (groups * outputs) or null
  float* y;                        // results
  ConvShape shape;
};

struct ConvBackwardInput {         // also the forward of a transposed convolution, which has a bias
  const float *g, *weight, *bias;  // results, filters, (groups * inputs) or null
  float* gx;                       // images
  ConvShape shape;
};

struct ConvBackwardWeight {
  const float *g, *x;  // results, images
  float* gweight;      // filters
  ConvShape shape;
};

struct ConvBackwardBias {
  const float* g;  // (n, channels, pixels)
  float* gbias;    // (channels)
  int64_t n, channels, pixels;
};

MINIDL_KERNEL(conv_forward, ConvForward)
MINIDL_KERNEL(conv_backward_input, ConvBackwardInput)
MINIDL_KERNEL(conv_backward_weight, ConvBackwardWeight)
MINIDL_KERNEL(conv_backward_bias, ConvBackwardBias)

}  // namespace minidl
