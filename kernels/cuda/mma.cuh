// Matrix products on tensor cores, a warp at a time: C (16, 8) += A (16, K) B (K, 8), where K is 32 bytes long.
//
// Half numbers: K = 16. tf32: K = 8; operands are rounded to it. float32: K = 8; each operand is cut into a large and a
// small part of tf32, and three products of those are added up, so that what is lost is about as small as float32's own
// roundings.
//
// Where a thread has its numbers (g = lane / 4, t = lane % 4): of C, rows g (0, 1) and g + 8 (2, 3), columns 2 t and
// 2 t + 1. Operands come from tiles in which K lies along the rows ("along"), or across them ("across"), or from C.
// What has 32 bits and does not lie along rows takes the K in an order of its own: 2 t where t is said, 2 t + 1 for t +
// 4; then neither C nor shared memory needs shuffles. Both operands of a product must be of one kind.
//
// Source: PTX ISA, "mma.m16n8k16", "mma.m16n8k8", "ldmatrix"; three products: Ootomo, Yokota 2022, "Recovering single
// precision accuracy from Tensor Cores while surpassing the FP32 theoretical peak performance", arXiv:2203.03341.
#pragma once
#include "copies.cuh"

namespace minidl {

template <class T>
constexpr int STEP = 32 / static_cast<int>(sizeof(T));  // K of a product

__device__ inline int lane() { return static_cast<int>(threadIdx.x) % 32; }
__device__ inline int lane_row() { return lane() / 4; }
__device__ inline int lane_column() { return lane() % 4 * 2; }

// Where C's element j is, in an accumulator, and in row n of them.
__device__ inline int row_of(int j) { return lane_row() + j / 2 * 8; }
__device__ inline int column_of(int n, int j) { return 8 * n + lane_column() + j % 2; }

__device__ inline void load_matrices(u32 (&x)[4], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(address)
               : "memory");
}

__device__ inline void load_matrices_turned(u32 (&x)[4], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(address)
               : "memory");
}

__device__ inline u32 load_word(u32 address) {
  u32 x;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(x) : "r"(address) : "memory");
  return x;
}

// One operand's registers: 4 of the left one's, 2 of the right one's.
template <class T, int WORDS>
struct Operand {
  u32 words[WORDS];

  __device__ void set(int i, u32 word) { words[i] = word; }
};

__device__ inline u32 to_tf32(float x) {
  u32 y;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
  return y;
}

template <int WORDS>
struct Operand<float, WORDS> {
  u32 large[WORDS], small[WORDS];

  __device__ void set(int i, u32 word) {
    large[i] = to_tf32(__uint_as_float(word));
    small[i] = to_tf32(__uint_as_float(word) - __uint_as_float(large[i]));
  }
};

template <int WORDS>
struct Operand<tf32, WORDS> {
  u32 words[WORDS];

  __device__ void set(int i, u32 word) { words[i] = to_tf32(__uint_as_float(word)); }
};

template <class T>
using Left = Operand<T, 4>;
template <class T>
using Right = Operand<T, 2>;

__device__ inline void multiply(float (&c)[4], const Left<float16>& a, const Right<float16>& b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a.words[0]), "r"(a.words[1]), "r"(a.words[2]), "r"(a.words[3]), "r"(b.words[0]), "r"(b.words[1]));
}

__device__ inline void multiply(float (&c)[4], const Left<bfloat16>& a, const Right<bfloat16>& b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a.words[0]), "r"(a.words[1]), "r"(a.words[2]), "r"(a.words[3]), "r"(b.words[0]), "r"(b.words[1]));
}

__device__ inline void multiply_tf32(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ inline void multiply(float (&c)[4], const Left<tf32>& a, const Right<tf32>& b) {
  multiply_tf32(c, a.words, b.words);
}

__device__ inline void multiply(float (&c)[4], const Left<float>& a, const Right<float>& b) {
  multiply_tf32(c, a.small, b.large);
  multiply_tf32(c, a.large, b.small);
  multiply_tf32(c, a.large, b.large);
}

// -- operands from tiles: those at (row, column) of the tile and behind it -------------------

// Left, rows x K.
template <class T, class Tile>
__device__ inline Left<T> left_along(const Tile& tile, int row, int column) {
  u32 x[4];
  load_matrices(x, tile.chunk(row + lane() % 16, column / PER_CHUNK<T>, lane() / 16));
  Left<T> a;
  for (int i = 0; i < 4; i++) a.set(i, x[i]);
  return a;
}

// Left, K x rows.
template <class T, class Tile>
__device__ inline Left<T> left_across(const Tile& tile, int row, int column) {
  Left<T> a;
  if constexpr (sizeof(T) == 4) {
    for (int i = 0; i < 4; i++)
      a.set(i, load_word(tile.element(row + lane_column() + i / 2, column + i % 2 * 8, lane_row())));
  } else {
    u32 x[4];
    load_matrices_turned(x, tile.chunk(row + lane() % 8 + lane() / 16 * 8, column / PER_CHUNK<T>, lane() / 8 % 2));
    for (int i = 0; i < 4; i++) a.set(i, x[i]);
  }
  return a;
}

// Two right ones, columns x K: of columns 0 to 7, and of 8 to 15.
template <class T, class Tile>
__device__ inline void right_along(Right<T> (&b)[2], const Tile& tile, int row, int column) {
  u32 x[4];
  load_matrices(x, tile.chunk(row + lane() % 8 + lane() / 16 * 8, column / PER_CHUNK<T>, lane() / 8 % 2));
  for (int i = 0; i < 4; i++) b[i / 2].set(i % 2, x[i]);
}

// Two right ones, K x columns.
template <class T, class Tile>
__device__ inline void right_across(Right<T> (&b)[2], const Tile& tile, int row, int column) {
  if constexpr (sizeof(T) == 4) {
    const int mine = forgotten(lane_row());
    for (int i = 0; i < 4; i++)
      b[i / 2].set(i % 2, load_word(tile.element(row + lane_column() + i % 2, column + i / 2 * 8, mine)));
  } else {
    u32 x[4];
    load_matrices_turned(x, tile.chunk(row + lane() % 16, column / PER_CHUNK<T>, lane() / 16));
    for (int i = 0; i < 4; i++) b[i / 2].set(i % 2, x[i]);
  }
}

// A left operand whose K is the columns of C: of two (float32: one) neighbouring accumulators. K as in `across`.
template <class T>
__device__ inline Left<T> left_from(const float (*c)[4]) {
  Left<T> a;
  for (int i = 0; i < 4; i++) {
    if constexpr (sizeof(T) == 4)
      a.set(i, __float_as_uint(c[0][i % 2 * 2 + i / 2]));
    else
      a.set(i, packed<T>(c[i / 2][i % 2 * 2], c[i / 2][i % 2 * 2 + 1]));
  }
  return a;
}

}  // namespace minidl
