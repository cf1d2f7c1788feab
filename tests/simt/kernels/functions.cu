// Functions of CUDA's mathematical library in float32, float64, float16 and bfloat16; conversions and intrinsics.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define KERNEL extern "C" __global__ void
#define ROW(k, value) y[(k) * n + i] = value

KERNEL float32(const float* x, float* y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float v = x[i], p = fabsf(v) + 0.001f;
  ROW(0, expf(v)), ROW(1, logf(p)), ROW(2, tanhf(v)), ROW(3, erff(v)), ROW(4, sinf(v * 10)), ROW(5, powf(p, 1.7f));
  ROW(6, cosf(v)), ROW(7, tanf(v)), ROW(8, atanf(v)), ROW(9, log1pf(p)), ROW(10, expm1f(v)), ROW(11, exp2f(v));
  ROW(12, cbrtf(v)), ROW(13, hypotf(v, 1.5f)), ROW(14, lgammaf(p + 0.5f)), ROW(15, fmodf(v, 0.3f));
  ROW(16, atan2f(v, 2.0f)), ROW(17, sinhf(v)), ROW(18, erfcf(v)), ROW(19, acosf(v / 10)), ROW(20, rsqrtf(p));
  ROW(21, floorf(v) + ceilf(v) * 10 + truncf(v) * 100 + rintf(v) * 1000), ROW(22, roundf(v)), ROW(23, ldexpf(v, 3));
  ROW(24, sinf(v * 1e6f)), ROW(25, log2f(p)), ROW(26, log10f(p)), ROW(27, remainderf(v, 0.7f)), ROW(28, tgammaf(p));
  ROW(29, normcdff(v)), ROW(30, fdimf(v, 0.5f)), ROW(31, copysignf(2.5f, v)), ROW(32, v / p), ROW(33, sqrtf(p));
}
KERNEL fast32(const float* x, float* y, int n) {  // intrinsics of lower precision
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float v = x[i], p = fabsf(v) + 0.001f;
  ROW(0, __expf(v)), ROW(1, __logf(p)), ROW(2, __sinf(v)), ROW(3, __cosf(v)), ROW(4, __powf(p, 1.7f));
  ROW(5, __fdividef(v, p)), ROW(6, __tanf(v)), ROW(7, __exp10f(v)), ROW(8, __log2f(p)), ROW(9, __saturatef(v));
  ROW(10, __frcp_rn(p)), ROW(11, __fsqrt_rn(p)), ROW(12, __frsqrt_rn(p)), ROW(13, __log10f(p));
}
KERNEL float64(const double* x, double* y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  double v = x[i], p = fabs(v) + 0.001;
  ROW(0, exp(v)), ROW(1, log(p)), ROW(2, tanh(v)), ROW(3, erf(v)), ROW(4, sin(v * 10)), ROW(5, pow(p, 1.7));
  ROW(6, cos(v)), ROW(7, tan(v)), ROW(8, atan(v)), ROW(9, log1p(p)), ROW(10, expm1(v)), ROW(11, exp2(v));
  ROW(12, cbrt(v)), ROW(13, hypot(v, 1.5)), ROW(14, lgamma(p + 0.5)), ROW(15, fmod(v, 0.3));
  ROW(16, atan2(v, 2.0)), ROW(17, sinh(v)), ROW(18, erfc(v)), ROW(19, acos(v / 10)), ROW(20, rsqrt(p));
  ROW(21, v / p), ROW(22, sqrt(p)), ROW(23, fma(v, p, -v * p)), ROW(24, sin(v * 1e8));
}
#define HALVES(NAME, T, MAKE, VALUE, PAIR, LOW, HIGH)                                                            \
  KERNEL NAME(const float* x, float* y, int n) {                                                                 \
    int i = threadIdx.x;                                                                                         \
    T a = MAKE(x[i]), b = MAKE(x[i] * 0.75f + 0.25f), p = MAKE(fabsf(x[i]) + 0.5f);                              \
    ROW(0, VALUE(a + b)), ROW(1, VALUE(a - b)), ROW(2, VALUE(a * b)), ROW(3, VALUE(a / p));                      \
    ROW(4, VALUE(__hfma(a, b, a))), ROW(5, VALUE(hexp(a))), ROW(6, VALUE(hlog(p))), ROW(7, VALUE(hsqrt(p)));     \
    ROW(8, VALUE(hrcp(p))), ROW(9, VALUE(htanh(a))), ROW(10, VALUE(__hmax(a, b))), ROW(11, VALUE(__hmin(a, b))); \
    ROW(12, VALUE(__hfma_relu(a, b, a))), ROW(13, VALUE(-a)), ROW(14, VALUE(__habs(a)));                         \
    ROW(15, VALUE(hfloor(a)) + VALUE(hrint(a)) * 16), ROW(16, a < b), ROW(17, VALUE(hcos(a)));                   \
    auto q = __hfma2(PAIR(a, b), PAIR(b, a), PAIR(a, a));                                                        \
    ROW(18, VALUE(LOW(q))), ROW(19, VALUE(HIGH(q)));                                                             \
    auto r = __hmax2(__hadd2(PAIR(a, b), PAIR(a, p)), __hmul2(PAIR(a, b), PAIR(p, p)));                          \
    ROW(20, VALUE(LOW(r))), ROW(21, VALUE(HIGH(r))), ROW(22, __hbgt2(PAIR(a, b), PAIR(p, a)));                   \
  }
