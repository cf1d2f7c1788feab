// Functions of two numbers, over arrays that broadcast.
#pragma once
#include <cstdint>

#include "kernels/cpu/isa.h"

namespace minidl {

#define MINIDL_EACH_BINARY(X) X(add) X(divide) X(maximum) X(minimum) X(multiply) X(subtract)

#define X(name) name,
enum class Binary : int { MINIDL_EACH_BINARY(X) };
#undef X

struct BinaryForward {
  static constexpr int AXES = 6;
  Binary function;
  const float *a, *b;
  float* y;                                               // contiguous
  int axes;                                               // at least 1
  int64_t sizes[AXES], a_strides[AXES], b_strides[AXES];  // in elements; along the last axis 0 or 1

  // Adds an axis behind the others, merged with the one before where possible; false: there are too many.
  bool add(int64_t size, int64_t a_stride, int64_t b_stride) {
    if (size == 1) return true;
    if (axes && a_strides[axes - 1] == size * a_stride && b_strides[axes - 1] == size * b_stride) {
      axes--;
      size *= sizes[axes];
    }
    if (axes == AXES) return false;
    sizes[axes] = size, a_strides[axes] = a_stride, b_strides[axes++] = b_stride;
    return true;
  }
};

MINIDL_KERNEL(binary_forward, BinaryForward)

}  // namespace minidl
