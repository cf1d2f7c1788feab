// An array's every element from those at the same place in others: what all kernels of this family are.
#pragma once
#include "kernels/cpu/rows.h"

#define MINIDL_HERE __attribute__((always_inline))  // of a lambda: inlined into each loop, however long it is

namespace minidl::MINIDL_ISA {

constexpr int64_t CHUNK = 16384;  // elements of one task: a multiple of 64 bytes, some 10 us

// write_row, four vectors at a time where it does not stream: loads of one do not wait for the stores of another.
template <class F>
MINIDL_INLINE void write_part(float* y, int64_t n, bool streamed, const F& f) {
  int64_t i = 0;
  for (; !streamed && i + 4 * W <= n; i += 4 * W) {
    vf v[4];
    MINIDL_UNROLL
    for (int k = 0; k < 4; k++) v[k] = f(i + k * W, static_cast<int64_t>(W));
    MINIDL_UNROLL
    for (int k = 0; k < 4; k++) store(y + i + k * W, v[k]);
  }
  write_row(y + i, n - i, streamed, [&](int64_t j, int64_t lanes) MINIDL_HERE { return f(i + j, lanes); });
}

// y[i] = f(i, lanes), a vector at a time, by tasks; f is marked MINIDL_HERE.
template <class F>
MINIDL_INLINE void map(float* y, int64_t size, const F& f) {
  const bool streamed = size * static_cast<int64_t>(sizeof(float)) >= STREAMED;
  parallel_for(ceil_div(size, CHUNK), [&](int64_t task) {
    const int64_t first = task * CHUNK;
    write_part(y + first, min(CHUNK, size - first), streamed,
               [&](int64_t i, int64_t lanes) MINIDL_HERE { return f(first + i, lanes); });
    if (streamed) stream_fence();
  });
}

}  // namespace minidl::MINIDL_ISA
