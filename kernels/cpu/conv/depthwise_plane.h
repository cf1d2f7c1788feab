// What the directions of depthwise convolution share: planes cut into bands of rows that stay in L1, padded and laid
// out by phases (phases.h), and vectors of a whole or half a register, whichever wastes less at the end of a row.
#pragma once
#include "kernels/cpu/phases.h"

#define MINIDL_UNROLL_ALL _Pragma("GCC unroll 64")

namespace minidl::MINIDL_ISA {

template <int L>
struct FloatsOf {
  typedef float type __attribute__((vector_size(L * sizeof(float))));
};
template <int L>
using floats = typename FloatsOf<L>::type;
constexpr int HALF = W == 16 ? 8 : W;  // (an AVX2 register: the AVX-512 build only has both kinds)

template <int L>
MINIDL_INLINE floats<L> loads(const float* p) {
  floats<L> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <int L>
MINIDL_INLINE void stores(float* p, floats<L> v) {
  std::memcpy(p, &v, sizeof v);
}
template <int L>
MINIDL_INLINE floats<L> loads_n(const float* p, int64_t n) {
  if constexpr (L == W) {
    return load_n(p, n);
  } else {
#if defined(__AVX512VL__)
    return n <= 0 ? floats<L>{} : (floats<L>)_mm256_maskz_loadu_ps((__mmask8)(n >= L ? 255 : (1u << n) - 1), p);
#endif
  }
}
template <int L>
MINIDL_INLINE void stores_n(float* p, floats<L> v, int64_t n) {
  if constexpr (L == W) {
    store_n(p, v, n);
  } else {
#if defined(__AVX512VL__)
    if (n > 0) _mm256_mask_storeu_ps(p, (__mmask8)(n >= L ? 255 : (1u << n) - 1), (__m256)v);
#endif
  }
}

// The value is here now: the compiler may not put off its computation, nor mix it with what follows. (It would gather
// all loads of an unrolled block, spill them, and then compute sum after sum, each a chain that waits for itself.)
template <class V>
MINIDL_INLINE void settle(V& v) {
#if defined(__AVX512VL__)
  asm volatile("" : "+v"(v));
#elif defined(__x86_64__)
  asm volatile("" : "+x"(v));
#elif defined(__aarch64__)
  asm volatile("" : "+w"(v));
#endif
}

// Half registers where a whole one would be half empty at the end of a row.
MINIDL_INLINE bool prefers_half(int64_t columns) { return HALF < W && round_up(columns, HALF) < round_up(columns, W); }

// A plane's rows as windows see them, a band of windows at a time.
class Bands {
 public:
  static constexpr int64_t BYTES_OF_BAND = 16384;

  Bands(const Windows& rows, const Windows& columns, int64_t multiple)
      : rows_(rows), phases_(columns), line_(phases_.floats()) {
    const int64_t fit = BYTES_OF_BAND / (static_cast<int64_t>(sizeof(float)) * line_ * rows.stride);
    count_ = max<int64_t>(1, rows.count / (max<int64_t>(1, fit / multiple) * multiple));  // none below `multiple`
  }
  int64_t count() const { return count_; }
  int64_t first(int64_t band) const { return rows_.count * band / count_; }
  int64_t line() const { return line_; }  // floats from a row to the next
  int64_t pitch() const { return phases_.pitch; }
  int64_t tap(int64_t i, int64_t j) const { return i * rows_.dilation * line_ + phases_.tap(j); }
  int64_t floats_of_band() const { return lines(ceil_div(rows_.count, count_)) * line_; }
  void clear(float* band) const { std::memset(band, 0, sizeof(float) * static_cast<size_t>(floats_of_band())); }

  // Lays out what windows [first, end) see; the band was cleared once.
  MINIDL_INLINE void fill(const float* plane, int64_t first, int64_t end, float* band) const {
    const int64_t top = first * rows_.stride - rows_.before, count = lines(end - first);
    const int64_t from = max<int64_t>(0, -top), to = max(from, min(count, rows_.size - top));
    if (count_ > 1) {  // (else those rows are the same for all planes, and still clear)
      std::memset(band, 0, sizeof(float) * static_cast<size_t>(min(from, count) * line_));
      if (to < count) std::memset(band + to * line_, 0, sizeof(float) * static_cast<size_t>((count - to) * line_));
    }
    for (int64_t t = from; t < min(to, count); t++)
      phases_.template fill<true>(plane + (top + t) * phases_.w.size, band + t * line_);
  }

 private:
  int64_t lines(int64_t windows) const {
    return (windows - 1) * rows_.stride + (rows_.kernel - 1) * rows_.dilation + 1;
  }

  Windows rows_;
  Phases phases_;
  int64_t line_, count_;
};

// f(vector, x) for vectors that cover a row: where it is long enough the last one overlaps the one before it.
template <int L, class F>
MINIDL_INLINE void for_overlapping(int64_t n, const F& f) {
  for (int64_t v = 0; v * L < n; v++) f(v, n < L ? 0 : min(v * L, n - L));
}

// What tap (row t, column j) of L windows sees in a padded band whose `corner` is the first window's. `on`: may row t
// be on the plane? (Where that is known, other rows take no time.)
template <int L, int S>
struct Padded {
  const float* corner;
  int64_t line, pitch;
  static constexpr bool on(int) { return true; }
  MINIDL_INLINE floats<L> operator()(int t, int j) const { return loads<L>(corner + t * line + j % S * pitch + j / S); }
};

// Counts units (a plane's bands, in order) without dividing at each: a small plane takes no longer than two divisions.
struct Unit {
  int64_t channels, bands, plane, band, channel;
  Unit(int64_t index, int64_t channels, int64_t bands)
      : channels(channels), bands(bands), plane(index / bands), band(index % bands), channel(plane % channels) {}
  MINIDL_INLINE void next() {
    if (++band < bands) return;
    band = 0, plane++;
    if (++channel == channels) channel = 0;
  }
};

// Tasks of about this many multiply-adds.
constexpr int64_t DEPTHWISE_GRAIN = 1 << 18;

}  // namespace minidl::MINIDL_ISA
