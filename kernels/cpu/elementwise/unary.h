// Functions of one number, and their gradients.
#pragma once
#include <cstdint>

#include "kernels/cpu/isa.h"

namespace minidl {

// Each is a struct of its name in functions.h.
// (What follows is laid out by hand: clang-format gives another answer each time.)
// clang-format off
#define MINIDL_EACH_UNARY(X) \
  X(abs) X(elu) X(erf) X(exp) X(exp2) X(expm1) X(gelu) X(gelu_tanh) X(hardsigmoid) X(hardswish) X(hardtanh) \
  X(leaky_relu) X(log) X(log1p) X(logsigmoid) X(mish) X(negative) X(reciprocal) X(relu) X(rsqrt) X(sigmoid) \
  X(silu) X(softplus) X(softsign) X(sqrt) X(square) X(tanh)
// clang-format on

#define X(name) name,
enum class Unary : int { MINIDL_EACH_UNARY(X) };
#undef X

struct UnaryForward {
  Unary function;
  const float* x;
  float* y;
  int64_t size;
  float a, b, c;  // the function's parameters, in the op's order
};

struct UnaryBackward {
  Unary function;
  const float *g, *saved;  // saved: x or y, whichever the gradient is a function of
  float* gx;
  int64_t size;
  float a, b, c;
};

MINIDL_KERNEL(unary_forward, UnaryForward)
MINIDL_KERNEL(unary_backward, UnaryBackward)

}  // namespace minidl
