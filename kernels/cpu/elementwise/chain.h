// Functions of each element that are made of several steps, in one pass over memory.
//
// A block of elements goes through all steps before the next one does: what lies between steps stays in the L1 cache.
#pragma once
#include "kernels/cpu/elementwise/binary.h"
#include "kernels/cpu/elementwise/unary.h"

namespace minidl {

// Beside the functions of one number and of two: comparisons (1 or 0), the sign, a choice (of b where a is not 0, else
// c).
#define MINIDL_EACH_COMPARISON(X) X(equal) X(greater) X(greater_equal) X(less) X(less_equal) X(not_equal)

#define X(name) name,
enum class Step : int { MINIDL_EACH_UNARY(X) MINIDL_EACH_BINARY(X) MINIDL_EACH_COMPARISON(X) sign, where };
#undef X

struct ChainStep {
  Step function;
  int to;       // a register
  int from[3];  // operands: inputs come first, then constants, then registers
  float a, b, c;
};

struct Chain {
  static constexpr int BLOCK = 512, REGISTERS = 20, INPUTS = 8, CONSTANTS = 32;
  const ChainStep* steps;
  int count;                    // of steps; the last one gives the result
  const float* inputs[INPUTS];  // of `size` elements, or of one number
  bool one[INPUTS];
  int inputs_count;
  float constants[CONSTANTS];
  int constants_count;
  float* y;  // of `size` elements; or, with `sums`, one: their sum over the divisor
  bool sums;
  double divisor;
  int64_t size;
};

MINIDL_KERNEL(chain, Chain)

}  // namespace minidl
