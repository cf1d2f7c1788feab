// Products of bfloat16, summed in float32, and of int8, summed in int32.
#include "kernels/cpu/gemm/batch.h"
#include "kernels/cpu/gemm/matmul.h"
#if defined(__AVX512VNNI__) && defined(__AVX512BF16__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // (GCC 12 on its own header: bug 105593)
#include "kernels/cpu/gemm/dot.h"
#else
#include "kernels/cpu/gemm/through_float.h"
#endif

namespace minidl::MINIDL_ISA {
namespace {

#if defined(__AVX512VNNI__) && defined(__AVX512BF16__)
void multiply(const MatmulInt8& p, const int8_t* a, const int8_t* b, int32_t* c) {
  dot_gemm<DotInt8>(p, a, b, [&](int64_t m, int64_t n, __mmask16 lanes, vi sums) {
    _mm512_mask_storeu_epi32(c + m * p.N + n, lanes, (__m512i)sums);
  });
}
void multiply(const MatmulBfloat16& p, const bfloat16* a, const bfloat16* b, bfloat16* c) {
  dot_gemm<DotBfloat16>(p, a, b, [&](int64_t m, int64_t n, __mmask16 lanes, vf sums) {
    _mm256_mask_storeu_epi16(c + m * p.N + n, lanes, (__m256i)_mm512_cvtneps_pbh((__m512)sums));
  });
}
void multiply(const MatmulBfloat16Wide& p, const bfloat16* a, const bfloat16* b, float* c) {
  dot_gemm<DotBfloat16>(p, a, b, [&](int64_t m, int64_t n, __mmask16 lanes, vf sums) {
    _mm512_mask_storeu_ps(c + m * p.N + n, lanes, (__m512)sums);
  });
}
#else
template <class T, class Out>
void multiply(const MatmulOf<T, Out>& p, const T* a, const T* b, Out* c) {
  multiply_through_float(p, a, b, c);
}
#endif

template <class T, class Out>
void products(const MatmulOf<T, Out>& p) {
  if (p.M <= 0 || p.N <= 0) return;
  for_each_product(p, [&](int64_t a, int64_t b, int64_t c) {
    if (p.K > 0)
      multiply(p, p.a + a, p.b + b, p.c + c);
    else
      std::memset(p.c + c, 0, sizeof(Out) * static_cast<size_t>(p.M * p.N));
  });
}

}  // namespace

void matmul_int8(const MatmulInt8& p) { products(p); }
void matmul_bfloat16(const MatmulBfloat16& p) { products(p); }
void matmul_bfloat16_wide(const MatmulBfloat16Wide& p) { products(p); }

}  // namespace minidl::MINIDL_ISA
