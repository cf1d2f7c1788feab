// Elements of an array with any strides, one after another.
#pragma once
#include <cstdint>

#include "kernels/cpu/isa.h"

namespace minidl {

struct Copy {
  static constexpr int AXES = 6;
  const uint32_t* x;  // of any type of 4 bytes
  uint32_t* y;        // contiguous
  int axes;
  int64_t sizes[AXES], strides[AXES];  // of x, in elements; no axis of size 1, none that could be merged with the next

  // Adds an axis behind the others; false: there are too many.
  bool add(int64_t size, int64_t stride) {
    if (size == 1) return true;
    if (axes && strides[axes - 1] == size * stride) {
      sizes[axes - 1] *= size;
      strides[axes - 1] = stride;
      return true;
    }
    if (axes == AXES) return false;
    sizes[axes] = size;
    strides[axes++] = stride;
    return true;
  }
};

MINIDL_KERNEL(copy, Copy)

}  // namespace minidl
