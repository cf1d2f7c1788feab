// Products of narrow types by instructions that sum 2 products of bfloat16, or 4 of int8, into each 32-bit lane.
//
// As gemm.h, with a group of neighbours along K in the place of an element: A is packed by panels, [group][height], B
// by slivers, [group][NR]. Groups that K does not fill up end in zeros.
//
// Source: Intel 2023, "Intel 64 and IA-32 Architectures Software Developer's Manual", volume 2C, VPDPBUSD, VDPBF16PS.
#pragma once
#include "kernels/cpu/gemm/batch.h"
#include "kernels/cpu/microkernel.h"

namespace minidl::MINIDL_ISA {

struct DotBfloat16 {
  using Element = bfloat16;
  using Sum = float;
  static constexpr int GROUP = 2;
  static constexpr uint32_t FLIP = 0;
  static MINIDL_INLINE vf add(vf sum, vi a, vi b) {
    return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
  }
  static MINIDL_INLINE vi wide(const bfloat16* p, __mmask16 lanes) {
    return (vi)_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, p));
  }
  // Half h of a group, of 2 W neighbours: 16 bits of each.
  static MINIDL_INLINE __m512i half(const bfloat16* p, int64_t ks, int h) { return _mm512_loadu_si512(p + h * ks); }
};

// The instruction wants a's bytes unsigned: they are 128 too large, and 128 times b's column sum is taken off.
struct DotInt8 {
  using Element = int8_t;
  using Sum = int32_t;
  static constexpr int GROUP = 4;
  static constexpr uint32_t FLIP = 0x80808080;
  static MINIDL_INLINE vi add(vi sum, vi a, vi b) {
    return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
  }
  static MINIDL_INLINE vi wide(const int8_t* p, __mmask16 lanes) {
    return (vi)_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lanes, p));
  }
  static MINIDL_INLINE __m512i half(const int8_t* p, int64_t ks, int h) {
    auto row = [&](int i) { return _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i*)(p + (2 * h + i) * ks))); };
    return _mm512_or_si512(row(0), _mm512_slli_epi16(row(1), 8));
  }
};

MINIDL_INLINE __mmask16 first_lanes(int64_t n) {
  return n >= 16 ? 0xffff : n <= 0 ? 0 : static_cast<__mmask16>((1u << n) - 1);
}

// Of two vectors' 16-bit lanes: the pairs (first + i, 2 W + first + i).
MINIDL_INLINE __m512i interleaved(int32_t first) { return (__m512i)((lane_index() + first) * 0x10001 + (32 << 16)); }

// dst[group][width] of `rows` rows (or columns) over K elements, as `pack`; may write a vector past the end.
template <class D>
void pack_groups(const typename D::Element* src, int64_t rs, int64_t ks, int rows, int64_t K, int32_t* dst, int width,
                 uint32_t flip) {
  constexpr int G = D::GROUP, BITS = 32 / G;
  const int64_t groups = ceil_div(K, G), whole = ks == 1 ? K / G : 0;
  const vi flipped = splat<int32_t>(static_cast<int32_t>(flip));
  int64_t g = 0;
  for (; g < whole; g += W)  // K lies along memory: a group is 32 bits of it
    for (int r0 = (width - 1) / W * W; r0 >= 0; r0 -= W) {
      vi t[W];
      const int n = static_cast<int>(min<int64_t>(W, whole - g));
      for (int r = 0; r < W; r++)
        t[r] =
            r0 + r < rows ? (vi)_mm512_maskz_loadu_epi32(first_lanes(n), src + (r0 + r) * rs + g * G) ^ flipped : vi{};
      transpose<int32_t>(t);
      for (int i = 0; i < n; i++) store(dst + (g + i) * width + r0, t[i]);
    }
  const int64_t side_by_side = rs == 1 && rows == 2 * W && width == 2 * W ? K / G : whole;
  for (; g < side_by_side; g++) {  // rows of the sliver lie along memory: two halves of their groups interleave
    const typename D::Element* p = src + g * G * ks;
    for (int i = 0; i < G; i++) __builtin_prefetch(p + (6 * G + i) * ks);  // (rows far apart: nothing else would)
    const __m512i low = D::half(p, ks, 0), high = D::half(p, ks, 1), flips = (__m512i)flipped;
    store(dst + g * width, (vi)_mm512_xor_si512(_mm512_permutex2var_epi16(low, interleaved(0), high), flips));
    store(dst + g * width + W, (vi)_mm512_xor_si512(_mm512_permutex2var_epi16(low, interleaved(W), high), flips));
  }
  for (g = side_by_side; g < groups; g++)
    for (int r0 = 0; r0 < width; r0 += W) {
      vi group{};
      for (int i = 0; i < G && g * G + i < K; i++) {
        const typename D::Element* p = src + r0 * rs + (g * G + i) * ks;
        vi part{};
        if (rs == 1)
          part = D::wide(p, first_lanes(rows - r0));
        else
          for (int r = 0; r < W && r0 + r < rows; r++) part[r] = D::wide(p + r * rs, 1)[0];
        group |= part << i * BITS;
      }
      store(dst + g * width + r0, group ^ flipped);
    }
}

// Where a tile's sums begin and end: from `start` or from what c has of the slices before, to c or, after the last one,
// through `put` to rows from m and columns from n on.
template <class D, class Put>
struct DotTile {
  const typename D::Sum* start;
  typename D::Sum* c;
  int64_t ldc, m, n, N;
  bool accumulate, last;
  const Put& put;
};

