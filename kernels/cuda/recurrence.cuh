// A recurrent layer over a whole sequence in one launch: blocks stay, and wait for each other between steps.
//
// A block owns some hidden units. Their part of the recurrent weights stays in its registers, laid out as tensor cores
// take it; at every step it multiplies the rows that all blocks have left in global memory by it. Warps share the depth
// of the product, in chunks of 64 bytes, and their sums are added up in a fixed order. Blocks may share the sequences,
// too: those with the same ones wait for each other, and all must be resident, so that the launch is cooperative. Who
// computes what does not depend on the number of blocks: neither do the bits.
//
// Of a chunk a thread reads 16 bytes in one piece, which serve two products: the order of the depth is a free choice,
// as long as both operands have the same one.
//
// Source: Diamos et al. 2016, "Persistent RNNs: Stashing Recurrent Weights On-Chip"; grid-wide barriers: Xiao, Feng
// 2010, "Inter-Block GPU Communication via Fast Barrier Synchronization".
#pragma once
#include "mma.cuh"

namespace minidl {

constexpr int WARPS = 8, THREADS = 32 * WARPS, ROWS = 16;  // of a block; sequences at a time
constexpr int BATCH = 4;                                   // chunks that are on their way at once

// A unit of a sequence at a step.
struct Place {
  i64 here, before, after;  // numbers of rows: of the step's, and of the states' before and behind it
  int row, unit;
  bool alive;  // does the sequence have the step?
};

// What all kernels are told of the sequences.
struct Sequences {
  const i64* lengths;  // or null: all have all steps
  u32* arrived;        // 0 at first: blocks at barriers, for each part of the sequences
  int steps, reverse, rows, hidden;

  // The number of a row in arrays that have N of them for each step or state.
  __device__ i64 number(int step, int row) const { return static_cast<i64>(step) * rows + row; }
  __device__ int before(int step) const { return reverse ? step + 1 : step; }
  __device__ int after(int step) const { return reverse ? step : step + 1; }
  __device__ Place place(int step, int row, int unit) const {
    const bool alive = lengths == nullptr || step < lengths[row];
    return {number(step, row), number(before(step), row), number(after(step), row), row, unit, alive};
  }

  // The sequences of a block.
  __device__ int each() const { return ceil_div(ceil_div(rows, ROWS), static_cast<int>(gridDim.y)) * ROWS; }
  __device__ int first() const { return static_cast<int>(blockIdx.y) * each(); }
  __device__ int end() const { return at_most(first() + each(), rows); }

  // Until all blocks with these sequences have come to their barrier number `number`, counted from 1: what they wrote
  // is there.
  __device__ void meet(int number) const {
    __syncthreads();
    if (threadIdx.x == 0) {
      u32* count = arrived + blockIdx.y;
      const u32 all = gridDim.x * static_cast<u32>(number);
      u32 seen;
      asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(count) : "memory");
      do asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(count) : "memory");
      while (seen < all);
    }
    __syncthreads();
  }
};

// Rows (ROWS, depth) x columns (TILES * 8, depth), of which a warp holds HELD chunks.
template <class T, int TILES, int HELD>
struct HeldProduct {
  static constexpr int COLUMNS = TILES * 8, LINE = (TILES | 1) * 8;  // floats of a row of sums: 4 rows, all banks
  static constexpr int BYTES = 2 * WARPS * ROWS * LINE * 4;

  uint4 held[HELD][TILES];
  float* sums;  // (2, WARPS, ROWS, LINE), in shared memory
  int turn = 0;

  static __device__ int warp() { return static_cast<int>(threadIdx.x) / 32; }
  // Where a warp's chunk begins.
  static __device__ int start(int chunk) { return (chunk * WARPS + warp()) * 4 * PER_CHUNK<T>; }
  static __device__ uint4 load(const T* row, int chunk, int depth) {
    const int k = start(chunk) + lane() % 4 * PER_CHUNK<T>;
    return row != nullptr && k < depth ? *reinterpret_cast<const uint4*>(row + k) : uint4{0, 0, 0, 0};
  }

  // Take the weights: `row(column)` is where those of a column are, or null.
  template <class Row>
  __device__ void hold(int depth, Row row) {
#pragma unroll
    for (int n = 0; n < TILES; n++) {
      const T* from = row(8 * n + lane_row());
#pragma unroll
      for (int i = 0; i < HELD; i++) held[i][n] = load(from, i, depth);
    }
  }

