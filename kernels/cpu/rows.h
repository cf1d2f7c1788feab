// Sums over rows and writing of rows: what kernels that are bound by memory share.
#pragma once
#include "kernels/cpu/simd.h"

namespace minidl::MINIDL_ISA {

// Outputs of as many bytes are written past the caches: measured on Zen 4 to take 0.5 to 0.8 of the time of storing, as
// the lines that are about to be written need not be read first.
constexpr int64_t STREAMED = 8 << 20;

constexpr int64_t GRAIN = 16384;  // elements of one task: some 10 us of memory traffic

// Four chains of additions that do not wait for each other.
struct Chains {
  vf chain[4] = {};
  MINIDL_INLINE float total() const { return sum((chain[0] + chain[1]) + (chain[2] + chain[3])); }
};

// f(i, lanes) at every vector of [0, n): lanes is W, and less at the last one. Two parts, so that the first has no
// masks.
template <class F>
MINIDL_INLINE void for_vectors(int64_t n, const F& f) {
  int64_t i = 0;
  for (; i + W <= n; i += W) f(i, static_cast<int64_t>(W));
  if (i < n) f(i, n - i);
}

// f(i, lanes, c) at every vector, c being the chain it may add to.
template <class F>
MINIDL_INLINE void for_chains(int64_t n, const F& f) {
  int64_t i = 0;
  for (; i + 4 * W <= n; i += 4 * W) {
    MINIDL_UNROLL
    for (int c = 0; c < 4; c++) f(i + c * W, static_cast<int64_t>(W), c);
  }
  for (; i + W <= n; i += W) f(i, static_cast<int64_t>(W), 0);
  if (i < n) f(i, n - i, 1);
}

// v with 0 in the lanes from `lanes` on.
MINIDL_INLINE vf first_lanes(vf v, int64_t lanes) {
  return lanes >= W ? v : lane_index() < static_cast<int32_t>(lanes) ? v : vf{};
}

// y[i] = f(i, lanes) for a row of n. Streamed rows are aligned to whole cache lines first.
template <class F>
MINIDL_INLINE void write_row(float* y, int64_t n, bool streamed, const F& f) {
  if (!streamed || n < 64) return for_vectors(n, [&](int64_t i, int64_t lanes) { store_n(y + i, f(i, lanes), lanes); });
  int64_t head = (64 - reinterpret_cast<uintptr_t>(y) % 64) % 64 / sizeof(float), i = 0;
  for (; i < head; i += W) store_n(y + i, f(i, min<int64_t>(W, head - i)), head - i);
  for (i = head; i + W <= n; i += W) stream(y + i, f(i, static_cast<int64_t>(W)));
  if (i < n) store_n(y + i, f(i, n - i), n - i);
}

}  // namespace minidl::MINIDL_ISA
