// Depthwise convolution, forward. R rows of outputs are summed at once: what a tap loads serves all rows that see it.
#include "kernels/cpu/conv/depthwise.h"

#include "kernels/cpu/conv/depthwise_in_place.h"
#include "kernels/cpu/epilogue.h"

namespace minidl::MINIDL_ISA {
namespace {

// R by L outputs of a K x K filter at stride S; `seen` gives what a tap sees (depthwise_in_place.h).
template <int L, int R, int K, int S, class Seen>
MINIDL_INLINE void block(const Seen& seen, const float* weight, floats<L> (&sums)[R]) {
  MINIDL_UNROLL_ALL
  for (int j = 0; j < K; j++) {
    MINIDL_UNROLL_ALL
    for (int t = 0; t < (R - 1) * S + K; t++) {
      if (!Seen::on(t)) continue;
      const floats<L> v = seen(t, j);
      MINIDL_UNROLL_ALL
      for (int r = 0; r < R; r++)
        if (const int i = t - r * S; i >= 0 && i < K) sums[r] += weight[i * K + j] * v;
    }
    MINIDL_UNROLL_ALL
    for (auto& sum : sums) settle(sum);
  }
}

// Rows of outputs, `room` floats before what another task owns. A row shorter than a vector is stored as a whole one;
// what that spills into the next row is then overwritten.
template <int L, int R>
MINIDL_INLINE void store_rows(float* y, int64_t columns, int64_t lanes, int64_t room, const floats<L> (&sums)[R]) {
  for (int r = 0; r < R; r++)
    if (r * columns + L <= room)
      stores<L>(y + r * columns, sums[r]);
    else
      stores_n<L>(y + r * columns, sums[r], lanes);
}

// Any filter, by a table of taps.
template <int L, int R>
MINIDL_INLINE void block_of_taps(const float* corner, int64_t row, int64_t taps, const int64_t* tap,
                                 const float* weight, floats<L> (&sums)[R]) {
  for (int64_t k = 0; k < taps; k++) {
    MINIDL_UNROLL_ALL
    for (int r = 0; r < R; r++) sums[r] += weight[k] * loads<L>(corner + tap[k] + r * row);
  }
}

// K = 0: any filter and any stride.
template <int L, int R, int K, int S>
void forward(const DepthwiseForward& p) {
  const DepthwiseShape& s = p.shape;
  const Windows &rows = s.rows, &columns = s.columns;
  const Bands bands(rows, columns, R);
  const int64_t taps = rows.kernel * columns.kernel, pixels = rows.count * columns.count;
  Scratch<int64_t> tap(taps);
  for (int64_t k = 0; k < taps; k++) tap[k] = bands.tap(k / columns.kernel, k % columns.kernel);
  const int64_t cost = taps * pixels * s.multiplier / bands.count();
  parallel_chunks(
      s.n * s.channels * bands.count(), DEPTHWISE_GRAIN / max<int64_t>(1, cost), [&](int64_t begin, int64_t end) {
        Scratch<float> band(bands.floats_of_band());
        bands.clear(band);
        for (int64_t unit = begin; unit < end; unit++) {
          const int64_t plane = unit / bands.count(), part = unit % bands.count();
          const int64_t first = bands.first(part), last = bands.first(part + 1);
          bands.fill(p.x + plane * rows.size * columns.size, first, last, band);
          for (int64_t m = 0; m < s.multiplier; m++) {
            const int64_t filter = plane % s.channels * s.multiplier + m;
            const float *weight = p.weight + filter * taps, bias = p.bias ? p.bias[filter] : 0;
            float* y = p.y + (plane * s.multiplier + m) * pixels;
            for (int64_t at = first; at < last; at += R) {
              const int64_t row = max(first, min(at, last - R));  // the last block overlaps the one before it
              for_overlapping<L>(columns.count, [&](int64_t, int64_t x) {
                floats<L> sums[R];
                for (auto& v : sums) v = bias - floats<L>{};
                const float* corner = band + (row - first) * rows.stride * bands.line() + x;
                if constexpr (K > 0)
                  block<L, R, K, S>(Padded<L, S>{corner, bands.line(), bands.pitch()}, weight, sums);
                else
                  block_of_taps<L, R>(corner, rows.stride * bands.line(), taps, tap, weight, sums);
                const int64_t to = row * columns.count + x;
                store_rows<L, R>(y + to, columns.count, columns.count - x, last * columns.count - to, sums);
              });
            }
            finish(p.finish, p.y, y - p.y + first * columns.count, (last - first) * columns.count);
          }
        }
      });
}

// Without a padded copy.
template <int L, int R, int K, int S, class Plane>
void forward_in_place(const DepthwiseForward& p) {
  const DepthwiseShape& s = p.shape;
  const Windows &rows = s.rows, &columns = s.columns;
  const Plane in_place(rows, columns);
  const int64_t pixels = rows.count * columns.count, bands = max<int64_t>(1, rows.count / (8 * R));
  const int64_t cost = K * K * pixels * s.multiplier / bands;
  parallel_chunks(s.n * s.channels * bands, DEPTHWISE_GRAIN / max<int64_t>(1, cost), [&](int64_t begin, int64_t end) {
    Scratch<const float*> seen(in_place.lines(ceil_div(rows.count, bands)));
    Unit at_unit(begin, s.channels, bands);
    for (int64_t unit = begin; unit < end; unit++, at_unit.next()) {
      const int64_t plane = at_unit.plane, band = at_unit.band;
      const int64_t first = bands == 1 ? 0 : rows.count * band / bands;
      const int64_t last = bands == 1 ? rows.count : rows.count * (band + 1) / bands;
      in_place.point(p.x + plane * rows.size * columns.size, first, last, seen);
      for (int64_t m = 0; m < s.multiplier; m++) {
        const int64_t filter = at_unit.channel * s.multiplier + m;
        const float *weight = p.weight + filter * K * K, bias = p.bias ? p.bias[filter] : 0;
        float* y = p.y + (plane * s.multiplier + m) * pixels;
        for (int64_t at = first; at < last; at += R) {
          const int64_t row = max(first, min(at, last - R));  // the last block overlaps the one before it
          for_overlapping<L>(columns.count, [&](int64_t vector, int64_t x) {
            floats<L> sums[R];
            for (auto& v : sums) v = bias - floats<L>{};
            block<L, R, K, S>(in_place.seen(seen + (row - first) * S, vector, x), weight, sums);
            const int64_t to = row * columns.count + x;
            store_rows<L, R>(y + to, columns.count, columns.count - x, last * columns.count - to, sums);
          });
        }
        finish(p.finish, p.y, y - p.y + first * columns.count, (last - first) * columns.count);
      }
    }
  });
}

template <int L, int R, int K, int S>
void forward_of_block(const DepthwiseForward& p) {
  if constexpr (MASKS && S == 1) {
    using Whole = WholePlane<L, R, K>;
    if (Whole::fits(p.shape.rows)) return forward_in_place<L, R, K, S, Whole>(p);
    forward_in_place<L, R, K, S, InPlace<L, K>>(p);
  } else {
#if defined(__AVX512VL__)
    using OneRegister = RowsOfOneRegister<K, S>;
    if (L == HALF && OneRegister::fits(p.shape.columns)) return forward_in_place<HALF, R, K, S, OneRegister>(p);
#endif
    forward<L, R, K, S>(p);
  }
}

template <int L, int K, int S>
void forward_of_rows(const DepthwiseForward& p) {
  const int64_t n = p.shape.rows.count;
  if (n >= 7 && round_up(n, 7) < round_up(n, 8)) return forward_of_block<L, 7, K, S>(p);
  if (n >= 8) return forward_of_block<L, 8, K, S>(p);
  forward_of_block<L, 4, K, S>(p);
}

template <int K, int S>
void forward_of_columns(const DepthwiseForward& p) {
  if (prefers_half(p.shape.columns.count)) return forward_of_rows<HALF, K, S>(p);
  forward_of_rows<W, K, S>(p);
}

}  // namespace

void depthwise_forward(const DepthwiseForward& p) {
  const Windows &rows = p.shape.rows, &columns = p.shape.columns;
  const bool plain = rows.dilation == 1 && columns.dilation == 1 && rows.stride == columns.stride && rows.count >= 4;
  if (plain && rows.kernel == columns.kernel && rows.stride <= 2) {
    if (rows.kernel == 3) return rows.stride == 1 ? forward_of_columns<3, 1>(p) : forward_of_columns<3, 2>(p);
    if (rows.kernel == 5) return rows.stride == 1 ? forward_of_columns<5, 1>(p) : forward_of_columns<5, 2>(p);
    if (rows.kernel == 7) return rows.stride == 1 ? forward_of_columns<7, 1>(p) : forward_of_columns<7, 2>(p);
  }
  if (rows.count >= 4) return forward<W, 4, 0, 0>(p);
  forward<W, 1, 0, 0>(p);
}

}  // namespace minidl::MINIDL_ISA
