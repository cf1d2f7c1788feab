// A recurrent layer over a whole sequence in one launch: blocks stay, and wait for each other between steps.
//
// A block owns some hidden units, for all sequences or for some: it multiplies what all blocks found in the step before
// by its own part of the recurrent weights, which stays in shared memory from step to step where it fits (else it is
// read again, from the second level of caches). All blocks must be resident: the launch is cooperative. Of a product's
// 16 rows per warp there may be fewer than warps: then these share the depth, and add up in a fixed order.
//
// Source: Diamos et al. 2016, "Persistent RNNs: Stashing Recurrent Weights On-Chip"; grid-wide barriers: Xiao, Feng
// 2010, "Inter-Block GPU Communication via Fast Barrier Synchronization".
#pragma once
#include "mma.cuh"

namespace minidl {

constexpr int SEQUENCES = 64, THREADS = 256, WARPS = THREADS / 32;  // of a block
constexpr int STAGES = 2, RESIDENT = 64 * 1024;                     // bytes of weights that stay

__device__ inline int padded(int count) { return (count + 7) / 8 * 8; }

// What all kernels are told of the sequences.
struct Sequences {
  const i64* lengths;  // or null: all have all steps
  u32* arrived;        // 0 at first: blocks at barriers
  int steps, reverse, rows, hidden;

  __device__ bool alive(int step, int row) const { return lengths == nullptr || step < lengths[row]; }
  __device__ int before(int step) const { return reverse ? step + 1 : step; }
  __device__ int after(int step) const { return reverse ? step : step + 1; }

  // Until all blocks have come to their barrier number `number`, counted from 1; what they wrote is there.
  __device__ void meet(int number) const {
    __syncthreads();
    if (threadIdx.x == 0) {
      const u32 all = gridDim.x * gridDim.y * static_cast<u32>(number);
      u32 seen;
      asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(arrived) : "memory");
      do asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(arrived) : "memory");
      while (seen < all);
    }
    __syncthreads();
  }
};

// The product of up to SEQUENCES rows and COLUMNS columns of weights, of which the last eighths are needed up to USED.
template <class T, int COLUMNS, int USED = COLUMNS / 8>
struct StepProduct {
  static constexpr int SLAB = 256 / static_cast<int>(sizeof(T));  // of the depth
  static constexpr int EACH = USED * 4;                           // sums of a thread
  using Rows = Tile<T, SEQUENCES, SLAB>;
  using Weights = Tile<T, COLUMNS, SLAB>;
  static constexpr int SLOTS = RESIDENT / Weights::BYTES;  // for slabs that stay

  u32 shared;
  int tiles;  // of 16 rows: 1, 2 or 4
  float sums[USED][4];

  __device__ Rows ring(int stage) const { return {shared + stage % STAGES * Rows::BYTES}; }
  __device__ Weights weights(int slot) const { return {shared + STAGES * Rows::BYTES + slot * Weights::BYTES}; }
  __device__ int tile() const { return static_cast<int>(threadIdx.x) / 32 % tiles; }
  __device__ int part() const { return static_cast<int>(threadIdx.x) / 32 / tiles; }
  static __device__ int slabs(int depth) { return ceil_div(depth, SLAB); }

  __device__ void begin(int count) {
    tiles = count > 32 ? 4 : count > 16 ? 2 : 1;
    for (int i = 0; i < EACH; i++) sums[i / 4][i % 4] = 0;
  }

  // Rows of `depth` elements x the weights that stay from slot `kept` on; or, if that is negative, those that
  // fill(tile, first) puts into a tile. The warps of part 0 get the sums.
  template <class Fill>
  __device__ void run(const T* rows, int count, int depth, int kept, Fill fill) {
    const auto fetch = [&](int s) {
      ring(s).template fill<THREADS>(rows + s * SLAB, depth, count, depth - s * SLAB);
      if (kept < 0) fill(weights(s % STAGES), s * SLAB);
      commit_copies();
    };
    fetch(0);
    for (int s = 0; s < slabs(depth); s++) {
      wait_copies<0>();
      __syncthreads();
      if (s + 1 < slabs(depth)) fetch(s + 1);
      add(ring(s), weights(kept < 0 ? s % STAGES : kept + s));
    }
    gather();
  }

