#pragma once
#include <cstdint>

#include "kernels/cpu/isa.h"

namespace minidl {

// x is (batch, channels, length) in all of them; statistics, weight and bias are (channels).
struct BatchNormForward {
  const float *x, *weight, *bias;  // weight and bias may be null
  float *y, *mean, *variance, *rstd;
  int64_t batch, channels, length;
  float eps;
};

// Of y, and of mean and variance, which are outputs too.
struct BatchNormBackward {
  const float *g, *gmean, *gvariance, *x, *weight, *mean, *rstd;  // weight may be null
  float *gx, *gweight, *gbias;
  int64_t batch, channels, length;
};

// y = (x - mean) * scale + bias
struct ChannelAffine {
  const float *x, *mean, *scale, *bias;  // mean and bias may be null
  float* y;
  int64_t batch, channels, length;
};

// The sums of g, and of g * (x - mean) * rstd.
struct ChannelSums {
  const float *g, *x, *mean, *rstd;
  float *total, *product;
  int64_t batch, channels, length;
};

MINIDL_KERNEL(batch_norm_forward, BatchNormForward)
MINIDL_KERNEL(batch_norm_backward, BatchNormBackward)
MINIDL_KERNEL(channel_affine, ChannelAffine)
MINIDL_KERNEL(channel_sums, ChannelSums)

}  // namespace minidl
