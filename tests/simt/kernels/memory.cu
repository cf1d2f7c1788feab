// Memory: vectors, structs, local arrays, constants, variables of the module, generic pointers, every atomic.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_pipeline.h>
#define KERNEL extern "C" __global__ void

__constant__ float coefficients[4] = {1, 2, 3, 4};
__device__ float table[8] = {0, 1, 2, 3, 4, 5, 6, 7};
__device__ int launches = 0;
__device__ float* pointed = table + 2;
extern __shared__ float dynamic[];

KERNEL widths(const float4* a, const int2* b, const signed char* c, const unsigned short* s, const volatile int* v,
              const long long* l, const double2* d, double* y) {
  int i = threadIdx.x;
  float4 q = __ldg(a + i);
  int2 p = b[i];
  double2 e = d[i];
  y[i] = q.x + 2 * q.y + 3 * q.z + 4 * q.w + p.x - p.y + c[i] + s[i] + v[i] + (double)__ldcg(l + i) + __ldcs(b + i).x +
         e.x - e.y;
}
KERNEL narrow_stores(unsigned char* c, short* s, uchar4* u, float2* f) {
  int i = threadIdx.x;
  c[i] = 3 * i, s[i] = -i, u[i] = make_uchar4(i, 2, 3, 255 - i);
  __stcs(f + i, make_float2(i, -i));
}
struct Packed {
  char tag;
  short half;
  float value;
  double wide;
};
KERNEL structs(Packed* p) {
  Packed mine = p[threadIdx.x];
  mine.value += mine.half;
  mine.wide *= mine.tag;
  p[threadIdx.x ^ 1] = mine;
}
KERNEL local_array(const int* x, int* y, int n) {
  int values[16], i = threadIdx.x;
  for (int k = 0; k < 16; k++) values[k] = x[(i + k) & 31] * k;
  int sum = 0;
  for (int k = 0; k < n; k++) sum += values[(x[k] + i) & 15];
  y[i] = sum;
}
KERNEL variables(float* y) {
  int i = threadIdx.x;
  dynamic[i] = table[i & 7] * coefficients[i & 3];
  __syncthreads();
  y[i] = dynamic[31 - i] + pointed[i & 3];
  if (i == 0) launches++;
  __syncthreads();
  table[i & 7] = launches + (i & 7);
}
__device__ __noinline__ float sum_of(const float* p, int n) {  // p may point anywhere
  float sum = 0;
  for (int i = 0; i < n; i++) sum += p[i];
  return sum;
}
KERNEL generic(const float* x, float* y) {
  __shared__ float s[32];
  int i = threadIdx.x;
  float mine[4] = {(float)i, 2, 3, 4};
  s[i] = x[i] * 2;
  __syncthreads();
  const float* p = i % 4 == 0 ? x : i % 4 == 1 ? s : i % 4 == 2 ? mine : coefficients;
  y[i] = sum_of(p, 4) + (__isShared(p) ? 1000 : 0) + (__isLocal(p) ? 2000 : 0) + (__isGlobal(p) ? 3000 : 0);
}
KERNEL copies(const int4* x, int4* y, int n) {  // asynchronous copies: three stages, a tail of zeros
  __shared__ int4 s[3][64];
  int t = threadIdx.x;
  for (int k = 0; k < 2; k++) {
    if (k < n) __pipeline_memcpy_async(&s[k][t], x + k * 64 + t, 16, k == n - 1 && t % 2 ? 8 : 0);
    __pipeline_commit();
  }
  for (int k = 0; k < n; k++) {
    __pipeline_wait_prior(1);
    __syncthreads();
    int4 got = s[k % 3][63 - t];
    y[k * 64 + t] = got;
    if (k + 2 < n)
      __pipeline_memcpy_async(&s[(k + 2) % 3][t], x + (k + 2) * 64 + t, 16, k + 2 == n - 1 && t % 2 ? 8 : 0);
    __pipeline_commit();
  }
}

