// Functions that bend activations.
#pragma once
#include "numeric.cuh"

namespace minidl {

enum Activation { NONE, RELU, SILU, GELU, GELU_TANH };  // as minidl/kernels/gpu/activation.py numbers them

__device__ inline float bend(float x, int activation) {
  switch (activation) {
    case RELU:
      return x < 0 ? 0 : x;  // (NaN stays)
    case SILU:
      return x * sigmoid(x);
    case GELU:
      return 0.5f * x * (1 + erff(x * 0.70710678f));
    case GELU_TANH:
      return x * sigmoid(1.5957691f * (x + 0.044715f * x * x * x));  // (1 + tanh(u)) / 2 = sigmoid(2 u)
    default:
      return x;
  }
}

}  // namespace minidl
