// Tiles in shared memory, and how they are filled and emptied, 16 bytes (a chunk) at a time.
//
// Copies go through cp.async where rows begin at multiples of 16 bytes, and through registers where they do not; what
// is behind a row's end is filled with zeros either way. Chunks lie swizzled: the eight rows that ldmatrix reads
// together are in different banks.
//
// Source: PTX ISA, "cp.async", "ldmatrix".
#pragma once
#include "numeric.cuh"

namespace minidl {

constexpr int CHUNK = 16;

template <class T>
constexpr int PER_CHUNK = CHUNK / static_cast<int>(sizeof(T));

__device__ inline u32 shared_address(const void* pointer) {
  return static_cast<u32>(__cvta_generic_to_shared(pointer));
}

__device__ inline bool is_aligned(const void* pointer) { return reinterpret_cast<u64>(pointer) % CHUNK == 0; }

// The first `count` elements of a chunk from global memory, where it is aligned, and zeros behind them.
template <class T>
__device__ inline void copy_chunk(u32 to, const T* from, int count) {
  const int bytes = left_of(count, 0, PER_CHUNK<T>) * static_cast<int>(sizeof(T));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

// One word, or 0 where `bytes` is 0 and not 4.
__device__ inline void copy_word(u32 to, const float* from, int bytes) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

// A chunk, wherever it is: it is there when the next barrier is passed.
template <class T>
__device__ inline void load_chunk(u32 to, const T* from, int count) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(to), "r"(0) : "memory");
#pragma unroll 1
  for (int i = 0; i < at_most(count, PER_CHUNK<T>); i++, to += sizeof(T)) {
    if constexpr (sizeof(T) == 4)
      asm volatile("st.shared.f32 [%0], %1;" ::"r"(to), "f"(to_float(from[i])) : "memory");
    else
      asm volatile("st.shared.b16 [%0], %1;" ::"r"(to), "h"(from[i].bits) : "memory");
  }
}

__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Until all but the last PENDING groups that this thread committed are there.
template <int PENDING>
__device__ inline void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// Four floats of a chunk in shared memory.
__device__ inline void load_floats(float* x, u32 from) {
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(x[0]), "=f"(x[1]), "=f"(x[2]), "=f"(x[3])
               : "r"(from)
               : "memory");
}

// Eight neighbours to global memory, where it is aligned.
__device__ inline void store_floats(float* to, const float (&x)[8]) {
  reinterpret_cast<float4*>(to)[0] = {x[0], x[1], x[2], x[3]};
  reinterpret_cast<float4*>(to)[1] = {x[4], x[5], x[6], x[7]};
}
__device__ inline void store_floats(tf32* to, const float (&x)[8]) { store_floats(reinterpret_cast<float*>(to), x); }
template <class T>
__device__ void store_floats(T* to, const float (&x)[8]) {
  *reinterpret_cast<uint4*>(to) = {packed<T>(x[0], x[1]), packed<T>(x[2], x[3]), packed<T>(x[4], x[5]),
                                   packed<T>(x[6], x[7])};
}

// ROWS rows of COLUMNS elements in shared memory, from `base` on.
template <class T, int ROWS, int COLUMNS>
struct Tile {
  static constexpr int CHUNKS = COLUMNS / PER_CHUNK<T>, BYTES = ROWS * COLUMNS * static_cast<int>(sizeof(T));
  static_assert(CHUNKS >= 2 && (CHUNKS & (CHUNKS - 1)) == 0);

  u32 base;

  // Where a chunk of a row lies: number `column` ^ `more`, of which compilers know the one, and lanes the other.
  __device__ u32 chunk(int row, int column, int more = 0) const {
    constexpr int LOW = CHUNKS >= 8 ? 7 : CHUNKS - 1, SPREAD = 8 / (LOW + 1);  // rows in 128 bytes: all banks
    const int turned = (column & ~LOW) + ((column & LOW) ^ ((more ^ row / SPREAD) & LOW));
    return base + static_cast<u32>((row * CHUNKS + turned) * CHUNK);
  }
  // Likewise where an element lies: `column` begins a chunk, or two.
  __device__ u32 element(int row, int column, int more) const {
    return chunk(row, column / PER_CHUNK<T>, more / PER_CHUNK<T>) +
           static_cast<u32>(more % PER_CHUNK<T> * static_cast<int>(sizeof(T)));
  }

