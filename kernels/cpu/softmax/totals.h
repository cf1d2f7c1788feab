// The largest element along an axis, and the sum of exponentials below it: what softmax and cross entropy share.
//
// x is (outer, count, inner). Where inner is 1, each row is looked at piece by piece, in one pass over memory, however
// long it is: a piece stays in L1 between its maximum and its exponentials. Else blocks of neighbouring columns are
// looked at, narrow enough to stay in L2.
//
// NaN goes into the sum, and so do infinities and rows of nothing but -infinity: as in x - max(x), all that depends on
// the sum is NaN then.
#pragma once
#include <cmath>

#include "kernels/cpu/math.h"
#include "kernels/cpu/rows.h"

namespace minidl::MINIDL_ISA {

constexpr float INFINITE = __builtin_inff();
constexpr int64_t PIECE = 2048;

MINIDL_INLINE vf lanes_or_least(vf v, int64_t lanes) {
  return lanes >= W ? v : lane_index() < static_cast<int32_t>(lanes) ? v : splatf(-INFINITE);
}

MINIDL_INLINE float largest_of_row(const float* x, int64_t n) {
  vf most[4] = {splatf(-INFINITE), splatf(-INFINITE), splatf(-INFINITE), splatf(-INFINITE)};
  for_chains(n, [&](int64_t i, int64_t lanes, int c) {
    most[c] = vmax(lanes_or_least(load_n(x + i, lanes), lanes), most[c]);  // (the second where the first is NaN)
  });
  return largest(vmax(vmax(most[0], most[1]), vmax(most[2], most[3])));
}

struct Total {
  float top = -INFINITE;
  double total = 0;
};

// Source: Milakov, Gimelshein 2018, "Online normalizer calculation for softmax", arXiv:1805.02867, by pieces.
MINIDL_INLINE Total total_of_row(const float* x, int64_t n) {
  Total of;
  for (int64_t start = 0; start < n; start += PIECE) {
    const float* piece = x + start;
    const int64_t length = min(PIECE, n - start);
    float top = largest_of_row(piece, length);
    if (top > of.top) {
      of.total *= std::exp(static_cast<double>(of.top) - top);
      of.top = top;
    }
    const float shift = of.top == -INFINITE ? 0 : of.top;
    Chains sums;
    for_chains(length, [&](int64_t i, int64_t lanes, int c) {
      sums.chain[c] += first_lanes(vexp(load_n(piece + i, lanes) - shift), lanes);
    });
    of.total += sums.total();
  }
  if (of.top == -INFINITE) of.total = __builtin_nan("");
  return of;
}

// -- columns --------------------------------------------------------------------------------------------------------

// A block is `width` columns of one matrix of x: f(offset of its first element, first column, width).
template <class F>
MINIDL_INLINE void for_column_blocks(int64_t outer, int64_t count, int64_t inner, const F& f) {
  const int64_t most = min<int64_t>(1024, max<int64_t>(64, 65536 / count)) & ~int64_t(63);
  const int64_t blocks = ceil_div(inner, most);
  parallel_for(outer * blocks, [&](int64_t task) {
    const int64_t o = task / blocks, first = task % blocks * most;
    f(o * count * inner + first, o * inner + first, min(most, inner - first));
    stream_fence();
  });
}
constexpr int64_t WIDEST = 1024;

// f(k, i, lanes): every vector of every row of a block.
template <class F>
MINIDL_INLINE void for_block(int64_t count, int64_t width, const F& f) {
  for (int64_t k = 0; k < count; k++) for_vectors(width, [&](int64_t i, int64_t lanes) { f(k, i, lanes); });
}

MINIDL_INLINE void largest_of_columns(float* top, const float* x, int64_t count, int64_t stride, int64_t width) {
  for_vectors(width, [&](int64_t i, int64_t lanes) { store_n(top + i, splatf(-INFINITE), lanes); });
  for_block(count, width, [&](int64_t k, int64_t i, int64_t lanes) {
    store_n(top + i, vmax(load_n(x + k * stride + i, lanes), load_n(top + i, lanes)), lanes);
  });
}

MINIDL_INLINE void add_to(float* sums, vf v, int64_t lanes) { store_n(sums, load_n(sums, lanes) + v, lanes); }
MINIDL_INLINE void clear(float* sums, int64_t n) { std::memset(sums, 0, static_cast<size_t>(n) * sizeof(float)); }

MINIDL_INLINE void total_of_columns(float* top, float* total, const float* x, int64_t count, int64_t stride,
                                    int64_t width) {
  largest_of_columns(top, x, count, stride, width);
  clear(total, width);
  for_block(count, width, [&](int64_t k, int64_t i, int64_t lanes) {
    add_to(total + i, vexp(load_n(x + k * stride + i, lanes) - load_n(top + i, lanes)), lanes);
  });
}

}  // namespace minidl::MINIDL_ISA
