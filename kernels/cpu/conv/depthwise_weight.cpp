// Depthwise convolution, gradient of the filters: dot products of g with x shifted. A vector of g is held while all
// taps of R rows take part in sums, one vector of lanes per tap; lanes are added up once per channel.
#include "kernels/cpu/conv/depthwise.h"
#include "kernels/cpu/conv/depthwise_plane.h"

namespace minidl::MINIDL_ISA {
namespace {

// Adds R rows of g (the first n lanes) times x to the sums of columns J0 ... J0 + J of a K x K filter.
template <int L, int R, int K, int S, int J0, int J, bool Tail>
MINIDL_INLINE void block(const float* g, int64_t row, int64_t n, const float* corner, const Bands& bands,
                         floats<L> (&sums)[K][J]) {
  const int64_t line = bands.line(), pitch = bands.pitch();
  floats<L> gr[R];
  MINIDL_UNROLL_ALL
  for (int r = 0; r < R; r++) gr[r] = Tail ? loads_n<L>(g + r * row, n) : loads<L>(g + r * row);
  MINIDL_UNROLL_ALL
  for (int j = 0; j < J; j++) {
    const float* column = corner + (J0 + j) % S * pitch + (J0 + j) / S;
    MINIDL_UNROLL_ALL
    for (int t = 0; t < (R - 1) * S + K; t++) {
      // (lanes behind the last window may hold infinities: 0 times those is no 0)
      const floats<L> v = Tail ? loads_n<L>(column + t * line, n) : loads<L>(column + t * line);
      MINIDL_UNROLL_ALL
      for (int r = 0; r < R; r++)
        if (const int i = t - r * S; i >= 0 && i < K) sums[i][j] += gr[r] * v;
    }
  }
}

// All rows of a band, one vector of columns.
template <int L, int K, int S, int J0, int J, bool Tail>
void columns_of_taps(const float* g, int64_t row, int64_t n, int64_t rows, const float* corner, const Bands& bands,
                     float* totals) {
  floats<L> sums[K][J];
  const int64_t step = S * bands.line();
  MINIDL_UNROLL_ALL
  for (int i = 0; i < K; i++) MINIDL_UNROLL_ALL
  for (int j = 0; j < J; j++) sums[i][j] = loads<L>(totals + (i * K + J0 + j) * L);
  int64_t y = 0;
  for (; y + 4 <= rows; y += 4) block<L, 4, K, S, J0, J, Tail>(g + y * row, row, n, corner + y * step, bands, sums);
  if (rows - y >= 2) {
    block<L, 2, K, S, J0, J, Tail>(g + y * row, row, n, corner + y * step, bands, sums);
    y += 2;
  }
  if (rows > y) block<L, 1, K, S, J0, J, Tail>(g + y * row, row, n, corner + y * step, bands, sums);
  MINIDL_UNROLL_ALL
  for (int i = 0; i < K; i++) MINIDL_UNROLL_ALL
  for (int j = 0; j < J; j++) stores_n<L>(totals + (i * K + J0 + j) * L, sums[i][j], L);
}

// As many columns of taps at once as registers hold the sums of.
template <int L, int K, int S, bool Tail, int J0 = 0>
MINIDL_INLINE void all_taps(const float* g, int64_t row, int64_t n, int64_t rows, const float* corner,
                            const Bands& bands, float* totals) {
  constexpr int ROOM = W == 16 ? 25 : 10, J = K * K <= ROOM ? K : max(1, ROOM / K), NOW = min(J, K - J0);
  columns_of_taps<L, K, S, J0, NOW, Tail>(g, row, n, rows, corner, bands, totals);
  if constexpr (J0 + NOW < K) all_taps<L, K, S, Tail, J0 + NOW>(g, row, n, rows, corner, bands, totals);
}

// Any filter: four taps at a time, found in a table.
void any_taps(const float* g, int64_t columns, int64_t rows, const float* corner, int64_t step, int64_t taps,
              const int64_t* tap, float* totals) {
  for (int64_t k = 0; k < taps; k += 4) {
    const int64_t count = min<int64_t>(4, taps - k);
    vf sums[4] = {};
    for (int64_t c = 0; c < count; c++) sums[c] = load(totals + (k + c) * W);
    for (int64_t y = 0; y < rows; y++)
      for (int64_t x = 0; x < columns; x += W) {
        const vf gr = load_n(g + y * columns + x, columns - x);
        for (int64_t c = 0; c < count; c++) sums[c] += gr * load_n(corner + tap[k + c] + y * step + x, columns - x);
      }
    for (int64_t c = 0; c < count; c++) store(totals + (k + c) * W, sums[c]);
  }
}

template <int L>
float sum_lanes(float* lanes) {
  for (int half = L / 2; half; half /= 2)
    for (int l = 0; l < half; l++) lanes[l] += lanes[l + half];
  return lanes[0];
}

// K = 0: any filter and any stride.
template <int L, int K, int S>
void backward(const DepthwiseBackwardWeight& p) {
  const DepthwiseShape& s = p.shape;
  const Windows &rows = s.rows, &columns = s.columns;
  const Bands bands(rows, columns, 4);
  const int64_t taps = rows.kernel * columns.kernel, width = columns.count, pixels = rows.count * width;
  Scratch<int64_t> tap(taps);
  for (int64_t k = 0; k < taps; k++) tap[k] = bands.tap(k / columns.kernel, k % columns.kernel);
  const int64_t cost = taps * pixels * s.multiplier * s.n;
  parallel_chunks(s.channels, DEPTHWISE_GRAIN / max<int64_t>(1, cost), [&](int64_t begin, int64_t end) {
    Scratch<float> band(bands.floats_of_band()), totals(s.multiplier * taps * L);
    bands.clear(band);
    for (int64_t channel = begin; channel < end; channel++) {
      std::memset(totals.get(), 0, sizeof(float) * static_cast<size_t>(s.multiplier * taps * L));
      for (int64_t unit = 0; unit < s.n * bands.count(); unit++) {
        const int64_t plane = unit / bands.count() * s.channels + channel, part = unit % bands.count();
        const int64_t first = bands.first(part), height = bands.first(part + 1) - first;
        bands.fill(p.x + plane * rows.size * columns.size, first, first + height, band);
        for (int64_t m = 0; m < s.multiplier; m++) {
          const float* g = p.g + (plane * s.multiplier + m) * pixels + first * width;
          float* of_filter = totals + m * taps * L;
          if constexpr (K > 0) {
            for (int64_t x = 0; x < width; x += L)
              if (width - x >= L)
                all_taps<L, K, S, false>(g + x, width, L, height, band + x, bands, of_filter);
              else
                all_taps<L, K, S, true>(g + x, width, width - x, height, band + x, bands, of_filter);
          } else {
            any_taps(g, width, height, band, rows.stride * bands.line(), taps, tap, of_filter);
          }
        }
      }
      for (int64_t k = 0; k < s.multiplier * taps; k++)
        p.gweight[channel * s.multiplier * taps + k] = sum_lanes<L>(totals + k * L);
    }
  });
}

template <int K, int S>
void backward_of_columns(const DepthwiseBackwardWeight& p) {
  if (prefers_half(p.shape.columns.count)) return backward<HALF, K, S>(p);
  backward<W, K, S>(p);
}

}  // namespace

void depthwise_backward_weight(const DepthwiseBackwardWeight& p) {
  const Windows &rows = p.shape.rows, &columns = p.shape.columns;
  const bool plain = rows.dilation == 1 && columns.dilation == 1 && rows.stride == columns.stride && rows.stride <= 2;
  if (plain && rows.kernel == columns.kernel) {
    if (rows.kernel == 3) return rows.stride == 1 ? backward_of_columns<3, 1>(p) : backward_of_columns<3, 2>(p);
    if (rows.kernel == 5) return rows.stride == 1 ? backward_of_columns<5, 1>(p) : backward_of_columns<5, 2>(p);
    if (rows.kernel == 7) return rows.stride == 1 ? backward_of_columns<7, 1>(p) : backward_of_columns<7, 2>(p);
  }
  backward<W, 0, 0>(p);
}

}  // namespace minidl::MINIDL_ISA
