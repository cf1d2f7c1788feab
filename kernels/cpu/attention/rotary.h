#pragma once
#include "kernels/cpu/attention/attention.h"

namespace minidl {

struct Rotary {
  int64_t batch, heads, rows, width, half;  // half: pairs of a row that turn; what is behind them stays
  Heads<const float> x;
  Plane<const float> cos, sin;  // (batch, heads, rows, half): strides of 0 where they are the same
  Heads<float> y;
  bool interleaved;  // pairs are neighbours
};

MINIDL_KERNEL(rotary, Rotary)

}  // namespace minidl
