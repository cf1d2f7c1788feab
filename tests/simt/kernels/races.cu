// Kernels with one planted race each, and their clean twins. In a racy kernel the later access stands in the line
// marked RACE.
#define KERNEL extern "C" __global__ void

// -- shared memory --------------------------------------------------------------------------------------------------
KERNEL row_sum(const float* x, float* y, int n) {
  __shared__ float s[128];
  int t = threadIdx.x;
  float a = 0;
  for (int i = t; i < n; i += 128) a += x[blockIdx.x * n + i];
  s[t] = a;
  __syncthreads();
  for (int h = 64; h; h >>= 1) {
    if (t < h) s[t] += s[t + h];
    __syncthreads();
  }
  if (t == 0) y[blockIdx.x] = s[0];
}
KERNEL row_sum_racy(const float* x, float* y, int n) {
  __shared__ float s[128];
  int t = threadIdx.x;
  float a = 0;
  for (int i = t; i < n; i += 128) a += x[blockIdx.x * n + i];
  s[t] = a;
  __syncthreads();
  for (int h = 64; h; h >>= 1) {
    if (t < h) s[t] += s[t + h];  // RACE: no barrier behind it
  }
  if (t == 0) y[blockIdx.x] = s[0];
}
KERNEL warp_sum(const float* x, float* y) {
  __shared__ float s[32];
  int t = threadIdx.x;
  s[t] = x[t];
  __syncwarp();
  for (int h = 16; h; h >>= 1) {
    float v = t < h ? s[t + h] : 0;
    __syncwarp();
    if (t < h) s[t] += v;
    __syncwarp();
  }
  if (t == 0) y[0] = s[0];
}
KERNEL warp_sum_racy(const float* x, float* y) {
  __shared__ float s[32];
  int t = threadIdx.x;
  s[t] = x[t];
  for (int h = 16; h; h >>= 1)
    if (t < h) s[t] += s[t + h];  // RACE: lanes of a warp do not run in lockstep
  if (t == 0) y[0] = s[0];
}
KERNEL half_warps(const float* x, float* y) {
  __shared__ float s[32];
  int t = threadIdx.x;
  unsigned mask = t < 16 ? 0xFFFFu : 0xFFFF0000u;
  s[t] = x[t];
  __syncwarp(mask);
  for (int h = 8; h; h >>= 1) {
    float v = (t & 15) < h ? s[t + h] : 0;
    __syncwarp(mask);
    if ((t & 15) < h) s[t] += v;
    __syncwarp(mask);
  }
  if ((t & 15) == 0) y[t / 16] = s[t];
}
KERNEL half_warps_racy(const float* x, float* y) {
  __shared__ float s[32];
  int t = threadIdx.x;
  unsigned mask = t < 16 ? 0xFFFFu : 0xFFFF0000u;
  s[t] = x[t];
  __syncwarp(mask);
  y[t] = s[31 - t];  // RACE: the other half was not waited for
}
KERNEL write_after_read(const float* x, float* y) {
  __shared__ float s[64];
  int t = threadIdx.x;
  s[t] = x[t];
  __syncthreads();
  float a = s[63 - t];
  __syncthreads();
  s[t] = a;
  __syncthreads();
  y[t] = s[t];
}
KERNEL write_after_read_racy(const float* x, float* y) {
  __shared__ float s[64];
  int t = threadIdx.x;
  s[t] = x[t];
  __syncthreads();
  float a = s[63 - t];
  s[t] = a;  // RACE: others may still read
  __syncthreads();
  y[t] = s[t];
}
KERNEL hidden_reader_racy(const float* x,
                          float* y) {  // warp 1 reads after warp 0, then writes: warp 0's read must be remembered
  __shared__ float s[32];
  int t = threadIdx.x;
  if (t < 32) s[t] = x[t];
  __syncthreads();
  float a = s[t & 31];
  y[t] = a;
  __syncwarp();
  if (t >= 32) s[t - 32] = a + 1;  // RACE
}
KERNEL one_place_racy(float* y) {
  __shared__ int s;
  s = threadIdx.x;  // RACE: all write different values
  __syncthreads();
  y[threadIdx.x] = s;
}
KERNEL one_value(float* y) {  // equal values in one instruction of a warp are no race
  __shared__ int s;
  s = 7;
  __syncthreads();
  y[threadIdx.x] = s;
}
KERNEL halves(unsigned short* y) {  // neighbours in a word are no race
  __shared__ unsigned short s[128];
  s[threadIdx.x] = threadIdx.x;
  __syncthreads();
  y[threadIdx.x] = s[127 - threadIdx.x];
}
KERNEL named_barrier(const float* x, float* y) {  // warps 0 and 1 produce for warps 2 and 3
  __shared__ float s[64];
  int t = threadIdx.x;
  if (t < 64) {
    s[t] = x[t];
    asm volatile("bar.arrive 1, 128;" ::: "memory");
  } else {
    asm volatile("bar.sync 1, 128;" ::: "memory");
    y[t - 64] = s[127 - t];
  }
}
KERNEL named_barrier_racy(const float* x, float* y) {
  __shared__ float s[64];
  int t = threadIdx.x;
  if (t < 64) {
    asm volatile("bar.arrive 1, 128;" ::: "memory");
    s[t] = x[t];
  } else {
    asm volatile("bar.sync 1, 128;" ::: "memory");
    y[t - 64] = s[127 - t];  // RACE: written behind the arrival
  }
}
KERNEL async_copy(const float4* x, float4* y) {
  __shared__ float4 s[64];
  int t = threadIdx.x;
  unsigned at = (unsigned)__cvta_generic_to_shared(&s[t]);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;\n cp.async.commit_group;" ::"r"(at), "l"(x + t) : "memory");
  asm volatile("cp.async.wait_group 0;" ::: "memory");
  __syncthreads();
  y[t] = s[63 - t];
}
KERNEL async_copy_racy(const float4* x, float4* y) {
  __shared__ float4 s[64];
  int t = threadIdx.x;
  unsigned at = (unsigned)__cvta_generic_to_shared(&s[t]);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;\n cp.async.commit_group;" ::"r"(at), "l"(x + t) : "memory");
  asm volatile("cp.async.wait_group 1;" ::: "memory");
  __syncthreads();
  y[t] = s[63 - t];  // RACE: the copy may still fly
}
KERNEL async_copy_unordered_racy(const float4* x, float4* y) {
  __shared__ float4 s[64];
  int t = threadIdx.x;
  unsigned at = (unsigned)__cvta_generic_to_shared(&s[t]);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;\n cp.async.commit_group;" ::"r"(at), "l"(x + t) : "memory");
  asm volatile("cp.async.wait_group 0;" ::: "memory");
  y[t] = s[63 - t];  // RACE: a wait is for one's own copies only
}
KERNEL shared_flag(float* y) {  // a lock-free hand-over inside a block
  __shared__ float data;
  __shared__ int flag;
  if (threadIdx.x == 0) flag = 0;
  __syncthreads();
  if (threadIdx.x == 32) {
    data = y[1];
    __threadfence_block();
    atomicExch(&flag, 1);
  }
  if (threadIdx.x == 0) {
    while (atomicAdd(&flag, 0) == 0) {
    }
    __threadfence_block();
    y[0] = data;
  }
}
KERNEL shared_flag_racy(float* y) {
  __shared__ float data;
  __shared__ int flag;
  if (threadIdx.x == 0) flag = 0;
  __syncthreads();
  if (threadIdx.x == 32) {
    data = y[1];
    atomicExch(&flag, 1);
  }
  if (threadIdx.x == 0) {
    while (atomicAdd(&flag, 0) == 0) {
    }
    __threadfence_block();
    y[0] = data;  // RACE: no fence before the flag
  }
}