HALVES(float16, __half, __float2half, __half2float, __halves2half2, __low2half, __high2half)
HALVES(bfloat16, __nv_bfloat16, __float2bfloat16, __bfloat162float, __halves2bfloat162, __low2bfloat16, __high2bfloat16)

KERNEL rounding(const float* x, const double* d, float* y, double* e, long long* k) {  // every mode by intrinsics
  int i = threadIdx.x, n = blockDim.x;
  float a = x[i], b = x[i + n], c = x[i + 2 * n];
  ROW(0, __fadd_rz(a, b)), ROW(1, __fmul_ru(a, b)), ROW(2, __fmaf_rd(a, b, c)), ROW(3, __fdiv_rz(a, b));
  ROW(4, __frcp_ru(a)), ROW(5, __fsqrt_rd(fabsf(b))), ROW(6, __fsub_rd(a, b)), ROW(7, __double2float_ru(d[i]));
  ROW(8, __int2float_rz((int)d[i])), ROW(9, __ll2float_rd((long long)(d[i] * 1e12)));
  double u = d[i], v = d[i + n], w = d[i + 2 * n];
  e[i] = __dadd_rz(u, v), e[i + n] = __dmul_ru(u, v), e[i + 2 * n] = __fma_rd(u, v, w), e[i + 3 * n] = __ddiv_rz(u, v);
  e[i + 4 * n] = __dsqrt_ru(fabs(u)), e[i + 5 * n] = __ll2double_rd((long long)(u * 1e16));
  k[i] = __float2int_rd(a), k[i + n] = __float2uint_ru(fabsf(b)), k[i + 2 * n] = __double2int_rn(u);
  k[i + 3 * n] = __float2ll_rz(c * 1e10f), k[i + 4 * n] = __double2ll_ru(v * 1e10), k[i + 5 * n] = __double2hiint(w);
}
KERNEL integers(const int* x, unsigned* y, unsigned long long* z, int n) {
  int i = threadIdx.x, a = x[i], b = x[i + 1];
  unsigned u = a, v = b;
  unsigned long long w = (unsigned long long)u << 32 | v;
  ROW(0, a / (b | 1)), ROW(1, a % (b | 1)), ROW(2, u / 7), ROW(3, __popc(u)), ROW(4, __clz(a)), ROW(5, __ffs(a));
  ROW(6, __brev(u)), ROW(7, __funnelshift_l(u, v, i)), ROW(8, __funnelshift_rc(u, v, i)),
      ROW(9, __byte_perm(u, v, 0x7531));
  ROW(10, __mulhi(a, b)), ROW(11, __umulhi(u, v)), ROW(12, __dp4a(a, b, 3)), ROW(13, __dp2a_lo(u, v, 1u));
  ROW(14, __vadd4(u, v)), ROW(15, __vabsdiffu4(u, v)), ROW(16, __vmaxs2(u, v)), ROW(17, __vcmpgtu4(u, v));
  ROW(18, __vsadu4(u, v)), ROW(19, __vaddss4(u, v)), ROW(20, __vavgu4(u, v)), ROW(21, __sad(a, b, 3u));
  ROW(22, __rhadd(a, b)), ROW(23, __uhadd(u, v)), ROW(24, __mul24(a, b)), ROW(25, __umul24(u, v));
  ROW(26, __clzll(w)), ROW(27, __ffsll(w)), ROW(28, __popcll(w)), ROW(29, __viaddmax_s32(a, b, 3)), ROW(30, abs(a));
  z[i] = w / (v | 1u), z[i + n] = w % 1000003, z[i + 2 * n] = __umul64hi(w, w), z[i + 3 * n] = __brevll(w);
  z[i + 4 * n] = (long long)w / ((long long)a | 1), z[i + 5 * n] = w << (i & 63) | w >> (64 - i & 63),
            z[i + 6 * n] = w * w;
}
