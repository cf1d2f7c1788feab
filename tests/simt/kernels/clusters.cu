// Blocks of clusters that use each other's shared memory, for tests/simt/test_clusters.py.
#include <cooperative_groups.h>
namespace cg = cooperative_groups;
#define KERNEL extern "C" __global__ void
#define PAIR __cluster_dims__(2, 1, 1)

__device__ unsigned shared(const void* p) { return (unsigned)__cvta_generic_to_shared(p); }

__device__ unsigned in_block(const void* p, unsigned rank) {  // where p is in another block's shared memory
  unsigned there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(shared(p)), "r"(rank));
  return there;
}

__device__ void expect(unsigned long long* barrier, int bytes) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared(barrier)));
  asm volatile("fence.mbarrier_init.release.cluster;");
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared(barrier)), "r"(bytes));
}

__device__ void wait(unsigned long long* barrier) {
  asm volatile(
      "{ .reg .pred p; W: mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%0], 0; @!p bra W; }" ::"r"(
          shared(barrier))
      : "memory");
}

KERNEL PAIR swap(const float* x, float* y) {
  __shared__ float s[64];
  auto cluster = cg::this_cluster();
  int t = threadIdx.x;
  s[t] = x[blockIdx.x * 64 + t];
  cluster.sync();
  float* other = cluster.map_shared_rank(s, cluster.block_rank() ^ 1);
  y[blockIdx.x * 64 + t] = other[63 - t] + 100 * cluster.num_blocks() + 10 * cluster.block_index().x;
  cluster.sync();
}

KERNEL PAIR swap_racy(const float* x, float* y) {
  __shared__ float s[64];
  auto cluster = cg::this_cluster();
  int t = threadIdx.x;
  s[t] = x[blockIdx.x * 64 + t];
  cluster.sync();
  y[blockIdx.x * 64 + t] = cluster.map_shared_rank(s, cluster.block_rank() ^ 1)[63 - t];  // RACE
  __syncthreads();  // waits for the own block alone
  s[t] = 0;         // RACE
  cluster.sync();
}

KERNEL PAIR swap_left(const float* x, float* y) {  // the other block may be gone
  __shared__ float s[64];
  auto cluster = cg::this_cluster();
  s[threadIdx.x] = 1;
  cluster.sync();
  if (cluster.block_rank()) {
#pragma unroll 1
    for (int k = 0; k < 100; k++) __nanosleep(100);
    y[threadIdx.x] = cluster.map_shared_rank(s, 0)[threadIdx.x];
  }
}

KERNEL __cluster_dims__(2, 2, 1) histogram(const int* x, int* bins, int n) {  // four blocks share 256 bins
  __shared__ int mine[64];
  auto cluster = cg::this_cluster();
  int t = threadIdx.x, blocks = gridDim.x * gridDim.y;
  mine[t] = 0;
  cluster.sync();
  for (int k = (blockIdx.y * gridDim.x + blockIdx.x) * 64 + t; k < n; k += blocks * 64)
    atomicAdd(cluster.map_shared_rank(mine, x[k] / 64) + x[k] % 64, 1);
  cluster.sync();
  atomicAdd(&bins[cluster.block_rank() * 64 + t], mine[t]);
}

KERNEL arrive_then_wait(const float* x, float* y) {  // clusters as the launch says
  __shared__ float s[32];
  auto cluster = cg::this_cluster();
  int t = threadIdx.x;
  s[t] = x[blockIdx.x * 32 + t];
  auto token = cluster.barrier_arrive();
  float sum = 0;
  cluster.barrier_wait(std::move(token));
  for (int r = 0; r < cluster.num_blocks(); r++) sum += cluster.map_shared_rank(s, r)[t];
  cluster.sync();
  y[blockIdx.x * 32 + t] = sum;
}

KERNEL PAIR remote_stores(const float* x, float* y) {  // st.async and a bulk copy to the other block
  __shared__ __align__(128) float s[64], copied[64], own[64];
  __shared__ unsigned long long barrier;
  auto cluster = cg::this_cluster();
  int t = threadIdx.x;
  unsigned other = cluster.block_rank() ^ 1;
  if (t == 0) expect(&barrier, 512);
  own[t] = x[blockIdx.x * 64 + t];
  asm volatile("fence.proxy.async.shared::cta;");
  cluster.sync();
  asm volatile(
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.f32 [%0], %1, [%2];" ::"r"(in_block(&s[t], other)),
      "f"(own[t] * 2), "r"(in_block(&barrier, other)));
  if (t == 0)
    asm volatile("cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%0], [%1], 256, [%2];" ::"r"(
                     in_block(copied, other)),
                 "r"(shared(own)), "r"(in_block(&barrier, other)));
  wait(&barrier);
  y[blockIdx.x * 64 + t] = s[t] + copied[63 - t];
  cluster.sync();
}

KERNEL PAIR multicast(const float* x, float* y) {  // each block brings half a tile to both
  __shared__ __align__(128) float s[128];
  __shared__ unsigned long long barrier;
  auto cluster = cg::this_cluster();
  int t = threadIdx.x, r = cluster.block_rank();
  if (t == 0) expect(&barrier, 512);
  cluster.sync();
  if (t == 0)
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1], 256, [%2], "
        "%3;" ::"r"(shared(s + 64 * r)),
        "l"(x + 64 * r), "r"(shared(&barrier)), "h"((unsigned short)3));
  wait(&barrier);
  y[blockIdx.x * 64 + t] = s[t] + s[64 + t];
  cluster.sync();
}

KERNEL reduce_bulk(const float* x, float* y) {
  __shared__ __align__(128) float s[64];
  s[threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x];
  asm volatile("fence.proxy.async.shared::cta;");
  __syncthreads();
  if (threadIdx.x == 0) {
    asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], 256;" ::"l"(y),
                 "r"(shared(s)));
    asm volatile("cp.async.bulk.commit_group;");
    asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
  }
}