// -- global memory --------------------------------------------------------------------------------------------------
KERNEL blocks_write_racy(float* y) {
  if (threadIdx.x == 0) y[0] = blockIdx.x;  // RACE
}
KERNEL blocks_write_same_racy(float* y) {
  if (threadIdx.x == 0) y[0] = 1.0f;  // RACE, of a kind of its own
}
KERNEL blocks_add_racy(float* y) {
  if (threadIdx.x == 0) y[0] += 1.0f;  // RACE
}
KERNEL blocks_add(float* y) {
  if (threadIdx.x == 0) atomicAdd(y, 1.0f);
}
KERNEL readers_racy(float* x, float* y) {
  int t = threadIdx.x;
  float a = x[t & 31];
  y[t] = a;
  if (t >= 32) x[t - 32] = a + 1;  // RACE
}
KERNEL same_warp_racy(float* x, float* y) {
  int t = threadIdx.x;
  float a = x[0];
  y[t] = a;
  if (t == 31) x[0] = a + 1;  // RACE
}
KERNEL in_place(float* x) { x[blockIdx.x * blockDim.x + threadIdx.x] *= 2; }
KERNEL mixed_atomic_racy(int* x, int* y) {
  if (blockIdx.x == 0 && threadIdx.x == 0) atomicAdd(x, 1);
  if (blockIdx.x == 1 && threadIdx.x == 0) y[0] = x[0];  // RACE: a plain read beside an atomic
}
KERNEL block_atomic_racy(int* x) { atomicAdd_block(x, 1); }  // RACE: atomic within a block only
KERNEL spin_lock(int* lock, int* total) {
  bool done = false;
  while (!done) {
    if (atomicCAS(lock, 0, 1) == 0) {
      __threadfence();
      *total += 1;
      __threadfence();
      atomicExch(lock, 0);
      done = true;
    }
  }
}
KERNEL spin_lock_racy(int* lock, int* total) {
  bool done = false;
  while (!done) {
    if (atomicCAS(lock, 0, 1) == 0) {
      *total += 1;  // RACE: no fence
      atomicExch(lock, 0);
      done = true;
    }
  }
}

