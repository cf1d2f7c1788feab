// Depthwise convolution, gradient of the images. At stride 1 it is a convolution with flipped filters; at stride 2 each
// parity of rows and columns meets its own taps, and what a load serves are two neighbouring columns.
#include "kernels/cpu/conv/depthwise.h"
#include "kernels/cpu/conv/depthwise_plane.h"

namespace minidl::MINIDL_ISA {
namespace {

Windows flipped(const Windows& w) {
  return {w.count, w.kernel, 1, w.dilation, (w.kernel - 1) * w.dilation - w.before, w.size};
}

void stride_1(const DepthwiseBackwardInput& p) {
  const DepthwiseShape& s = p.shape;
  const int64_t taps = s.rows.kernel * s.columns.kernel;
  Scratch<float> weight(s.channels * taps);
  for (int64_t c = 0; c < s.channels; c++)
    for (int64_t k = 0; k < taps; k++) weight[c * taps + k] = p.weight[(c + 1) * taps - 1 - k];
  depthwise_forward({p.g, weight, nullptr, p.gx, {s.n, s.channels, 1, flipped(s.rows), flipped(s.columns)}, {}});
}

// Zeros around a plane of g: for loads of vectors up to one behind the last column, and of R rows.
struct Margins {
  int64_t before, line, lines;
  Margins(const Windows& rows, const Windows& columns, int64_t taps_before, int64_t behind)
      : before(taps_before),
        line(before + max(columns.count, columns.size / 2 + columns.before / 2 + 3) + W),
        lines(before + max(rows.count, rows.size / 2 + rows.before / 2 + 3) + behind) {}
  int64_t floats() const { return line * lines; }
  MINIDL_INLINE void fill(const float* g, int64_t rows, int64_t columns, float* to) const {
    for (int64_t y = 0; y < rows; y++)
      for (int64_t x = 0; x < columns; x += W)
        store_n(to + (before + y) * line + before + x, load_n(g + y * columns + x, columns - x), columns - x);
  }
};

// Elements (2 (a + r) + Y, 2 b), (2 (a + r) + Y, 2 b + 1) of gx, for R rows and L of b. `corner` is window (a + before
// / 2, b + before / 2) of g; PR and PC are the parities of `before`.
template <int L, int R, int K, int PR, int PC, int Y>
MINIDL_INLINE void block(const float* corner, int64_t line, const float* weight, floats<L> (&sums)[2][R]) {
  constexpr int I = (Y + PR) % 2, TAPS = (K - I + 1) / 2,
                LAST = Y & PR;  // taps I, I + 2, ... see windows LAST, LAST - 1, ...
  MINIDL_UNROLL_ALL
  for (int t = 0; t < R - 1 + TAPS; t++) {
    MINIDL_UNROLL_ALL
    for (int o = -(K - 1) / 2; o <= 1; o++) {
      const floats<L> v = loads<L>(corner + (LAST - TAPS + 1 + t) * line + o);
      MINIDL_UNROLL_ALL
      for (int x = 0; x < 2; x++) {
        const int m = (x & PC) - o, j = (x + PC) % 2 + 2 * m;
        if (m < 0 || j >= K) continue;
        MINIDL_UNROLL_ALL
        for (int r = 0; r < R; r++)
          if (const int n = r - t + TAPS - 1; n >= 0 && n < TAPS) sums[x][r] += weight[(I + 2 * n) * K + j] * v;
      }
    }
  }
}

template <int L, int R, int K, int PR, int PC, int Y>
MINIDL_INLINE void rows_of_parity(const DepthwiseShape& s, const Margins& m, const float* g, const float* weight,
                                  float* gx) {
  const int64_t h = s.rows.size, w = s.columns.size, count = (h - Y + 1) / 2;
  for (int64_t at = 0; at < count; at += R) {
    const int64_t a = min(at, count - R);  // the last block overlaps the one before it
    for (int64_t b = 0; 2 * b < w; b += L) {
      floats<L> sums[2][R] = {};
      block<L, R, K, PR, PC, Y>(g + (m.before + a + s.rows.before / 2) * m.line + m.before + b + s.columns.before / 2,
                                m.line, weight, sums);
      for (int r = 0; r < R; r++) {
        floats<L> low, high;
        zip(sums[0][r], sums[1][r], low, high, typename MakeLanes<L>::type{});
        float* to = gx + (2 * (a + r) + Y) * w + 2 * b;
        stores_n<L>(to, low, w - 2 * b);
        stores_n<L>(to + L, high, w - 2 * b - L);
      }
    }
  }
}

template <int L, int K, int PR, int PC>
void stride_2(const DepthwiseBackwardInput& p) {
  constexpr int R = 4;
  const DepthwiseShape& s = p.shape;
  const Margins m(s.rows, s.columns, (K - 1) / 2, R);
  const int64_t pixels = s.rows.count * s.columns.count, elements = s.rows.size * s.columns.size;
  parallel_chunks(s.n * s.channels, DEPTHWISE_GRAIN / (K * K * pixels), [&](int64_t begin, int64_t end) {
    Scratch<float> g(m.floats());
    std::memset(g.get(), 0, sizeof(float) * static_cast<size_t>(m.floats()));
    for (int64_t plane = begin; plane < end; plane++) {
      m.fill(p.g + plane * pixels, s.rows.count, s.columns.count, g);
      const float* weight = p.weight + plane % s.channels * K * K;
      rows_of_parity<L, R, K, PR, PC, 0>(s, m, g, weight, p.gx + plane * elements);
      rows_of_parity<L, R, K, PR, PC, 1>(s, m, g, weight, p.gx + plane * elements);
    }
  });
}

template <int L, int K>
void stride_2_of_parity(const DepthwiseBackwardInput& p) {
  const bool r = p.shape.rows.before & 1, c = p.shape.columns.before & 1;
  if (r) return c ? stride_2<L, K, 1, 1>(p) : stride_2<L, K, 1, 0>(p);
  c ? stride_2<L, K, 0, 1>(p) : stride_2<L, K, 0, 0>(p);
}

template <int K>
void stride_2_of_columns(const DepthwiseBackwardInput& p) {
  if (prefers_half(ceil_div(p.shape.columns.size, 2))) return stride_2_of_parity<HALF, K>(p);
  stride_2_of_parity<W, K>(p);
}

// Any stride, dilation and multiplier: each element asks the windows that see it.
void any_stride(const DepthwiseBackwardInput& p) {
  const DepthwiseShape& s = p.shape;
  const Windows &rows = s.rows, &columns = s.columns;
  const int64_t taps = rows.kernel * columns.kernel, pixels = rows.count * columns.count, line = padded_row(columns);
  const Gather gather(columns);
  const int64_t cost = taps * pixels * s.multiplier;
  parallel_chunks(s.n * s.channels, DEPTHWISE_GRAIN / max<int64_t>(1, cost), [&](int64_t begin, int64_t end) {
    const int64_t lines = s.multiplier * rows.count;
    Scratch<float> g(lines * line);  // the channel's results, with zeros around each row
    Scratch<int64_t> seen(2 * s.multiplier * (rows.reach() + 1));
    std::memset(g.get(), 0, sizeof(float) * static_cast<size_t>(lines * line));
    for (int64_t plane = begin; plane < end; plane++) {
      for (int64_t y = 0; y < lines; y++)
        for (int64_t x = 0; x < columns.count; x += W)
          store_n(g + y * line + margin(columns) + x,
                  load_n(p.g + (plane * lines + y) * columns.count + x, columns.count - x), columns.count - x);
      const float* weight = p.weight + plane % s.channels * s.multiplier * taps;
      for (int64_t y = 0; y < rows.size; y++) {
        int64_t count = 0;
        for_windows_seeing(rows, y, [&](int64_t window, int64_t i) {
          for (int64_t m = 0; m < s.multiplier; m++) {
            seen[count++] = (m * rows.count + window) * line + margin(columns);
            seen[count++] = m * taps + i * columns.kernel;
          }
        });
        gather.row(p.gx + (plane * rows.size + y) * columns.size, [&](int64_t window, int64_t j, vf& total) {
          for (int64_t n = 0; n < count; n += 2) total += weight[seen[n + 1] + j] * load(g + seen[n] + window);
        });
      }
    }
  });
}

}  // namespace

void depthwise_backward_input(const DepthwiseBackwardInput& p) {
  const Windows &rows = p.shape.rows, &columns = p.shape.columns;
  const bool fits = flipped(rows).before >= 0 && flipped(columns).before >= 0 && p.shape.multiplier == 1;
  if (fits && rows.stride == 1 && columns.stride == 1) return stride_1(p);
  const bool plain = p.shape.multiplier == 1 && rows.dilation == 1 && columns.dilation == 1 && rows.size >= 8;
  if (plain && rows.kernel == columns.kernel && rows.stride == 2 && columns.stride == 2) {
    if (rows.kernel == 3) return stride_2_of_columns<3>(p);
    if (rows.kernel == 5) return stride_2_of_columns<5>(p);
    if (rows.kernel == 7) return stride_2_of_columns<7>(p);
  }
  any_stride(p);
}

}  // namespace minidl::MINIDL_ISA
