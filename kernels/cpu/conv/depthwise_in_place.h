// Planes that depthwise convolution reads where they lie, without a padded copy: lanes that are not on the plane are
// masked. There are three, by how windows meet the rows; a kernel asks each for the same things:
//   lines(windows)         pointers that `point` writes for so many rows of windows
//   point(plane, first, end, rows)   readies rows of windows [first, end)
//   seen(rows, vector, x)  what taps of L windows from column x on see, `rows` being those of their first row
#pragma once
#include "kernels/cpu/conv/depthwise_plane.h"

namespace minidl::MINIDL_ISA {

// Loads of some lanes, the others 0; what is not loaded need not be there. Only where a register can mask: elsewhere
// planes are padded.
#if defined(__AVX512VL__) || defined(__AVX2__)
constexpr bool MASKS = true;
#else
constexpr bool MASKS = false;
#endif
template <int L>
struct LaneRange {
#if defined(__AVX512VL__)
  uint32_t lanes;
  LaneRange(int64_t first, int64_t end) : lanes(end <= first ? 0 : (1u << end) - (1u << first)) {}
  MINIDL_INLINE floats<L> loads(const float* p) const {
    if constexpr (L == 16)
      return (floats<L>)_mm512_maskz_loadu_ps(static_cast<__mmask16>(lanes), p);
    else
      return (floats<L>)_mm256_maskz_loadu_ps(static_cast<__mmask8>(lanes), p);
  }
#elif defined(__AVX2__)
  vi lanes;
  LaneRange(int64_t first, int64_t end)
      : lanes((lane_index() >= static_cast<int32_t>(first)) & (lane_index() < static_cast<int32_t>(end))) {}
  MINIDL_INLINE floats<L> loads(const float* p) const { return (vf)_mm256_maskload_ps(p, (__m256i)lanes); }
#else
  LaneRange(int64_t, int64_t) {}
  MINIDL_INLINE floats<L> loads(const float*) const { return {}; }
#endif
};

// Which lanes are on the row, for tap j of each vector of windows at stride 1.
template <int L, int K>
class TapRanges {
 public:
  // Overlapping: the last vector of windows begins L before the end of the row, if that is long enough.
  TapRanges(const Windows& w, bool overlapping) : ranges_(ceil_div(w.count, L) * K) {
    for (int64_t v = 0; v * L < w.count; v++)
      for (int64_t j = 0; j < K; j++) {
        const int64_t x = overlapping && w.count >= L ? min(v * L, w.count - L) : v * L, at = x + j - w.before;
        const int64_t end = min<int64_t>(min<int64_t>(L, w.count - x), w.size - at);
        ranges_[v * K + j] = LaneRange<L>(max<int64_t>(0, -at), end);
      }
  }
  MINIDL_INLINE const LaneRange<L>* of(int64_t vector) const { return ranges_ + vector * K; }

 private:
  Scratch<LaneRange<L>> ranges_;
};

// Where rows begin that windows see at stride S, `left` floats before their first column. Rows that are not there are
// zeros.
template <int K, int S>
class PlaneRows {
 public:
  PlaneRows(const Windows& rows, int64_t line, int64_t left) : rows_(rows), line_(line), left_(left), zeros_(line) {
    std::memset(zeros_.get(), 0, sizeof(float) * static_cast<size_t>(line));
  }
  static int64_t lines(int64_t windows) { return (windows - 1) * S + K; }
  MINIDL_INLINE void point(const float* plane, int64_t first, int64_t end, const float** rows) const {
    const int64_t count = lines(end - first), top = first * S - rows_.before;
    const int64_t from = min(count, max<int64_t>(0, -top)), to = max(from, min(count, rows_.size - top));
    const float *none = zeros_.get() - left_, *row = plane + (top + from) * line_ - left_;
    for (int64_t t = 0; t < from; t++) rows[t] = none;
    for (int64_t t = from; t < to; t++, row += line_) rows[t] = row;
    for (int64_t t = to; t < count; t++) rows[t] = none;
  }

