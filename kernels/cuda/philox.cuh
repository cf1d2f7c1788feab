// Random words that depend on a key and a counter alone: the same bits as minidl/backend/random.py.
//
// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", SC11, section 3.3: Philox4x32-10.
#pragma once
#include "numeric.cuh"

namespace minidl {

struct Philox {
  u64 seed, stream;

  __device__ uint4 words(u64 counter) const {
    u32 a = static_cast<u32>(counter), b = static_cast<u32>(counter >> 32);
    u32 c = static_cast<u32>(stream), d = static_cast<u32>(stream >> 32);
    u32 j = static_cast<u32>(seed), k = static_cast<u32>(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++, j += 0x9e3779b9u, k += 0xbb67ae85u) {
      const u64 m = static_cast<u64>(a) * 0xd2511f53u, w = static_cast<u64>(c) * 0xcd9e8d57u;
      a = static_cast<u32>(w >> 32) ^ b ^ j;
      b = static_cast<u32>(w);
      c = static_cast<u32>(m >> 32) ^ d ^ k;
      d = static_cast<u32>(m);
    }
    return {a, b, c, d};
  }

  // The word of number i of a draw, from those of the counter i / 4.
  static __device__ u32 select(const uint4& x, u64 i) { return i & 2 ? (i & 1 ? x.w : x.z) : (i & 1 ? x.y : x.x); }
};

}  // namespace minidl
