// Mean and variance in one pass over memory: of pieces that stay in L1 by two passes, then of pieces of pieces.
#pragma once
#include <cmath>

#include "kernels/cpu/rows.h"

namespace minidl::MINIDL_ISA {

constexpr int64_t PIECE = 4096;  // elements that are looked at twice: half of L1

// Count, mean and sum of squared deviations from it. No E[x^2] - E[x]^2: pieces are joined as by Chan, Golub, LeVeque
// 1979, "Updating formulae and a pairwise algorithm for computing sample variances", eq. 2.1.
struct Moments {
  int64_t count = 0;
  double mean = 0, squares = 0;

  void add(const Moments& other) {
    if (!other.count) return;
    int64_t n = count + other.count;
    double step = other.mean - mean, share = static_cast<double>(other.count) / static_cast<double>(n);
    mean += step * share;
    squares += other.squares + step * step * share * static_cast<double>(count);
    count = n;
  }
  double variance() const { return squares / static_cast<double>(count); }
};

// Of `slices` slices of n elements each, `stride` apart.
MINIDL_INLINE float mean_of_piece(const float* x, int64_t slices, int64_t stride, int64_t n) {
  Chains sums;
  for (int64_t s = 0; s < slices; s++)
    for_chains(n, [&](int64_t i, int64_t lanes, int c) { sums.chain[c] += load_n(x + s * stride + i, lanes); });
  return sums.total() / static_cast<float>(slices * n);
}

MINIDL_INLINE double squares_of_piece(const float* x, int64_t slices, int64_t stride, int64_t n, float mean) {
  Chains squares;
  for (int64_t s = 0; s < slices; s++)
    for_chains(n, [&](int64_t i, int64_t lanes, int c) {
      vf centred = first_lanes(load_n(x + s * stride + i, lanes) - mean, lanes);
      squares.chain[c] += centred * centred;
    });
  return squares.total();
}

MINIDL_INLINE Moments moments_of_piece(const float* x, int64_t slices, int64_t stride, int64_t n) {
  float mean = mean_of_piece(x, slices, stride, n);
  return {slices * n, mean, squares_of_piece(x, slices, stride, n, mean)};
}

// The same at any size.
MINIDL_INLINE Moments moments(const float* x, int64_t slices, int64_t stride, int64_t n) {
  Moments all;
  if (n >= PIECE) {
    for (int64_t s = 0; s < slices; s++)
      for (int64_t i = 0; i < n; i += PIECE) all.add(moments_of_piece(x + s * stride + i, 1, 0, min(PIECE, n - i)));
  } else {
    int64_t step = PIECE / n;
    for (int64_t s = 0; s < slices; s += step)
      all.add(moments_of_piece(x + s * stride, min(step, slices - s), stride, n));
  }
  return all;
}

}  // namespace minidl::MINIDL_ISA
