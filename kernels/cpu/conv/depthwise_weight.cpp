// Depthwise convolution, gradient of the filters: dot products of g with x shifted. A vector of g is held while all
// taps of R rows take part in sums, one vector of lanes per tap; lanes are added up once per channel.
#include "kernels/cpu/conv/depthwise.h"
#include "kernels/cpu/conv/depthwise_in_place.h"

namespace minidl::MINIDL_ISA {
namespace {

// Adds R rows of g times x to the sums of columns J0 ... J0 + J of a K x K filter. `seen` gives x, `g_at` g.
template <int L, int R, int K, int S, int J0, int J, class Seen, class G>
MINIDL_INLINE void block(const Seen& seen, const G& g_at, floats<L> (&sums)[K][J]) {
  floats<L> g[R];
  MINIDL_UNROLL_ALL
  for (int r = 0; r < R; r++) g[r] = g_at(r);
  MINIDL_UNROLL_ALL
  for (int j = 0; j < J; j++) {
    MINIDL_UNROLL_ALL
    for (int t = 0; t < (R - 1) * S + K; t++) {
      const floats<L> v = seen(t, J0 + j);
      MINIDL_UNROLL_ALL
      for (int r = 0; r < R; r++)
        if (const int i = t - r * S; i >= 0 && i < K) sums[i][j] += g[r] * v;
    }
  }
}

// All rows of a band, one vector of columns: seen(y) and g_at(y) give the two above from row y on.
template <int L, int K, int S, int J0, int J, class SeenFrom, class GFrom>
MINIDL_INLINE void columns_of_taps(int64_t rows, const SeenFrom& seen, const GFrom& g_at, float* totals) {
  floats<L> sums[K][J] = {};  // short chains of additions, whose sums are added: errors grow with their lengths
  int64_t y = 0;
  for (; y + 4 <= rows; y += 4) block<L, 4, K, S, J0, J>(seen(y), g_at(y), sums);
  if (rows - y >= 2) {
    block<L, 2, K, S, J0, J>(seen(y), g_at(y), sums);
    y += 2;
  }
  if (rows > y) block<L, 1, K, S, J0, J>(seen(y), g_at(y), sums);
  MINIDL_UNROLL_ALL
  for (int k = 0; k < K * J; k++) {
    float* total = totals + (k / J * K + J0 + k % J) * L;
    stores<L>(total, loads<L>(total) + sums[k / J][k % J]);
  }
}

// As many columns of taps at once as registers hold the sums of.
template <int L, int K, int S, int J0 = 0, class SeenFrom, class GFrom>
MINIDL_INLINE void all_taps(int64_t rows, const SeenFrom& seen, const GFrom& g_at, float* totals) {
  constexpr int ROOM = W == 16 ? 25 : 10, J = K * K <= ROOM ? K : max(1, ROOM / K), NOW = min(J, K - J0);
  columns_of_taps<L, K, S, J0, NOW>(rows, seen, g_at, totals);
  if constexpr (J0 + NOW < K) all_taps<L, K, S, J0 + NOW>(rows, seen, g_at, totals);
}

// Lanes from n on are 0: what lies behind the last window may be infinite, and 0 times that is no 0.
template <int L, int S>
struct PaddedTail {
  Padded<L, S> seen;
  int64_t n;
  MINIDL_INLINE floats<L> operator()(int t, int j) const {
    return loads_n<L>(seen.corner + t * seen.line + j % S * seen.pitch + j / S, n);
  }
};

// A band of x, and the rows of g beside it.
template <int L, int K, int S>
MINIDL_INLINE void padded_band(const float* band, const Bands& bands, const float* g, int64_t width, int64_t rows,
                               float* totals) {
  const int64_t step = S * bands.line();
  for (int64_t x = 0; x < width; x += L) {
    auto seen = [&](int64_t y) { return Padded<L, S>{band + y * step + x, bands.line(), bands.pitch()}; };
    const int64_t n = width - x;
    if (n >= L) {
      all_taps<L, K, S>(
          rows, seen,
          [&](int64_t y) { return [from = g + y * width + x, width](int r) { return loads<L>(from + r * width); }; },
          totals);
    } else {
      all_taps<L, K, S>(
          rows, [&](int64_t y) { return PaddedTail<L, S>{seen(y), n}; },
          [&](int64_t y) {
            return [from = g + y * width + x, width, n](int r) { return loads_n<L>(from + r * width, n); };
          },
          totals);
    }
  }
}

// Any filter: four taps at a time, found in a table.
void any_taps(const float* g, int64_t columns, int64_t rows, const float* corner, int64_t step, int64_t taps,
              const int64_t* tap, float* totals) {
  for (int64_t k = 0; k < taps; k += 4) {
    const int64_t count = min<int64_t>(4, taps - k);
    vf sums[4] = {};
    for (int64_t y = 0; y < rows; y++)
      for (int64_t x = 0; x < columns; x += W) {
        const vf gr = load_n(g + y * columns + x, columns - x);
        for (int64_t c = 0; c < count; c++) sums[c] += gr * load_n(corner + tap[k + c] + y * step + x, columns - x);
      }
    for (int64_t c = 0; c < count; c++) store(totals + (k + c) * W, load(totals + (k + c) * W) + sums[c]);
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
          if constexpr (K > 0)
            padded_band<L, K, S>(band, bands, g, width, height, of_filter);
          else
            any_taps(g, width, height, band, rows.stride * bands.line(), taps, tap, of_filter);
        }
      }
      for (int64_t k = 0; k < s.multiplier * taps; k++)
        p.gweight[channel * s.multiplier * taps + k] = sum_lanes<L>(totals + k * L);
    }
  });
}

