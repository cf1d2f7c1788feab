#pragma once
#include <cstdint>

#include "kernels/cpu/conv/finish.h"
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

// Filters as the forward, or the backward of the images, reads them; where one is given this is not done for a call.
struct ConvPack {
  const float* weight;
  float* packed;
  ConvShape shape;
  bool backward;
};
// Floats at most, whatever the instruction set: the last of the channels side by side are filled up.
inline int64_t conv_packed_size(const ConvShape& s, bool backward) {
  const int64_t wide = backward ? s.inputs : s.outputs, deep = backward ? s.outputs : s.inputs;
  return s.groups * deep * s.rows.kernel * s.columns.kernel * ((wide + 31) / 32 * 32);
}

struct ConvForward {
  const float *x, *weight, *packed, *bias;  // images, filters, the same packed or null, (groups * outputs) or null
  float* y;                                 // results
  ConvShape shape;
  Finish finish;
};

struct ConvBackwardInput {                  // also the forward of a transposed convolution, which has a bias
  const float *g, *weight, *packed, *bias;  // results, filters, the same packed or null, (groups * inputs) or null
  float* gx;                                // images
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

MINIDL_KERNEL(conv_pack, ConvPack)
MINIDL_KERNEL(conv_forward, ConvForward)
MINIDL_KERNEL(conv_backward_input, ConvBackwardInput)
MINIDL_KERNEL(conv_backward_weight, ConvBackwardWeight)
MINIDL_KERNEL(conv_backward_bias, ConvBackwardBias)

}  // namespace minidl
