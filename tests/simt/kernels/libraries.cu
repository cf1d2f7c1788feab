// Libraries that come with CUDA: cuda::barrier, cuda::pipeline, cuda::atomic_ref, CUB; for tests/simt/test_features.py.
#include <cooperative_groups.h>
#include <cub/cub.cuh>
#include <cuda/atomic>
#include <cuda/barrier>
#include <cuda/pipeline>
namespace cg = cooperative_groups;
#define KERNEL extern "C" __global__ void
KERNEL pipelines(const int4* x, int4* y, int n) {
  __shared__ int4 stage[2][64];
  auto block = cg::this_thread_block();
  auto pipe = cuda::make_pipeline();
  for (int k = 0; k < 2 && k < n; k++) {
    pipe.producer_acquire();
    cuda::memcpy_async(&stage[k][threadIdx.x], &x[k * 64 + threadIdx.x], cuda::aligned_size_t<16>(16), pipe);
    pipe.producer_commit();
  }
  for (int k = 0; k < n; k++) {
    cuda::pipeline_consumer_wait_prior<1>(pipe);
    block.sync();
    int4 v = stage[k & 1][63 - threadIdx.x];
    y[k * 64 + threadIdx.x] = make_int4(v.x + 1, v.y, v.z, v.w);
    block.sync();
    pipe.consumer_release();
    if (k + 2 < n) {
      pipe.producer_acquire();
      cuda::memcpy_async(&stage[k & 1][threadIdx.x], &x[(k + 2) * 64 + threadIdx.x], cuda::aligned_size_t<16>(16),
                         pipe);
    }
    pipe.producer_commit();
  }
}
KERNEL barriers(const float* x, float* y) {
  __shared__ cuda::barrier<cuda::thread_scope_block> bar;
  __shared__ __align__(16) float s[128];
  auto block = cg::this_thread_block();
  if (threadIdx.x == 0) init(&bar, blockDim.x);
  block.sync();
  cuda::memcpy_async(block, s, x, cuda::aligned_size_t<16>(512), bar);
  bar.arrive_and_wait();
  y[threadIdx.x] = s[127 - threadIdx.x];
  auto token = bar.arrive();
  bar.wait(std::move(token));
}
KERNEL atomics(int* x, float* f) {
  cuda::atomic_ref<int, cuda::thread_scope_device> a(x[0]);
  a.fetch_add(1, cuda::memory_order_relaxed);
  a.fetch_max(50);
  int e = 0;
  cuda::atomic_ref<int, cuda::thread_scope_device> b(x[1]);
  while (!b.compare_exchange_weak(e, e + 2)) {
  }
  cuda::atomic_ref<float> c(f[0]);
  c.fetch_add(1.5f);
  cuda::std::atomic_thread_fence(cuda::std::memory_order_seq_cst);
  a.store(a.load(cuda::memory_order_acquire), cuda::memory_order_release);
}
KERNEL blocks(const int* x, int* y) {
  typedef cub::BlockReduce<int, 128> R;
  typedef cub::BlockScan<int, 128> S;
  typedef cub::BlockRadixSort<int, 128, 2> Q;
  typedef cub::WarpReduce<int> W;
  __shared__ union {
    R::TempStorage r;
    S::TempStorage s;
    Q::TempStorage q;
    W::TempStorage w[4];
  } m;
  int t = threadIdx.x;
  int v = R(m.r).Sum(x[t]);
  __syncthreads();
  if (!t) y[0] = v;
  int w;
  S(m.s).InclusiveSum(x[t], w);
  __syncthreads();
  y[1 + t] = w;
  int k[2] = {x[2 * t], x[2 * t + 1]};
  Q(m.q).Sort(k);
  __syncthreads();
  y[129 + 2 * t] = k[0];
  y[130 + 2 * t] = k[1];
  y[385 + t] = W(m.w[t / 32]).Reduce(x[t], cuda::maximum<>{});
}
