#pragma once
#include <cstdint>

namespace minidl {

struct bfloat16 {
  uint16_t bits;  // the upper half of a float32
};

}  // namespace minidl