template <class D, class Put, int MR_, int NV_>
void dot_microkernel(int64_t groups, const int32_t* a, const int32_t* b, const DotTile<D, Put>& t) {
  vec<typename D::Sum> acc[MR_][NV_];
  MINIDL_UNROLL
  for (int i = 0; i < MR_; i++)
    for (int v = 0; v < NV_; v++) acc[i][v] = load(t.accumulate ? t.c + i * t.ldc + v * W : t.start + v * W);
  for (int64_t g = 0; g < groups; g++, a += MR_, b += NV * W) {
    vi bv[NV_];
    for (int v = 0; v < NV_; v++) bv[v] = load(b + v * W);
    __builtin_prefetch(b + 16 * NV * W);
    __builtin_prefetch(b + 17 * NV * W - W);
    __builtin_prefetch(a + 32 * MR_);
    MINIDL_UNROLL
    for (int i = 0; i < MR_; i++) {
      vi ai = splat<int32_t>(a[i]);
      for (int v = 0; v < NV_; v++) acc[i][v] = D::add(acc[i][v], ai, bv[v]);
    }
  }
  MINIDL_UNROLL
  for (int i = 0; i < MR_; i++)
    for (int v = 0; v < NV_; v++)
      if (t.last)
        t.put(t.m + i, t.n + v * W, first_lanes(t.N - t.n - v * W), acc[i][v]);
      else
        store(t.c + i * t.ldc + v * W, acc[i][v]);
}

template <class D, class Put>
using DotMicrokernel = void (*)(int64_t, const int32_t*, const int32_t*, const DotTile<D, Put>&);
template <class D, class Put, int... I>
DotMicrokernel<D, Put> dot_microkernel_of_height(int rows, Lanes<I...>) {
  static constexpr DotMicrokernel<D, Put> table[] = {dot_microkernel<D, Put, I + 1, NV>...};
  return table[rows - 1];
}

// C[M, N] = A B, in blocks of rows x columns that stay in cache; `put(row, column, lanes, sums)` stores a vector of C.
template <class D, class P, class Put>
void dot_gemm(const P& p, const typename D::Element* A, const typename D::Element* B, const Put& put) {
  using Sum = typename D::Sum;
  constexpr int64_t SLICE = 384 * D::GROUP, WIDE = NV * W, PITCH = round_up(MR, W), COLUMNS = 8;
  const Panels panels(p.M);
  const int64_t slices = ceil_div(p.K, SLICE), slivers = ceil_div(p.N, WIDE), groups = ceil_div(p.K, D::GROUP);
  Scratch<int32_t> a(panels.count * PITCH * groups), b(slivers * WIDE * groups);
  Scratch<Sum> start(slivers * WIDE);
  auto slice = [&](int64_t s, auto f) { f(s * SLICE, min(SLICE, p.K - s * SLICE), s * (SLICE / D::GROUP)); };
  parallel_for(slices * panels.count, [&](int64_t t) {
    int64_t panel = t % panels.count;
    slice(t / panels.count, [&](int64_t k0, int64_t kc, int64_t g0) {
      int64_t height = panels.height(panel);
      int32_t* dst = a + PITCH * (g0 * panels.count + panel * ceil_div(kc, D::GROUP));
      pack_groups<D>(A + panels.start(panel) * p.ars + k0 * p.acs, p.ars, p.acs, static_cast<int>(height), kc, dst,
                     static_cast<int>(height), D::FLIP);
    });
  });
  parallel_for(slivers, [&](int64_t sliver) {
    vec<Sum> total[NV] = {};
    const int columns = static_cast<int>(min(WIDE, p.N - sliver * WIDE));
    for (int64_t s = 0; s < slices; s++)
      slice(s, [&](int64_t k0, int64_t kc, int64_t g0) {
        int32_t* dst = b + WIDE * (g0 * slivers + sliver * ceil_div(kc, D::GROUP));
        pack_groups<D>(B + k0 * p.brs + sliver * WIDE * p.bcs, p.bcs, p.brs, columns, kc, dst, WIDE, 0);
        for (int64_t g = 0; D::FLIP && g < ceil_div(kc, D::GROUP); g++)
          for (int v = 0; v < NV; v++)
            total[v] = D::add(total[v], splat<int32_t>(static_cast<int32_t>(D::FLIP)), load(dst + g * WIDE + v * W));
      });
    for (int v = 0; v < NV; v++) store(start + sliver * WIDE + v * W, -total[v]);
  });
  const int64_t rows = ceil_div(panels.count, 20), wide = ceil_div(slivers, COLUMNS);
  parallel_for(rows * wide, [&](int64_t t) {
    const int64_t p0 = panels.count * (t / wide) / rows, p1 = panels.count * (t / wide + 1) / rows;
    const int64_t s0 = slivers * (t % wide) / wide, s1 = slivers * (t % wide + 1) / wide;
    const int64_t m0 = panels.start(p0), pitch = (s1 - s0) * WIDE;
    Scratch<Sum> c(slices > 1 ? (panels.start(p1) - m0) * pitch : 0);
    for (int64_t k = 0; k < slices; k++)
      slice(k, [&](int64_t, int64_t kc, int64_t g0) {
        const int64_t deep = ceil_div(kc, D::GROUP);
        for (int64_t s = s0; s < s1; s++)
          for (int64_t panel = p0; panel < p1; panel++) {
            const int64_t m = panels.start(panel);
            dot_microkernel_of_height<D, Put>(panels.height(panel), typename MakeLanes<MR>::type{})(
                deep, a + PITCH * (g0 * panels.count + panel * deep), b + WIDE * (g0 * slivers + s * deep),
                {start + s * WIDE, c + (m - m0) * pitch + (s - s0) * WIDE, pitch, m, s * WIDE, p.N, k > 0,
                 k + 1 == slices, put});
          }
      });
  });
}

}  // namespace minidl::MINIDL_ISA