// At stride 1, without a padded copy.
template <int L, int K>
void backward_in_place(const DepthwiseBackwardWeight& p) {
  const DepthwiseShape& s = p.shape;
  const Windows &rows = s.rows, &columns = s.columns;
  const InPlace<L, K> in_place(rows, columns, false);
  const int64_t width = columns.count, pixels = rows.count * width, cost = K * K * pixels * s.multiplier * s.n;
  parallel_chunks(s.channels, DEPTHWISE_GRAIN / max<int64_t>(1, cost), [&](int64_t begin, int64_t end) {
    Scratch<const float*> lines(in_place.lines(rows.count));
    Scratch<float> totals(s.multiplier * K * K * L);
    for (int64_t channel = begin; channel < end; channel++) {
      std::memset(totals.get(), 0, sizeof(float) * static_cast<size_t>(s.multiplier * K * K * L));
      for (int64_t n = 0; n < s.n; n++) {
        const int64_t plane = n * s.channels + channel;
        in_place.point(p.x + plane * rows.size * columns.size, 0, rows.count, lines);
        for (int64_t m = 0; m < s.multiplier; m++)
          for (int64_t x = 0; x < width; x += L) {
            const float* g = p.g + (plane * s.multiplier + m) * pixels + x;
            const LaneRange<L> there(0, min<int64_t>(L, width - x));
            all_taps<L, K, 1>(
                rows.count, [&](int64_t y) { return in_place.seen(lines + y, x / L, x); },
                [&](int64_t y) {
                  return [from = g + y * width, width, there](int r) { return there.loads(from + r * width); };
                },
                totals + m * K * K * L);
          }
      }
      for (int64_t k = 0; k < s.multiplier * K * K; k++)
        p.gweight[channel * s.multiplier * K * K + k] = sum_lanes<L>(totals + k * L);
    }
  });
}

template <int L, int K, int S>
void backward_of_vectors(const DepthwiseBackwardWeight& p) {
  if constexpr (MASKS && S == 1)
    backward_in_place<L, K>(p);
  else
    backward<L, K, S>(p);
}

template <int K, int S>
void backward_of_columns(const DepthwiseBackwardWeight& p) {
  if (prefers_half(p.shape.columns.count)) return backward_of_vectors<HALF, K, S>(p);
  backward_of_vectors<W, K, S>(p);
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