  // Let THREADS threads copy `rows` rows of `columns` elements, `stride` elements apart, and zeros around them.
  template <int THREADS>
  __device__ void fill(const T* from, i64 stride, int rows, int columns) const {
    static_assert(ROWS * CHUNKS % THREADS == 0 && THREADS % CHUNKS == 0);
    const int thread = forgotten(static_cast<int>(threadIdx.x)), column = thread % CHUNKS, first = thread / CHUNKS;
    columns -= column * PER_CHUNK<T>;
    from += first * stride + column * PER_CHUNK<T>;
    const i64 step = forgotten(THREADS / CHUNKS * stride);
    if (is_aligned(from) && stride % PER_CHUNK<T> == 0) {
#pragma unroll
      for (int row = first; row < first + ROWS; row += THREADS / CHUNKS, from += step)
        copy_chunk(chunk(row, column), from, row < rows ? columns : 0);
    } else {
#pragma unroll 1
      for (int row = first; row < first + ROWS; row += THREADS / CHUNKS, from += step)
        load_chunk(chunk(row, column), from, row < rows ? columns : 0);
      __syncwarp();
    }
  }

  // Likewise rows that lie anywhere: from(row) is where one begins; aligned: at a multiple of a chunk, all of them.
  template <int THREADS, class From>
  __device__ void gather(From from, bool aligned, int rows, int columns) const {
    static_assert(ROWS * CHUNKS % THREADS == 0 && THREADS % CHUNKS == 0);
    const int thread = static_cast<int>(threadIdx.x), column = thread % CHUNKS, first = thread / CHUNKS;
    columns -= column * PER_CHUNK<T>;
#pragma unroll 4
    for (int row = first; row < first + ROWS; row += THREADS / CHUNKS) {
      const T* chunk_from = from(row < rows ? row : 0) + column * PER_CHUNK<T>;
      if (aligned)
        copy_chunk(chunk(row, column), chunk_from, row < rows ? columns : 0);
      else
        load_chunk(chunk(row, column), chunk_from, row < rows ? columns : 0);
    }
    __syncwarp();
  }

  // Let a warp store COUNT rows from `first` on to global memory, as far as there are `rows` and `columns`.
  template <int COUNT>
  __device__ void store(T* to, i64 stride, int first, int rows, int columns) const {
    for (int at = static_cast<int>(threadIdx.x) % 32; at < COUNT * CHUNKS; at += 32) {
      const int row = first + at / CHUNKS, column = at % CHUNKS * PER_CHUNK<T>;
      const int count = row < rows ? columns - column : 0;
      store_chunk(to + row * stride + column, chunk(row, at % CHUNKS), count);
    }
  }

  static __device__ void store_chunk(T* to, u32 from, int count) {
    if (count >= PER_CHUNK<T> && is_aligned(to)) {
      uint4 x;
      asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                   : "r"(from)
                   : "memory");
      *reinterpret_cast<uint4*>(to) = x;
      return;
    }
#pragma unroll 1
    for (int i = 0; i < at_most(count, PER_CHUNK<T>); i++, from += sizeof(T)) {
      if constexpr (sizeof(T) == 4)
        asm volatile("ld.shared.f32 %0, [%1];" : "=f"(reinterpret_cast<float&>(to[i])) : "r"(from) : "memory");
      else
        asm volatile("ld.shared.b16 %0, [%1];" : "=h"(to[i].bits) : "r"(from) : "memory");
    }
  }

  // Two neighbours in a row, from registers.
  __device__ void put_pair(int row, int column, int more, float low, float high) const {
    if constexpr (sizeof(T) == 4)
      asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(element(row, column, more)), "f"(low), "f"(high)
                   : "memory");
    else
      asm volatile("st.shared.b32 [%0], %1;" ::"r"(element(row, column, more)), "r"(packed<T>(low, high)) : "memory");
  }
};

}  // namespace minidl
