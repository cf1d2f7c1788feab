#pragma once
#include <cstdint>

#include "kernels/cpu/isa.h"

namespace minidl {

// x is (batch, channels, length); each sample's channels fall into `groups` of neighbours, each with its own
// statistics. With as many groups as channels this is instance norm.
struct GroupNormForward {
  const float *x, *weight, *bias;  // weight and bias (channels) or null
  float *y, *mean, *rstd;          // like x, (batch * groups) twice
  int64_t batch, channels, length, groups;
  float eps;
};

struct GroupNormBackward {
  const float *g, *x, *weight, *mean, *rstd;
  float *gx, *gweight, *gbias;  // gweight, gbias (channels) or null
  int64_t batch, channels, length, groups;
};

MINIDL_KERNEL(group_norm_forward, GroupNormForward)
MINIDL_KERNEL(group_norm_backward, GroupNormBackward)

}  // namespace minidl
