// What the kernels by Winograd's algorithm share: tiles of M x M outputs of 3 x 3 filters, gathered and transformed.
//
// y = AT [(G w G^T) * (BT d B)] A for a patch d of (M + 2)^2 elements: (M + 2)^2 products instead of 9 M^2. F(2 x 2) is
// as exact as the direct sum; F(4 x 4) sums terms that cancel, with errors some ten times as large.
//
// Source: Lavin, Gray 2015, "Fast Algorithms for Convolutional Neural Networks", arXiv:1509.09308.
#pragma once
#include "kernels/cpu/conv/winograd.h"
#include "kernels/cpu/phases.h"

namespace minidl::MINIDL_ISA {

template <int M>
struct Transforms;

template <>
struct Transforms<2> {
  static constexpr float BT[4][4] = {{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, 1, 0, -1}};
  static constexpr float G[4][3] = {{1, 0, 0}, {.5f, .5f, .5f}, {.5f, -.5f, .5f}, {0, 0, 1}};
  static constexpr float AT[2][4] = {{1, 1, 1, 0}, {0, 1, -1, -1}};
  static constexpr float GT[3][4] = {{1, .5f, .5f, 0}, {0, .5f, -.5f, 0}, {0, .5f, .5f, 1}};
  static constexpr float A[4][2] = {{1, 0}, {1, 1}, {1, -1}, {0, -1}};
};

template <>
struct Transforms<4> {
  static constexpr float BT[6][6] = {{4, 0, -5, 0, 1, 0},  {0, -4, -4, 1, 1, 0}, {0, 4, -4, -1, 1, 0},
                                     {0, -2, -1, 2, 1, 0}, {0, 2, -1, -2, 1, 0}, {0, 4, 0, -5, 0, 1}};
  static constexpr float G[6][3] = {{1 / 4.f, 0, 0},
                                    {-1 / 6.f, -1 / 6.f, -1 / 6.f},
                                    {-1 / 6.f, 1 / 6.f, -1 / 6.f},
                                    {1 / 24.f, 1 / 12.f, 1 / 6.f},
                                    {1 / 24.f, -1 / 12.f, 1 / 6.f},
                                    {0, 0, 1}};
  static constexpr float AT[4][6] = {
      {1, 1, 1, 1, 1, 0}, {0, 1, -1, 2, -2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, -1, 8, -8, 1}};
};

// y = matrix x, for vectors `xs` and `ys` apart; zeros are left out, ones are no products.
template <int R, int C>
MINIDL_INLINE void combine(const float (&matrix)[R][C], const vf* x, int xs, vf* y, int ys) {
  MINIDL_UNROLL
  for (int r = 0; r < R; r++) {
    vf sum{};
    bool any = false;
    MINIDL_UNROLL
    for (int c = 0; c < C; c++) {
      const float f = matrix[r][c];
      if (f == 0) continue;
      const vf v = x[c * xs];
      if (!any)
        sum = f == 1 ? v : f == -1 ? -v : f * v;
      else
        sum = f == 1 ? sum + v : f == -1 ? sum - v : sum + f * v;
      any = true;
    }
    y[r * ys] = sum;
  }
}

// y (R, R) = matrix x (C, C) matrix^T.
template <int R, int C>
MINIDL_INLINE void transform(const float (&matrix)[R][C], const vf* x, vf* y) {
  vf half[R * C];
  MINIDL_UNROLL
  for (int c = 0; c < C; c++) combine(matrix, x + c, C, half + c, C);
  MINIDL_UNROLL
  for (int r = 0; r < R; r++) combine(matrix, half + r * C, 1, y + r * R, 1);
}

// All images' rows of tiles, one below the other.
struct Tiles {
  int64_t across, down, rows;
  Tiles(int64_t m, int64_t n, const Windows& rows_, const Windows& columns)
      : across(ceil_div(columns.count, m)), down(ceil_div(rows_.count, m)), rows(n * down) {}
};

// From one of the matrices in the transform's domain, (depth, tiles), to the next.
MINIDL_INLINE int64_t apart(int64_t depth, int64_t tiles) { return depth * tiles + 80; }

// Squares of `Side` elements, `M` apart, of one channel of a block of tile rows: gathered tap by tap, lanes being
// tiles, transformed by `matrix`, and stored: element k of a vector of tiles at `to(tile) + k * step`.
template <int M, int Side, int R, class To>
MINIDL_INLINE void transform_squares(const float (&matrix)[R][Side], const float* channel, int64_t image,
                                     const Windows& rows, const Windows& columns, const Tiles& t, const Phases& phases,
                                     int64_t first, int64_t end, int64_t tiles, float* line, float* taps, int64_t step,
                                     const To& to) {
  const int64_t room = tiles + W;
  for (int64_t row = first; row < end; row++) {
    const float* plane = channel + row / t.down * image;
    float* tap = taps + (row - first) * t.across;
    for (int64_t i = 0; i < Side; i++) {
      const int64_t y = row % t.down * M + i - rows.before;
      const bool there = y >= 0 && y < rows.size;
      if (there) phases.fill<true>(plane + y * columns.size, line);
      for (int64_t j = 0; j < Side; j++, tap += room) {
        const float* from = line + phases.tap(j);
        for (int64_t x = 0; x < t.across; x += W) store(tap + x, there ? load(from + x) : vf{});
      }
    }
  }
  for (int64_t tile = 0; tile < (end - first) * t.across; tile += W) {
    vf square[Side * Side], v[R * R];
    MINIDL_UNROLL
    for (int k = 0; k < Side * Side; k++) square[k] = load(taps + k * room + tile);
    transform(matrix, square, v);
    float* at = to(tile);
    for (int k = 0; k < R * R; k++) store(at + k * step, v[k]);
  }
}

// What of an axis squares of `side` elements, m apart, see: `line` and `taps` of `transform_squares` are laid out so.
MINIDL_INLINE Windows of_squares(const Windows& columns, int64_t side, int64_t m, int64_t across) {
  return {columns.size, side, m, 1, columns.before, across};
}

}  // namespace minidl::MINIDL_ISA