 private:
  const Windows rows_;
  const int64_t line_, left_;
  Scratch<float> zeros_;
};

// Any plane at stride 1.
template <int L, int K>
class InPlace : public PlaneRows<K, 1> {
 public:
  struct Seen {
    const float* const* rows;
    const LaneRange<L>* ranges;
    int64_t x;
    static constexpr bool on(int) { return true; }
    MINIDL_INLINE floats<L> operator()(int t, int j) const { return ranges[j].loads(rows[t] + x + j); }
  };
  InPlace(const Windows& rows, const Windows& columns, bool overlapping = true)
      : PlaneRows<K, 1>(rows, columns.size, columns.before), ranges_(columns, overlapping) {}
  MINIDL_INLINE Seen seen(const float* const* rows, int64_t vector, int64_t x) const {
    return {rows, ranges_.of(vector), x};
  }

 private:
  const TapRanges<L, K> ranges_;
};

// R rows and as many rows of windows, at stride 1 and all at once: what lies above and below them is known.
template <int L, int R, int K>
class WholePlane {
 public:
  static constexpr int BEFORE = K / 2;
  struct Seen {
    const float* corner;
    const LaneRange<L>* ranges;
    int64_t line;
    static constexpr bool on(int t) { return t >= BEFORE && t < BEFORE + R; }
    MINIDL_INLINE floats<L> operator()(int t, int j) const { return ranges[j].loads(corner + (t - BEFORE) * line + j); }
  };
  static bool fits(const Windows& rows) { return rows.count == R && rows.size == R && rows.before == BEFORE; }
  WholePlane(const Windows&, const Windows& columns) : columns_(columns), ranges_(columns, true) {}
  static int64_t lines(int64_t) { return 1; }
  MINIDL_INLINE void point(const float* plane, int64_t, int64_t, const float** rows) const { *rows = plane; }
  MINIDL_INLINE Seen seen(const float* const* rows, int64_t vector, int64_t x) const {
    return {*rows + x - columns_.before, ranges_.of(vector), columns_.size};
  }

 private:
  const Windows columns_;
  const TapRanges<L, K> ranges_;
};

#if defined(__AVX512VL__)
// Rows of one register at stride S, all windows of which are half a register: taps pick their lanes.
template <int K, int S>
class RowsOfOneRegister : public PlaneRows<K, S> {
 public:
  struct Pick {
    __m512i from;
    __mmask8 lanes;
    MINIDL_INLINE floats<HALF> operator()(__m512 row) const {
      return (floats<HALF>)_mm512_castps512_ps256(_mm512_maskz_permutexvar_ps(lanes, from, row));
    }
  };
  struct Seen {
    const float* const* rows;
    const Pick* picks;
    __mmask16 row;
    static constexpr bool on(int) { return true; }
    MINIDL_INLINE floats<HALF> operator()(int t, int j) const { return picks[j](_mm512_maskz_loadu_ps(row, rows[t])); }
  };
  static bool fits(const Windows& columns) { return columns.size <= W && columns.count <= HALF; }
  RowsOfOneRegister(const Windows& rows, const Windows& columns)
      : PlaneRows<K, S>(rows, columns.size, 0), picks_(K), row_(static_cast<__mmask16>((1u << columns.size) - 1)) {
    for (int64_t j = 0; j < K; j++) {
      vi from{};
      uint32_t lanes = 0;
      for (int64_t x = 0; x < columns.count; x++)
        if (const int64_t at = x * S + j - columns.before; at >= 0 && at < columns.size)
          from[x] = static_cast<int32_t>(at), lanes |= 1u << x;
      picks_[j] = {(__m512i)from, static_cast<__mmask8>(lanes)};
    }
  }
  MINIDL_INLINE Seen seen(const float* const* rows, int64_t, int64_t) const { return {rows, picks_, row_}; }

 private:
  Scratch<Pick> picks_;
  const __mmask16 row_;
};
#endif

}  // namespace minidl::MINIDL_ISA
