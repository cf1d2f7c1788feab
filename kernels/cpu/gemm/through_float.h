// Products of narrow types by way of float32: where the processor has no instruction for them.
#pragma once
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemm/matmul.h"

namespace minidl::MINIDL_ISA {

template <class T>
struct NarrowOf {
  typedef T type __attribute__((vector_size(W * sizeof(T))));  // as many lanes as a vector of floats has
};

MINIDL_INLINE vf widened(const int8_t* p) {
  NarrowOf<int8_t>::type v;
  std::memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, vf);
}
MINIDL_INLINE vf widened(const bfloat16* p) {
  NarrowOf<uint16_t>::type v;
  std::memcpy(&v, p, sizeof v);
  return (vf)(__builtin_convertvector(v, vi) << 16);
}
MINIDL_INLINE float widened_one(int8_t x) { return x; }
MINIDL_INLINE float widened_one(bfloat16 x) {
  uint32_t bits = uint32_t{x.bits} << 16;
  float y;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}

// To the nearest, ties to even; NaN stays NaN.
MINIDL_INLINE bfloat16 narrowed(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if (x != x) return {static_cast<uint16_t>(bits >> 16 | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

// A matrix in float32, dense along the axis that lies along memory: dst has rows * columns elements.
template <class T>
Strided<float> widen(const T* src, int64_t rs, int64_t cs, int64_t rows, int64_t columns, float* dst) {
  if (cs != 1 && rs == 1) return widen(src, cs, rs, columns, rows, dst).transposed();
  parallel_chunks(rows, 1 + (1 << 14) / columns, [&](int64_t first, int64_t end) {
    for (int64_t r = first; r < end; r++) {
      const T* from = src + r * rs;
      float* to = dst + r * columns;
      int64_t c = 0;
      for (; cs == 1 && c + W <= columns; c += W) store(to + c, widened(from + c));
      for (; c < columns; c++) to[c] = widened_one(from[c * cs]);
    }
  });
  return {dst, columns, 1};
}

// Sums of 1024 products of int8 are exact in float32: 1024 * 2^14 = 2^24. By slices of K, then, in int32.
inline void multiply_through_float(const MatmulInt8& p, const int8_t* a, const int8_t* b, int32_t* c) {
  constexpr int64_t EXACT = 1024;
  const int64_t depth = min(p.K, EXACT);
  Scratch<float> wide_a(p.M * depth), wide_b(depth * p.N), sums(p.M * p.N);
  for (int64_t k0 = 0; k0 < p.K; k0 += EXACT) {
    const int64_t kc = min(EXACT, p.K - k0);
    auto A = widen(a + k0 * p.acs, p.ars, p.acs, p.M, kc, wide_a.get());
    auto B = widen(b + k0 * p.brs, p.brs, p.bcs, kc, p.N, wide_b.get());
    gemm<float>(p.M, p.N, kc, A.data, A.rs, A.cs, B.data, B.rs, B.cs, sums, p.N);
    parallel_chunks(p.M * p.N, 1 << 14, [&](int64_t first, int64_t end) {
      for (int64_t i = first; i < end; i++)
        c[i] = static_cast<int32_t>(static_cast<uint32_t>(k0 ? c[i] : 0) +
                                    static_cast<uint32_t>(static_cast<int32_t>(sums[i])));
    });
  }
}

MINIDL_INLINE void put(float* c, float x) { *c = x; }
MINIDL_INLINE void put(bfloat16* c, float x) { *c = narrowed(x); }

template <class Out>
void multiply_through_float(const MatmulOf<bfloat16, Out>& p, const bfloat16* a, const bfloat16* b, Out* c) {
  Scratch<float> wide_a(p.M * p.K), wide_b(p.K * p.N), sums(p.M * p.N);
  auto A = widen(a, p.ars, p.acs, p.M, p.K, wide_a.get());
  auto B = widen(b, p.brs, p.bcs, p.K, p.N, wide_b.get());
  gemm<float>(p.M, p.N, p.K, A.data, A.rs, A.cs, B.data, B.rs, B.cs, sums, p.N);
  parallel_chunks(p.M * p.N, 1 << 14, [&](int64_t first, int64_t end) {
    for (int64_t i = first; i < end; i++) put(c + i, sums[i]);
  });
}

}  // namespace minidl::MINIDL_ISA
