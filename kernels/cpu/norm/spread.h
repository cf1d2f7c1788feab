// Numbers of channels, repeated for each element of a channel: for channels that are shorter than vectors.
#pragma once
#include "kernels/cpu/simd.h"

namespace minidl::MINIDL_ISA {

constexpr int64_t SHORT = 12;  // channels of fewer elements

class Spread {
 public:
  // values (channels) or null
  Spread(const float* values, int64_t channels, int64_t length)
      : spread_(values ? channels * length : 0), any_(values) {
    for (int64_t c = 0, i = 0; values && c < channels; c++)
      for (int64_t l = 0; l < length; l++, i++) spread_[i] = values[c];
  }
  const float* from(int64_t element) const { return any_ ? spread_ + element : nullptr; }

 private:
  Scratch<float> spread_;
  bool any_;
};

}  // namespace minidl::MINIDL_ISA
