// Random words that depend on a key and a counter alone: the same bits as minidl/backend/random.py.
//
// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", SC11, section 3.3: Philox4x32-10.
#pragma once
#include "kernels/cpu/simd.h"

namespace minidl::MINIDL_ISA {

using vul = vec<uint64_t>;

// The products of the lower halves of each lane.
MINIDL_INLINE vul multiply_low(vul a, uint32_t b) {
#if defined(__AVX512F__)
  return (vul)_mm512_maskz_mul_epu32((__mmask8)-1, (__m512i)a, _mm512_set1_epi64(b));
#elif defined(__AVX2__)
  return (vul)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(b));
#elif defined(__SSE2__)
  return (vul)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(b));
#else
  return (a & 0xffffffffu) * static_cast<uint64_t>(b);
#endif
}

// words[0 ... 4 n - 1]: those of the counters first, first + 1, ... modulo 2^64, whose upper half is `stream`. Written
// are whole vectors: words has room for BYTES more.
inline void philox(uint64_t seed, uint64_t stream, uint64_t first, int64_t n, uint32_t* words) {
  constexpr uint64_t LOW = 0xffffffffu;
  constexpr int L = LANES<uint64_t>;
  for (int64_t start = 0; start < n; start += L, words += 4 * L) {
    vul counter{};
    for (int i = 0; i < L; i++) counter[i] = first + static_cast<uint64_t>(start + i);
    vul a = counter & LOW, b = counter >> 32, c = splat<uint64_t>(stream & LOW), d = splat<uint64_t>(stream >> 32);
    uint32_t j = static_cast<uint32_t>(seed), k = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < 10; round++, j += 0x9e3779b9u, k += 0xbb67ae85u) {
      const vul m = multiply_low(a, 0xd2511f53u), w = multiply_low(c, 0xcd9e8d57u);
      a = (w >> 32) ^ b ^ static_cast<uint64_t>(j);
      b = w & LOW;
      c = (m >> 32) ^ d ^ static_cast<uint64_t>(k);
      d = m & LOW;
    }
    vul low, high;
    zip(a | b << 32, c | d << 32, low, high, LanesOf<vul>{});
    std::memcpy(words, &low, BYTES);
    std::memcpy(words + 2 * L, &high, BYTES);
  }
}

}  // namespace minidl::MINIDL_ISA
