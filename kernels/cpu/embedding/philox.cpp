// Philox4x32-10, some counters per vector: the same words as minidl/backend/random.py's, made where they are used.
//
// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", SC11, section 3.3.
#include "kernels/cpu/embedding/philox.h"

#include "kernels/cpu/rows.h"

namespace minidl::MINIDL_ISA {
namespace {

using vul = vec<uint64_t>;
using vu = vec<uint32_t>;
constexpr int COUNTERS = LANES<uint64_t>;  // per vector; their words fill two
constexpr int TOGETHER = 4;                // vectors of counters: multiplications do not wait for each other
constexpr int WORDS = 8 * W;               // of them all

// Words of the counters from `first` on, in order: a word sits in the lower half of a lane, upper halves hold anything
// (multiplications do not look at them).
MINIDL_INLINE void philox(const RandomKey& key, uint64_t first, vu (&words)[2 * TOGETHER]) {
  vul a[TOGETHER], b[TOGETHER], c[TOGETHER], d[TOGETHER];
  uint64_t j = key.seed & 0xffffffff, k = key.seed >> 32;
  MINIDL_UNROLL
  for (int v = 0; v < TOGETHER; v++) {
    for (int l = 0; l < COUNTERS; l++) a[v][l] = static_cast<uint64_t>(v * COUNTERS + l);
    a[v] += first;
    b[v] = a[v] >> 32;
    c[v] = key.stream - vul{};
    d[v] = (key.stream >> 32) - vul{};
  }
  for (int round = 0; round < 10; round++) {
    MINIDL_UNROLL
    for (int v = 0; v < TOGETHER; v++) {
      vul p = times_low_half(a[v], 0xD2511F53 - vul{}), q = times_low_half(c[v], 0xCD9E8D57 - vul{});
      a[v] = (q >> 32) ^ b[v] ^ j;
      c[v] = (p >> 32) ^ d[v] ^ k;
      b[v] = q;
      d[v] = p;
    }
    j = (j + 0x9E3779B9) & 0xffffffff;
    k = (k + 0xBB67AE85) & 0xffffffff;
  }
  MINIDL_UNROLL
  for (int v = 0; v < TOGETHER; v++) {
    vul front = (a[v] & 0xffffffff) | b[v] << 32, back = (c[v] & 0xffffffff) | d[v] << 32, low, high;
    zip(front, back, low, high, LanesOf<vul>{});
    words[2 * v] = (vu)low;
    words[2 * v + 1] = (vu)high;
  }
}

// f(i, words) for all words of the counters from `first` on, `count` of them, i being the place of the first one.
template <class F>
MINIDL_INLINE void for_words(const RandomKey& key, uint64_t first, int64_t count, const F& f) {
  parallel_chunks(ceil_div(count, WORDS), GRAIN / WORDS, [&](int64_t from, int64_t end) {
    for (int64_t block = from; block < end; block++) {
      vu words[2 * TOGETHER];
      philox(key, first + static_cast<uint64_t>(block * (WORDS / 4)), words);
      f(block * WORDS, words);
    }
    stream_fence();
  });
}

// Lanes all 1 where the word's upper 31 bits are below the threshold.
MINIDL_INLINE vi below(vu word, int64_t threshold) { return (vi)(word >> 1) <= static_cast<int32_t>(threshold - 1); }

}  // namespace

void philox_words(const PhiloxWords& p) {
  const int64_t count = 4 * p.count;
  for_words(p.key, p.first, count, [&](int64_t at, const vu(&words)[2 * TOGETHER]) {
    float* out = reinterpret_cast<float*>(p.words);
    for (int v = 0; v < 2 * TOGETHER; v++) store_n(out + at + v * W, (vf)words[v], count - at - v * W);
  });
}

void dropout(const Dropout& p) {
  const bool streamed = p.count * 4 >= STREAMED && reinterpret_cast<uintptr_t>(p.y) % BYTES == 0;
  for_words(p.key, 0, p.count, [&](int64_t at, const vu(&words)[2 * TOGETHER]) {
    for (int v = 0; v < 2 * TOGETHER; v++) {
      const int64_t i = at + v * W, lanes = p.count - i;
      if (lanes <= 0) return;
      vf y = load_n(p.x + i, lanes) * (below(words[v], p.threshold) ? splatf(p.scale) : vf{});
      if (streamed && lanes >= W) {
        stream(p.y + i, y);
      } else {
        store_n(p.y + i, y, lanes);
      }
    }
  });
}

}  // namespace minidl::MINIDL_ISA