KERNEL integer_atomics(int* a, unsigned* u, unsigned long long* l, int* olds) {
  int t = threadIdx.x;
  __shared__ int s[2];
  if (t < 2) s[t] = 0;
  __syncthreads();
  atomicAdd(s, 1), atomicSub(s + 1, t);
  atomicAdd(a, t), atomicSub(a + 1, t), atomicMax(a + 2, t), atomicMin(a + 3, -t);
  atomicAnd(u, ~(1u << (t & 31))), atomicOr(u + 1, 1u << (t & 31)), atomicXor(u + 2, t * 77u);
  atomicInc(u + 3, 9u), atomicDec(u + 4, 9u), atomicMax(u + 5, 0xFFFFFF00u + t), atomicMin(u + 6, t + 5u);
  atomicAdd(l, 1ull << 33), atomicMax((long long*)l + 1, (long long)-t), atomicAnd(l + 2, ~(1ull << t)),
      atomicExch(l + 3, 7ull);
  olds[t] = atomicAdd(a + 4, 1);
  unsigned old = u[7], seen;  // a compare-and-swap loop: multiply by three
  do {
    seen = old;
    old = atomicCAS(u + 7, seen, seen * 3);
  } while (old != seen);
  unsigned short* h = (unsigned short*)(u + 8);
  unsigned short was = *h, next;
  do {
    next = was;
    was = atomicCAS(h, next, (unsigned short)(next + 1));
  } while (was != next);
  __syncthreads();
  if (t == 0) a[5] = s[0], a[6] = s[1];
}
KERNEL float_atomics(float* f, double* d, __half* h, __half2* h2, __nv_bfloat16* b, __nv_bfloat162* b2,
                     float2* unused) {
  int t = threadIdx.x;
  __shared__ float s;
  if (t == 0) s = 0;
  __syncthreads();
  atomicAdd(&s, 0.5f), atomicAdd(f, 0.25f), atomicAdd(d, 1.5), atomicAdd(h, __float2half(1.0f));
  atomicAdd(h2, __floats2half2_rn(1, 2)), atomicAdd(b, __float2bfloat16(1.0f)),
      atomicAdd(b2, __floats2bfloat162_rn(1, 2));
  f[2 + t] = atomicExch(f + 1, (float)t);
  __syncthreads();
  if (t == 0) f[34] = s;
}
KERNEL scoped_atomics(int* a) {
  atomicAdd_block(a + blockIdx.x, 1), atomicAdd_system(a + 8, 1), atomicMax_block(a + 9 + blockIdx.x, (int)threadIdx.x);
}

// -- what must be caught
// ------------------------------------------------------------------------------------------------
KERNEL beyond(float* y, int n) { y[threadIdx.x + n] = 1; }
KERNEL before(const float* x, float* y) { y[threadIdx.x] = x[(int)threadIdx.x - 1]; }
KERNEL beyond_shared(float* y, int n) {
  __shared__ float s[32];
  s[threadIdx.x + n] = 1;
  __syncthreads();
  y[threadIdx.x] = s[threadIdx.x];
}
KERNEL beyond_local(float* y, int n) {
  float mine[8];
  for (int i = 0; i < 8; i++) mine[i] = i;
  y[threadIdx.x] = mine[threadIdx.x + n];
}
KERNEL misaligned(const char* x, float* y) { y[threadIdx.x] = *(const float*)(x + 2 * threadIdx.x); }
KERNEL misaligned_vector(const float* x, float* y) {
  float4 v = ((const float4*)(x + 1))[threadIdx.x];
  y[threadIdx.x] = v.x + v.y + v.z + v.w;
}
KERNEL null_pointer(float* y) { y[threadIdx.x] = 1; }
KERNEL unwritten(float* y) {
  __shared__ float s[128];
  if (threadIdx.x < 64) s[threadIdx.x] = 1;
  __syncthreads();
  y[threadIdx.x] = s[threadIdx.x];
}
KERNEL unwritten_global(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x]; }
