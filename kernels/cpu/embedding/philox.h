#pragma once
#include <cstdint>

#include "kernels/cpu/isa.h"

namespace minidl {

// What a draw depends on (minidl/backend/random.py): the key of Philox, and the upper half of its counters.
struct RandomKey {
  uint64_t seed, stream;
};

// The words of the counters first, first + 1, ..., four of each.
struct PhiloxWords {
  RandomKey key;
  uint64_t first;
  uint32_t* words;  // (count, 4)
  int64_t count;
};

// y = x * scale where the element's word is among the lower `threshold` halves of 2^31, and x * 0 elsewhere.
struct Dropout {
  RandomKey key;
  const float* x;
  float* y;
  int64_t count, threshold;  // threshold in [0, 2^31]
  float scale;
};

MINIDL_KERNEL(philox_words, PhiloxWords)
MINIDL_KERNEL(dropout, Dropout)

}  // namespace minidl
