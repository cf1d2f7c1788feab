// What ordinary CUDA C++ uses, a kernel for each part of the language, for tests/simt/test_features.py.
#include <cooperative_groups.h>
#include <cooperative_groups/memcpy_async.h>
#include <cooperative_groups/reduce.h>
#include <cooperative_groups/scan.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cassert>
#include <cstdio>
namespace cg = cooperative_groups;
#define KERNEL extern "C" __global__ void

KERNEL groups(const int* x, int* y) {  // 64 threads, y 12x64
  auto block = cg::this_thread_block();
  int t = block.thread_rank();
  auto tile = cg::tiled_partition<16>(block);
  y[t] = cg::reduce(tile, x[t], cg::plus<int>());
  y[64 + t] = cg::inclusive_scan(tile, x[t]);
  y[128 + t] = cg::exclusive_scan(tile, x[t], cg::plus<int>());
  auto part = cg::labeled_partition(tile, x[t] % 3);
  y[192 + t] = cg::reduce(part, x[t], cg::greater<int>());
  if (x[t] & 1) {
    auto active = cg::coalesced_threads();
    y[256 + t] = active.size() * 100 + active.thread_rank();
    y[320 + t] = active.shfl(x[t], 0);
  }
  auto half = cg::binary_partition(tile, x[t] > 50);
  y[384 + t] = half.size();
  y[448 + t] = tile.shfl_xor(x[t], 3);
  y[512 + t] = tile.any(x[t] == 7);
  y[576 + t] = tile.meta_group_rank();
  cg::invoke_one(tile, [&] { y[640 + t] = 1; });
  block.sync();
}
KERNEL atomics(int* i, unsigned* u, unsigned long long* l, float* f, double* d, __half2* h, __nv_bfloat162* b,
               __half* hh, unsigned short* us, long long* s) {
  int t = threadIdx.x;
  atomicAdd(&i[0], t);
  atomicSub(&i[1], t);
  atomicMin(&i[2], -t);
  atomicMax(&i[3], t);
  atomicExch(&i[4], t);
  atomicAnd(&i[5], ~(1 << t));
  atomicOr(&i[6], 1 << t);
  atomicXor(&i[7], 1 << t);
  atomicInc(&u[0], 20);
  atomicDec(&u[1], 20);
  atomicMin(&u[2], (unsigned)t);
  atomicMax(&u[3], (unsigned)t);
  if (blockIdx.x == 0) u[8 + t] = atomicAdd(&u[4], 1u);
  atomicAdd(&l[0], 1ull << 40);
  atomicMin(&l[1], (unsigned long long)t);
  atomicMax(&l[2], (unsigned long long)t << 33);
  atomicCAS(&l[3], 0ull, 5ull);
  atomicExch(&l[4], 9ull);
  atomicAnd(&l[5], ~(1ull << t));
  atomicOr(&l[6], 1ull << (2 * t));
  atomicXor(&l[7], 3ull << t);
  atomicMin(&s[0], (long long)-t);
  atomicMax(&s[1], (long long)t);
  atomicAdd(&f[0], 0.5f);
  atomicAdd(&d[0], 0.25);
  atomicExch(&f[1], 2.0f);
  atomicAdd(&h[0], __floats2half2_rn(1.f, 2.f));
  atomicAdd(&b[0], __floats2bfloat162_rn(1.f, 2.f));
  atomicAdd(&hh[0], __float2half(1.f));
  atomicAdd_block(&i[8 + blockIdx.x], 1);
  atomicAdd_system(&i[10], 1);
  atomicCAS(&us[0], (unsigned short)0, (unsigned short)7);
  unsigned old = __float_as_uint(f[2]), assumed;  // CAS loop: float maximum
  do {
    assumed = old;
    old = atomicCAS((unsigned*)&f[2], assumed, __float_as_uint(fmaxf(__uint_as_float(assumed), (float)t)));
  } while (assumed != old);
}
KERNEL caches(const float4* x, float* y, const int* k) {
  int t = threadIdx.x;
  float4 v = __ldg(&x[t]);
  y[t] = v.x + v.y + v.z + v.w;
  y[32 + t] = __ldcs(&y[t]) + __ldcg((const float*)x + t) + __ldca((const float*)x + t) + __ldcv((const float*)x + t) +
              __ldlu((const float*)x + t);
  __stwt(&y[64 + t], 1.f * __ldg(k + t));
  __stcs(&y[96 + t], 2.f);
  __stcg(&y[128 + t], 3.f);
  __stwb(&y[160 + t], 4.f);
  asm volatile("prefetch.global.L2 [%0];" ::"l"(x + t));
  asm volatile("prefetch.global.L2::evict_last [%0];" ::"l"(x));
  asm volatile("discard.global.L2 [%0], 128;" ::"l"(y));
  asm volatile("applypriority.global.L2::evict_normal [%0], 128;" ::"l"(y));
  unsigned long long pol;
  asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(pol));
  float w;
  asm volatile("ld.global.L2::cache_hint.f32 %0, [%1], %2;" : "=f"(w) : "l"((const float*)x + t), "l"(pol));
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.f32 %0, [%1];" : "=f"(w) : "l"((const float*)x + t));
  y[192 + t] = w;
  asm volatile("st.global.L2::cache_hint.f32 [%0], %1, %2;" ::"l"(y + 224 + t), "f"(w), "l"(pol));
}
__constant__ float coefficients[8] = {1, 2, 3, 4, 5, 6, 7, 8};
__constant__ struct {
  int a;
  double b;
  short c[3];
} packed = {7, 2.5, {1, 2, 3}};
__device__ int counter = 3;
__device__ float table[4][4];
KERNEL locals(const int* index, float* y, int n) {
  extern __shared__ float dynamic[];
  __shared__ float fixed[32];
  int t = threadIdx.x;
  float a[16];
  for (int j = 0; j < 16; j++) a[j] = j * coefficients[(j + t) % 8];
  a[index[t] & 15] += 100;
  float sum = 0;
  for (int j = 0; j < n; j++) sum += a[(index[t] + j) & 15];
  fixed[t] = sum;
  dynamic[31 - t] = sum + packed.b + packed.c[t % 3];
  __syncthreads();
  if (t < 16) table[t % 4][t / 4] = fixed[31 - t];
  y[t] = dynamic[t] + fixed[31 - t] + counter;
}
struct Shape {
  __device__ virtual float area() const = 0;
  __device__ virtual ~Shape() {}
};
struct Square : Shape {
  float s;
  __device__ Square(float s) : s(s) {}
  __device__ float area() const override { return s * s; }
};
struct Circle : Shape {
  float r;
  __device__ Circle(float r) : r(r) {}
  __device__ float area() const override { return 3 * r * r; }
};
__device__ int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
typedef float (*Op)(float, float);
__device__ float plus_(float a, float b) { return a + b; }
__device__ float times_(float a, float b) { return a * b; }
__device__ Op ops[2] = {plus_, times_};
KERNEL calls(const float* x, float* y) {
  int t = threadIdx.x;
  y[t] = fib(t % 10);
  y[32 + t] = ops[t & 1](x[t], 3.f);
  Shape* s = t % 3 ? (Shape*)new Square(x[t]) : (Shape*)new Circle(x[t]);
  y[64 + t] = s->area();
  delete s;
  auto f = [=](float v) { return v * t; };
  y[96 + t] = f(2.f);
}
KERNEL prints(const int* x) {
  int t = threadIdx.x;
  if (t == 3) printf("thread %d: %5.2f %s %lld %c %x %%\n", t, 1.5, "text", 1ll << 40, 'z', 255);
  if (t == 4) printf("plain\n");
  assert(x[t] < 50);
}
KERNEL times(unsigned long long* y) {
  unsigned long long a = clock64();
  __nanosleep(100);
  unsigned long long b = clock64();
  unsigned g;
  asm volatile("mov.u32 %0, %%globaltimer_lo;" : "=r"(g));
  unsigned sm, w;
  asm("mov.u32 %0, %%smid;" : "=r"(sm));
  asm("mov.u32 %0, %%warpid;" : "=r"(w));
  y[threadIdx.x] = b > a;
  clock();
}
KERNEL bits(const unsigned* x, unsigned* y) {
  int t = threadIdx.x;
  unsigned a = x[t], b = x[32 + t];
  int s = a;
  unsigned* r = y + t;
  int k = 0;
#define P(e) r[32 * k++] = (e)
  P(__dp4a((int)a, (int)b, 5));
  P(__dp4a(a, b, 5u));
  P(__dp2a_lo((int)a, (int)b, 1));
  P(__dp2a_hi(a, b, 1u));
  P(__brev(a));
  P(__clz(a));
  P(__ffs(a));
  P(__popc(a));
  P(__byte_perm(a, b, 0x5140));
  P(__funnelshift_l(a, b, t));
  P(__funnelshift_rc(a, b, t + 5));
  P(__mul24(s, b));
  P(__umulhi(a, b));
  P(__mulhi(s, (int)b));
  P(__sad(s, (int)b, 3u));
  P(__rhadd(s, (int)b));
  P(__hadd(s, (int)b));
  P(__fns(a, 3, 2));
  P(__vadd4(a, b));
  P(__vsub2(a, b));
  P(__vabsdiffu4(a, b));
  P(__vavgu4(a, b));
  P(__vmaxs2(a, b));
  P(__vminu4(a, b));
  P(__vcmpgtu4(a, b));
  P(__vaddss4(a, b));
  P(__vsadu4(a, b));
  P(__vsetgtu2(a, b));
  P(__viaddmax_s32(s, (int)b, 7));
  P(__vimax3_s32(s, (int)b, 7));
  P(__vibmax_s16x2(a, b, (bool*)(r + 32 * 60), (bool*)(r + 32 * 60)));
  unsigned __int128 w = (unsigned __int128)a * ((unsigned long long)b << 32 | a);
  w = w / 1000003u + (w >> 7);
  P((unsigned)w);
  P((unsigned)(w >> 64));
  P((unsigned)(w % 977));
  P((unsigned)(((unsigned long long)a << 20) / (b | 1)));
  P((int)(((long long)s * 12345) % (int)(b | 1)));
}
KERNEL halves(const float* x, __half2* y, __nv_bfloat162* z) {
  int t = threadIdx.x;
  __half2 a = __floats2half2_rn(x[t], x[t + 1]), b = __floats2half2_rn(x[t + 2], x[t + 3]);
  int k = 0;
#define H(e) y[32 * k++ + t] = (e)
  H(__hadd2(a, b));
  H(__hmul2(a, b));
  H(__hfma2(a, b, a));
  H(__hsub2_sat(a, b));
  H(__h2div(a, b));
  H(h2exp(a));
  H(h2log(__habs2(a)));
  H(h2sqrt(__habs2(a)));
  H(h2rsqrt(__habs2(a)));
  H(h2sin(a));
  H(h2cos(a));
  H(h2exp2(a));
  H(h2tanh(a));
  H(h2tanh_approx(a));
  H(h2rcp(a));
  H(h2floor(a));
  H(h2ceil(a));
  H(h2rint(a));
  H(h2trunc(a));
  H(__hmax2(a, b));
  H(__hmin2_nan(a, b));
  H(__hgt2(a, b));
  H(__hfma2_relu(a, b, a));
  H(__lows2half2(a, b));
  H(__highs2half2(a, b));
  H(__lowhigh2highlow(a));
  H(__hcmadd(a, b, a));
  H(__hneg2(a));
  H(__half2half2(__hadd(__low2half(a), __shfl_xor_sync(~0u, __high2half(b), 1))));
  H(__shfl_down_sync(~0u, a, 2));
  H(__ldg(&y[t]));
  __nv_bfloat162 c = __floats2bfloat162_rn(x[t], x[t + 1]), d = __floats2bfloat162_rn(x[t + 2], x[t + 3]);
  k = 0;
#define B(e) z[32 * k++ + t] = (e)
  B(__hadd2(c, d));
  B(__hmul2(c, d));
  B(__hfma2(c, d, c));
  B(__h2div(c, d));
  B(h2exp(c));
  B(h2tanh(c));
  B(h2sqrt(__habs2(c)));
  B(__hmax2(c, d));
  B(__hfma2_relu(c, d, c));
  B(h2rint(c));
  B(__hcmadd(c, d, c));
}
KERNEL fp8(const float* x, float* y, unsigned* raw) {
  int t = threadIdx.x;
  __nv_fp8_e4m3 a(x[t]);
  __nv_fp8_e5m2 b(x[t]);
  y[t] = float(a);
  y[32 + t] = float(b);
  __nv_fp8x2_e4m3 c(make_float2(x[t], x[t + 1]));
  float2 f = float2(c);
  y[64 + t] = f.x;
  y[96 + t] = f.y;
  __nv_fp8x4_e5m2 d(make_float4(x[t], x[t + 1], x[t + 2], x[t + 3]));
  float4 g = float4(d);
  y[128 + t] = g.x + g.w;
  y[160 + t] = __half2float(__half(a));
  __nv_fp8_e8m0 e(x[t]);
  y[192 + t] = float(e);
  raw[t] = d.__x;
}
KERNEL named(const float* x, float* y) {
  __shared__ float s[64];
  int t = threadIdx.x, w = t / 32;
  if (w < 2) {
    s[t] = x[t];
    asm volatile("barrier.cta.arrive 1, 128;" ::: "memory");
  } else {
    asm volatile("barrier.cta.sync 1, 128;" ::: "memory");
    y[t - 64] = s[63 - (t - 64)];
  }
  int n = __syncthreads_count(x[t] > 0), any = __syncthreads_or(x[t] > 5), all = __syncthreads_and(x[t] < 100);
  if (!t) {
    y[64] = n;
    y[65] = any;
    y[66] = all;
  }
  int r;
  asm volatile("{ .reg .pred p; setp.gt.f32 p, %1, 0f00000000; barrier.cta.red.popc.u32 %0, 3, p; }"
               : "=r"(r)
               : "f"(x[t]));
  if (!t) y[67] = r;
}
