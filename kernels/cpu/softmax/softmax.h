#pragma once
#include <cstdint>

#include "kernels/cpu/isa.h"

namespace minidl {

// Along the middle axis of x (outer, count, inner), none of which is 0.
struct Softmax {
  const float* x;
  float* y;
  int64_t outer, count, inner;
  bool log;  // log_softmax
};

struct SoftmaxBackward {
  const float *g, *y;  // y: the output
  float* gx;
  int64_t outer, count, inner;
  bool log;
};

MINIDL_KERNEL(softmax, Softmax)
MINIDL_KERNEL(softmax_backward, SoftmaxBackward)

}  // namespace minidl