  static __device__ void step(float (&c)[TILES][4], const uint4 (&left)[2], const uint4 (&right)[TILES]) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      Left<T> a;
#pragma unroll
      for (int i = 0; i < 2; i++) {
        a.set(i, half ? left[i].z : left[i].x);
        a.set(i + 2, half ? left[i].w : left[i].y);
      }
#pragma unroll
      for (int n = 0; n < TILES; n++) {
        Right<T> b;
        b.set(0, forgotten(half ? right[n].z : right[n].x));  // (or float32's parts would be kept, too)
        b.set(1, forgotten(half ? right[n].w : right[n].y));
        multiply(c[n], a, b);
      }
    }
  }

  // The product of `count` rows of `depth` elements: this warp's part of it to shared memory; then all may read it.
  __device__ void run(const T* rows, int count, int depth) {
    float c[TILES][4] = {};
    const T* from[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const int row = lane_row() + 8 * i;
      from[i] = row < count ? rows + static_cast<i64>(row) * depth : nullptr;
    }
#pragma unroll
    for (int first = 0; first < HELD; first += BATCH) {
      if (start(first) >= depth) break;
      uint4 left[BATCH][2];
#pragma unroll
      for (int i = 0; i < 2 * BATCH; i++) left[i / 2][i % 2] = load(from[i % 2], first + i / 2, depth);
#pragma unroll
      for (int i = 0; i < BATCH; i++) step(c, left[i], held[first + i]);
    }
    turn ^= 1;
    float* to = part(warp()) + lane_row() * LINE + lane_column();
#pragma unroll
    for (int n = 0; n < TILES; n++) {
      *reinterpret_cast<float2*>(to + 8 * n) = {c[n][0], c[n][1]};
      *reinterpret_cast<float2*>(to + 8 * LINE + 8 * n) = {c[n][2], c[n][3]};
    }
    __syncthreads();
  }

  // Of the last product; another one may be under way.
  __device__ float* part(int warp) const { return sums + (turn * WARPS + warp) * ROWS * LINE; }
  __device__ float sum(int row, int column) const {
    float all = 0;
#pragma unroll
    for (int w = 0; w < WARPS; w++) all += part(w)[row * LINE + column];
    return all;
  }
};

// Every step of a layer; a thread has at most one sequence (of ROWS) and one of the block's UNITS at a time. A Cell
// says:
//   PRODUCTS                  how many columns of the product each unit has; column = number * UNITS + unit
//   HELD                      chunks of the depth, for each warp
//   column(number, unit)      the weights of a column
//   begin(unit)               called once: loads
//   step(number)              which step of the sequences comes as number `number`
//   rows(number), depth()     what is multiplied: so many elements of each sequence; null: nothing
//   start(place)              called before the product is there: loads
//   finish(place, sums)       what becomes of it
template <class T, int UNITS, class Cell>
__device__ void run_sequences(const Sequences& s, Cell& cell) {
  extern __shared__ float shared[];
  constexpr int PRODUCTS = Cell::PRODUCTS;
  HeldProduct<T, PRODUCTS * UNITS / 8, Cell::HELD> product;
  product.sums = shared;
  const int depth = cell.depth(), first_unit = static_cast<int>(blockIdx.x) * UNITS;
  product.hold(depth, [&](int column) {
    const int unit = first_unit + column % UNITS;
    return unit < s.hidden ? cell.column(column / UNITS, unit) : nullptr;
  });
  const int own_row = static_cast<int>(threadIdx.x) / UNITS, own_unit = static_cast<int>(threadIdx.x) % UNITS;
  const int unit = first_unit + own_unit;
  if (unit < s.hidden) cell.begin(unit);
  for (int number = 0; number < s.steps; number++) {
    const T* rows = cell.rows(number);
    for (int row = s.first(); row < s.end(); row += ROWS) {
      const bool mine = own_row < at_most(s.end() - row, ROWS) && unit < s.hidden;
      Place place;
      if (mine) {
        place = s.place(cell.step(number), row + own_row, unit);
        cell.start(place);
      }
      __syncwarp();
      float sums[PRODUCTS] = {};
      if (rows != nullptr) product.run(rows + static_cast<i64>(row) * depth, s.end() - row, depth);
      if (mine) {
        if (rows != nullptr)
#pragma unroll
          for (int i = 0; i < PRODUCTS; i++) sums[i] = product.sum(own_row, i * UNITS + own_unit);
        cell.finish(place, sums);
      }
      __syncwarp();
    }
    if (number + 1 < s.steps) s.meet(number + 1);
  }
}

}  // namespace minidl
