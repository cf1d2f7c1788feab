// Sums, means and extremes over axes.
#pragma once
#include <cstdint>

#include "kernels/cpu/isa.h"

namespace minidl {

enum class Reduction : int { sum, max, min };

// y[k1, k2] of x[k1, r1, k2, r2], over r1 and r2; any of the four may be 1, none 0.
struct Reduce {
  Reduction function;
  const float* x;
  float* y;
  int64_t k1, r1, k2, r2;
  double divisor;  // of the sum
};

MINIDL_KERNEL(reduce, Reduce)

}  // namespace minidl
