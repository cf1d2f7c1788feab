#pragma once
#include "kernels/cpu/gemm/activation.h"

namespace minidl {

// What follows a convolution: y = activation(y + residual), done to results that are complete while they are in cache.
struct Finish {
  const float* residual = nullptr;  // as y lies, or null
  Activation activation = Activation::none;
};

}  // namespace minidl
