// The one loop that most FLOPs pass through: a tile of C held in registers, A broadcast, B in vectors.
//
// GEMM, convolution, attention and recurrent steps are built on `tile` and `pack`. An element of C is one chain of
// fused multiply-adds over a slice of K, whatever the tile's height or place: its bits depend on K alone.
//
// Source: Goto, van de Geijn 2008, "Anatomy of high-performance matrix multiplication"; Van Zee, van de Geijn 2015,
// "BLIS".
#pragma once
#include "kernels/cpu/simd.h"

namespace minidl::MINIDL_ISA {

#if defined(__AVX512F__)
constexpr int MR = 14, NV = 2;  // 28 accumulators, 2 of B, 1 broadcast of 32 registers
#else
constexpr int MR = 6, NV = 2;  // 12, 2 and 1 of 16
#endif
template <class T>
constexpr int NR = NV * LANES<T>;
constexpr int64_t KC = 384;  // a slice of K: B's sliver is 48 KiB in float32, A's panel 21 KiB

// c[MR_, NV_ vectors] (+)= A[MR_, kc] b[kc, NR]. Stride 0: A is packed, a[k][MR_]. Stride 1 and 2: A[i, k] is
// a[offset[k] + i * Stride], so a convolution reads its image in place. Other strides: `step` at run time (Stride -1).
// Stride IN_ROWS: A is a matrix whose rows lie along memory, a[i * step + k].
constexpr int IN_ROWS = -2;
template <class T, int MR_, int NV_, int Stride>
void microkernel(int64_t kc, const T* a, const int64_t* offset, int64_t step, const T* b, T* c, int64_t ldc,
                 bool accumulate) {
  constexpr int L = LANES<T>;
  vec<T> acc[MR_][NV_];
  MINIDL_UNROLL
  for (int i = 0; i < MR_; i++)
    for (int v = 0; v < NV_; v++) {
      acc[i][v] = vec<T>{};
      __builtin_prefetch(c + i * ldc + v * L, 1);
    }
  for (int64_t k = 0; k < kc; k++, b += NR<T>) {
    vec<T> bv[NV_];
    const T* ak = Stride == 0 ? a + k * MR_ : Stride == IN_ROWS ? a + k : a + offset[k];
    if (!Stride) __builtin_prefetch(ak + 64 * MR_);
    for (int v = 0; v < NV_; v++) {
      bv[v] = load(b + v * L);
      __builtin_prefetch(b + 16 * NR<T> + v * L);
    }
    MINIDL_UNROLL
    for (int i = 0; i < MR_; i++) {
      vec<T> ai = splat<T>(ak[Stride == 0 ? i : Stride > 0 ? i * Stride : i * step]);
      for (int v = 0; v < NV_; v++) acc[i][v] += ai * bv[v];
    }
  }
  MINIDL_UNROLL
  for (int i = 0; i < MR_; i++)
    for (int v = 0; v < NV_; v++) {
      T* p = c + i * ldc + v * L;
      store(p, accumulate ? load(p) + acc[i][v] : acc[i][v]);
    }
}

template <class T>
using Microkernel = void (*)(int64_t, const T*, const int64_t*, int64_t, const T*, T*, int64_t, bool);
template <class T, int Stride, int NV_, int... I>
Microkernel<T> microkernel_of_height(int rows, Lanes<I...>) {
  static constexpr Microkernel<T> table[] = {microkernel<T, I + 1, NV_, Stride>...};
  return table[rows - 1];
}

// C[rows, columns] (+)= A B for rows <= MR, columns <= NR: whole slivers go straight to c, ragged ones by way of a
// tile.
template <int Stride = 0, class T>
MINIDL_INLINE void tile(int64_t kc, const T* a, const int64_t* offset, int rows, const T* b, int columns, T* c,
                        int64_t ldc, bool accumulate, int64_t step = 0) {
  using Rows = MakeLanes<MR>::type;
  constexpr int L = LANES<T>;
  Microkernel<T> kernel = columns <= L ? microkernel_of_height<T, Stride, 1>(rows, Rows{})
                                       : microkernel_of_height<T, Stride, NV>(rows, Rows{});
  if (columns == NR<T> || columns == L) return kernel(kc, a, offset, step, b, c, ldc, accumulate);
  alignas(64) T t[MR * NR<T>];
  kernel(kc, a, offset, step, b, t, NR<T>, false);
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < columns; j += L) {
      vec<T> v = load(t + i * NR<T> + j);
      if (accumulate) v += load_n(c + i * ldc + j, columns - j);
      store_n(c + i * ldc + j, v, columns - j);
    }
}

// dst[k][width] = src[r * rs + k * ks] for r < rows <= width, zero up to width. May write one vector past the end of
// dst: pack in the order of addresses, or leave room.
template <class T>
inline void pack(const T* src, int64_t rs, int64_t ks, int rows, int64_t kc, T* dst, int width) {
  constexpr int L = LANES<T>;
  if (rs == 1) {  // the panel lies along memory: copy
    for (int64_t k = 0; k < kc; k++, src += ks, dst += width) {
      __builtin_prefetch(src + 16 * ks);  // (rows far apart: nothing else would)
      __builtin_prefetch(src + 16 * ks + width - 1);
      for (int r = 0; r < width; r += L) store(dst + r, load_n(src + r, rows - r));
    }
  } else if (ks == 1) {  // K lies along memory: transposes, by whole cache lines
    for (int64_t k = 0; k < kc; k += L, dst += L * width)
      for (int r0 = (width - 1) / L * L; r0 >= 0; r0 -= L) {  // (what overlaps is stored first)
        vec<T> t[L];
        int n = static_cast<int>(min<int64_t>(L, kc - k));
        for (int r = 0; r < L; r++) t[r] = r0 + r < rows ? load_n(src + (r0 + r) * rs + k, n) : vec<T>{};
        transpose<T>(t);
        for (int i = 0; i < n; i++) store(dst + i * width + r0, t[i]);
      }
  } else {
    for (int64_t k = 0; k < kc; k++)
      for (int r = 0; r < width; r++) dst[k * width + r] = r < rows ? src[r * rs + k * ks] : T(0);
  }
}

// M rows in panels whose heights differ by one at most (64 in fives: 13, 13, 13, 13, 12): no slow last panel.
struct Panels {
  int64_t rows, count;
  explicit Panels(int64_t rows) : rows(rows), count(ceil_div(rows, MR)) {}
  int64_t start(int64_t p) const { return rows * p / count; }
  int height(int64_t p) const { return static_cast<int>(start(p + 1) - start(p)); }
};

}  // namespace minidl::MINIDL_ISA