  __device__ void add(const Rows& rows, const Weights& weights) {
    for (int k = part() * STEP<T>; k < SLAB; k += WARPS / tiles * STEP<T>) {
      const Left<T> left = left_along<T>(rows, tile() * 16, k);
#pragma unroll
      for (int n = 0; n < USED; n += 2) {
        Right<T> right[2];
        right_along<T>(right, weights, 8 * n, k);
        multiply(sums[n], left, right[0]);
        if (n + 1 < USED) multiply(sums[n + 1], left, right[1]);
      }
    }
  }

  // The sums of the other parts, by way of the ring, to part 0; always in the same order.
  __device__ void gather() {
    const u32 own = shared + (threadIdx.x / 32 * EACH * 32 + threadIdx.x % 32) * 4;
    __syncthreads();
    if (part() > 0)
#pragma unroll
      for (int i = 0; i < EACH; i++)
        asm volatile("st.shared.f32 [%0], %1;" ::"r"(own + i * 128), "f"(sums[i / 4][i % 4]) : "memory");
    __syncthreads();
    if (part() == 0)
      for (int p = 1; p < WARPS / tiles; p++)
#pragma unroll
        for (int i = 0; i < EACH; i++)
          sums[i / 4][i % 4] += __uint_as_float(load_word(own + (p * tiles * EACH + i) * 128));
    __syncthreads();
  }
};

// Every step of a layer. A Cell says, of the step that comes as number `number`:
//   UNITS, COLUMNS, USED      how many hidden units a block has, and columns its product
//   step(number)              which step of the sequences it is
//   rows(number), depth()     what is multiplied: so many elements of each sequence; null: nothing
//   fill(tile, unit, first)   the weights of the units from `unit` on, from the depth `first` on
//   start(step, row, unit)    called before the product is there: loads; of 16 sequences
//   finish(sums, step, row, unit)    what becomes of it
template <class T, class Cell>
__device__ void run_sequences(const Sequences& s, Cell& cell) {
  extern __shared__ __align__(128) u8 shared[];
  using Product = StepProduct<T, Cell::COLUMNS, Cell::USED>;
  Product product{shared_address(shared)};
  const int first = static_cast<int>(blockIdx.x), blocks = static_cast<int>(gridDim.x), depth = cell.depth();
  const int own = ceil_div(ceil_div(s.hidden, Cell::UNITS) - first, blocks), slabs = Product::slabs(depth);
  const bool stay = own * slabs <= Product::SLOTS;
  for (int i = 0; stay && i < own * slabs; i++)
    cell.fill(product.weights(i), (first + i / slabs * blocks) * Cell::UNITS, i % slabs * Product::SLAB);
  commit_copies();
  wait_copies<0>();
  for (int number = 0; number < s.steps; number++) {
    const T* rows = cell.rows(number);
    for (int i = 0; i < own; i++) {
      const int unit = (first + i * blocks) * Cell::UNITS;
      for (int row = static_cast<int>(blockIdx.y) * SEQUENCES; row < s.rows; row += gridDim.y * SEQUENCES) {
        product.begin(s.rows - row);
        const int mine = row + product.tile() * 16;
        if (product.part() == 0) cell.start(cell.step(number), mine, unit);
        __syncwarp();
        if (rows != nullptr)
          product.run(rows + static_cast<i64>(row) * depth, s.rows - row, depth, stay ? i * slabs : -1,
                      [&](const typename Product::Weights& tile, int k) { cell.fill(tile, unit, k); });
        if (product.part() == 0) cell.finish(product.sums, cell.step(number), mine, unit);
        __syncwarp();
      }
    }
    if (number + 1 < s.steps) s.meet(number + 1);
  }
}

}  // namespace minidl
