// Programs that people write: reductions, scans, histograms, sorts, stencils, products, across lanes, warps, blocks,
// the grid.
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cooperative_groups/scan.h>
namespace cg = cooperative_groups;
#define KERNEL extern "C" __global__ void

__device__ float warp_sum(float v) {
  for (int d = 16; d; d >>= 1) v += __shfl_down_sync(~0u, v, d);
  return v;
}
KERNEL reduce(const float* x, float* y, int n) {  // grid-stride, warps by shuffles, blocks by an atomic
  __shared__ float partial[32];
  float sum = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += x[i];
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x < 32) {
    sum = warp_sum(threadIdx.x < blockDim.x / 32 ? partial[threadIdx.x] : 0);
    if (threadIdx.x == 0) atomicAdd(y, sum);
  }
}
KERNEL scan(const int* x, int* y, int n) {  // up and down a tree in shared memory (Blelloch)
  extern __shared__ int s[];
  int t = threadIdx.x, step = 1;
  s[2 * t] = 2 * t < n ? x[2 * t] : 0;
  s[2 * t + 1] = 2 * t + 1 < n ? x[2 * t + 1] : 0;
  int m = 2 * blockDim.x;
  for (int d = m >> 1; d; d >>= 1, step <<= 1) {
    __syncthreads();
    if (t < d) s[step * (2 * t + 2) - 1] += s[step * (2 * t + 1) - 1];
  }
  if (t == 0) s[m - 1] = 0;
  for (int d = 1; d < m; d <<= 1) {
    step >>= 1;
    __syncthreads();
    if (t < d) {
      int a = step * (2 * t + 1) - 1, b = step * (2 * t + 2) - 1, held = s[a];
      s[a] = s[b];
      s[b] += held;
    }
  }
  __syncthreads();
  if (2 * t < n) y[2 * t] = s[2 * t];
  if (2 * t + 1 < n) y[2 * t + 1] = s[2 * t + 1];
}
// A scan of the whole grid in one pass: each block waits for what the blocks before it publish.
KERNEL scan_grid(const int* x, int* y, int n, int* ticket, volatile int* state, volatile int* sums,
                 volatile int* totals) {
  __shared__ int block, before, warps[32];
  int t = threadIdx.x;
  if (t == 0) block = atomicAdd(ticket, 1);
  __syncthreads();
  int i = block * blockDim.x + t, v = i < n ? x[i] : 0, inclusive = v;
  for (int d = 1; d < 32; d <<= 1) {
    int other = __shfl_up_sync(~0u, inclusive, d);
    if (t % 32 >= d) inclusive += other;
  }
  if (t % 32 == 31) warps[t / 32] = inclusive;
  __syncthreads();
  int sum = 0;
  for (int w = 0; w < t / 32; w++) sum += warps[w];
  inclusive += sum;
  if (t == blockDim.x - 1) {
    sums[block] = inclusive;
    __threadfence();
    state[block] = 1;
    int left = 0;
    for (int b = block - 1; b >= 0; b--) {
      int seen;
      while ((seen = state[b]) == 0) {
      }
      __threadfence();
      if (seen == 2) {
        left += totals[b];
        break;
      }
      left += sums[b];
    }
    totals[block] = left + inclusive;
    __threadfence();
    state[block] = 2;
    before = left;
  }
  __syncthreads();
  if (i < n) y[i] = before + inclusive;
}
KERNEL histogram(const unsigned char* x, int* bins, int n) {
  __shared__ int mine[256];
  for (int i = threadIdx.x; i < 256; i += blockDim.x) mine[i] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&mine[x[i]], 1);
  __syncthreads();
  for (int i = threadIdx.x; i < 256; i += blockDim.x)
    if (mine[i]) atomicAdd(&bins[i], mine[i]);
}
KERNEL bitonic_sort(float* x) {
  __shared__ float s[256];
  int t = threadIdx.x;
  s[t] = x[t];
  __syncthreads();
  for (int k = 2; k <= 256; k <<= 1)
    for (int j = k >> 1; j; j >>= 1) {
      int o = t ^ j;
      if (o > t && (s[t] > s[o]) == !(t & k)) {
        float held = s[t];
        s[t] = s[o];
        s[o] = held;
      }
      __syncthreads();
    }
  x[t] = s[t];
}
KERNEL radix_sort(unsigned* x, int n) {  // one block, a bit at a time, places by ballots
  __shared__ unsigned s[2][256];
  __shared__ int zeros[9], ones[9];
  int t = threadIdx.x, lane = t % 32, warp = t / 32, warps = blockDim.x / 32;
  s[0][t] = t < n ? x[t] : ~0u;
  for (int bit = 0; bit < 32; bit++) {
    __syncthreads();
    unsigned v = s[bit & 1][t], is_one = v >> bit & 1, ballot = __ballot_sync(~0u, is_one);
    if (lane == 0) ones[warp] = __popc(ballot), zeros[warp] = 32 - __popc(ballot);
    __syncthreads();
    int all_zeros = 0, zeros_before = 0, ones_before = 0;
    for (int w = 0; w < warps; w++) {
      all_zeros += zeros[w];
      if (w < warp) zeros_before += zeros[w], ones_before += ones[w];
    }
    unsigned lower = (1u << lane) - 1;
    int place = is_one ? all_zeros + ones_before + __popc(ballot & lower) : zeros_before + __popc(~ballot & lower);
    s[~bit & 1][place] = v;
  }
  __syncthreads();
  if (t < n) x[t] = s[0][t];
}
KERNEL stencil(const float* x, float* y, int w, int h) {  // a tile with a halo
  __shared__ float s[18][18];
  int i = blockIdx.x * 16 + threadIdx.x, j = blockIdx.y * 16 + threadIdx.y;
  for (int b = threadIdx.y; b < 18; b += 16)
    for (int a = threadIdx.x; a < 18; a += 16) {
      int p = min(max((int)blockIdx.x * 16 + a - 1, 0), w - 1), q = min(max((int)blockIdx.y * 16 + b - 1, 0), h - 1);
      s[b][a] = x[q * w + p];
    }
  __syncthreads();
  if (i < w && j < h) {
    int a = threadIdx.x + 1, b = threadIdx.y + 1;
    y[j * w + i] = 0.5f * s[b][a] + 0.125f * (s[b - 1][a] + s[b + 1][a] + s[b][a - 1] + s[b][a + 1]);
  }
}
KERNEL matmul(const float* a, const float* b, float* c, int m, int n, int k) {  // 4x4 per thread from tiles of 32x32
  __shared__ float as[16][33], bs[16][33];
  int tx = threadIdx.x, ty = threadIdx.y, t = ty * 8 + tx;
  float sum[4][4] = {};
  for (int k0 = 0; k0 < k; k0 += 16) {
    for (int e = t; e < 512; e += 64) {
      int r = e / 16, q = e % 16, row = blockIdx.y * 32 + r, col = blockIdx.x * 32 + e % 32, depth = k0 + e / 32;
      as[q][r] = row < m && k0 + q < k ? a[row * k + k0 + q] : 0;
      bs[e / 32][e % 32] = depth < k && col < n ? b[depth * n + col] : 0;
    }
    __syncthreads();
#pragma unroll
    for (int q = 0; q < 16; q++)
      for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) sum[i][j] += as[q][ty + 8 * i] * bs[q][tx + 8 * j];
    __syncthreads();
  }
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) {
      int row = blockIdx.y * 32 + ty + 8 * i, col = blockIdx.x * 32 + tx + 8 * j;
      if (row < m && col < n) c[row * n + col] = sum[i][j];
    }
}
KERNEL mandelbrot(int* y, int w, int most) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  double cx = (i % w) * 3.0 / w - 2.25, cy = (i / w) * 2.0 / w - 1.0, a = 0, b = 0;
  int k = 0;
  for (; k < most && a * a + b * b < 4; k++) {
    double next = a * a - b * b + cx;
    b = 2 * a * b + cy;
    a = next;
  }
  y[i] = k;
}
KERNEL tiles(const int* x, int* y) {  // cooperative groups of all sizes
  auto block = cg::this_thread_block();
  auto warp = cg::tiled_partition<32>(block);
  auto eight = cg::tiled_partition<8>(block);
  int t = block.thread_rank(), v = x[t];
  y[t] = cg::reduce(eight, v, cg::plus<int>()) + cg::inclusive_scan(eight, v) * 1000;
  y += block.size();
  y[t] = cg::reduce(warp, v, cg::greater<int>()) + warp.shfl_xor(v, 5) * 1000;
  y += block.size();
  y[t] = 0;
  if (t % 3 == 0) {
    auto some = cg::coalesced_threads();
    y[t] = some.thread_rank() + some.size() * 100 + some.shfl(v, 0) * 10000;
  }
  y += block.size();
  auto same = cg::labeled_partition(cg::coalesced_threads(), v % 4);
  y[t] = cg::reduce(same, v, cg::plus<int>()) + same.size() * 100000;
}
KERNEL grid_steps(float* a, float* b, int n, int steps) {  // neighbours average, in step across the grid
  auto grid = cg::this_grid();
  int i = grid.thread_rank();
  for (int s = 0; s < steps; s++) {
    float* from = s % 2 ? b : a;
    float* to = s % 2 ? a : b;
    if (i < n) to[i] = 0.5f * (from[(i + 1) % n] + from[(i + n - 1) % n]);
    grid.sync();
  }
}
KERNEL grid_steps_racy(float* a, float* b, int n, int steps) {
  auto grid = cg::this_grid();
  int i = grid.thread_rank();
  for (int s = 0; s < steps; s++) {
    if (i < n) b[i] = 0.5f * (a[(i + 1) % n] + a[(i + n - 1) % n]);
    grid.sync();
    if (i < n) a[i] = b[i];
  }
}
KERNEL own_barrier(int* x, int* y, unsigned* count,
                   int blocks) {  // a grid barrier made by hand, for cooperative launches
  x[blockIdx.x * blockDim.x + threadIdx.x] = blockIdx.x + threadIdx.x;
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    atomicAdd(count, 1u);
    while (atomicAdd(count, 0u) < blocks) {
    }
    __threadfence();
  }
  __syncthreads();
  y[blockIdx.x * blockDim.x + threadIdx.x] = x[(blocks - 1 - blockIdx.x) * blockDim.x + threadIdx.x];
}