// The last block to finish sums what all have written.
#define LAST_BLOCK(NAME, WRITER, FENCE, SYNC, ACQUIRE)                    \
  KERNEL NAME(const float* x, float* part, unsigned* count, float* out) { \
    __shared__ bool last;                                                 \
    if (threadIdx.x == WRITER) part[blockIdx.x] = x[blockIdx.x] * 2;      \
    FENCE;                                                                \
    SYNC;                                                                 \
    if (threadIdx.x == 0) last = atomicAdd(count, 1u) == gridDim.x - 1;   \
    __syncthreads();                                                      \
    if (last && threadIdx.x == 0) {                                       \
      ACQUIRE;                                                            \
      float a = 0;                                                        \
      for (int i = 0; i < gridDim.x; i++) a += part[i];                   \
      *out = a;                                                           \
    }                                                                     \
  }
LAST_BLOCK(last_block, 0, __threadfence(), , __threadfence())
LAST_BLOCK(last_block_others, 5, __threadfence(), __syncthreads(), __threadfence())
LAST_BLOCK(last_block_nobarrier_racy, 5, __threadfence(), , __threadfence())        // RACE: another thread's write
LAST_BLOCK(last_block_nofence_racy, 0, , , __threadfence())                         // RACE
LAST_BLOCK(last_block_noacquire_racy, 0, __threadfence(), , )                       // RACE
LAST_BLOCK(last_block_weakfence_racy, 0, __threadfence_block(), , __threadfence())  // RACE: reaches the block only
KERNEL last_block_one_fence(const float* x, float* part, unsigned* count, float* out) {
  __shared__ bool last;  // barriers carry what thread 0's fences make visible to and from all threads
  if (threadIdx.x == 5) part[blockIdx.x] = x[blockIdx.x] * 2;
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    last = atomicAdd(count, 1u) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  if (last && threadIdx.x == 7) {
    float a = 0;
    for (int i = 0; i < gridDim.x; i++) a += part[i];
    *out = a;
  }
}
