// Vectorised exp, log, tanh and friends in float32, with their largest error in units in the last place (ulp).
//
// The bounds hold for every float, with and without FMA (tests/kernels/test_math.py): NaN gives NaN, infinities and
// signed zeros come out as in C, results below the normal numbers are rounded, not flushed. The reductions are those of
// Cody and Waite 1980, "Software Manual for the Elementary Functions"; the polynomials are minimax fits of our own.
// Where rounding matters, products are exact, so that it makes no difference whether the compiler contracts them with
// the sum they are part of.
#pragma once
#include "kernels/cpu/simd.h"

namespace minidl::MINIDL_ISA {

// -- pieces -------------------------------------------------------------------------------------------------------

constexpr float ROUNDER = 12582912.f;  // 1.5 * 2^23: adding it rounds to an integer, kept in low bits

// c[0] x^n + ... + c[n]
template <int N>
MINIDL_INLINE vf horner(vf x, const float (&c)[N]) {
  vf p = splatf(c[0]);
  MINIDL_UNROLL
  for (int i = 1; i < N; i++) p = p * x + c[i];
  return p;
}

using vu = vec<uint32_t>;  // where sums may wrap around

MINIDL_INLINE vf vabs(vf x) { return (vf)((vi)x & 0x7fffffff); }
MINIDL_INLINE vi sign_bit(vf x) { return (vi)x & INT32_MIN; }
MINIDL_INLINE vf with_sign(vf magnitude, vi sign) { return (vf)((vi)magnitude | sign); }
MINIDL_INLINE vf bits_of_exponent(vu n) { return (vf)(n << 23); }               // 2^(n - 127), of the lowest 8 bits
MINIDL_INLINE vf at_most(vf x, float bound) { return vmin(splatf(bound), x); }  // NaN stays NaN
MINIDL_INLINE vf at_least(vf x, float bound) { return vmax(splatf(bound), x); }

// Rounded correctly.
MINIDL_INLINE vf vsqrt(vf x) {
#if defined(__AVX512F__)
  return (vf)_mm512_maskz_sqrt_ps((__mmask16)-1, (__m512)x);
#elif defined(__AVX2__)
  return (vf)_mm256_sqrt_ps((__m256)x);
#elif defined(__SSE2__)
  return (vf)_mm_sqrt_ps((__m128)x);
#else
  for (int i = 0; i < W; i++) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}

// p * 2^n for whole n in [-252, 254], rounded once.
MINIDL_INLINE vf times_power_of_2(vf p, vf n) {
#if defined(__AVX512F__)
  return (vf)_mm512_maskz_scalef_ps((__mmask16)-1, (__m512)p, (__m512)n);
#else
  vi i = (vi)((vu)(n + ROUNDER) - 0x4b400000u), half = i >> 1;
  return p * bits_of_exponent((vu)half + 127) * bits_of_exponent((vu)(i - half) + 127);
#endif
}

// e^r for |r| <= ln 2 / 2; without its 1.
MINIDL_INLINE vf expm1_reduced(vf r) {
  constexpr float c[] = {.00139263261f, .00836329255f, .0416665524f, .166665763f, .5f};
  return r + r * (r * horner(r, c));
}
// x - n ln 2: ln 2 in two parts, of which n times the first is exact.
MINIDL_INLINE vf minus_ln2(vf x, vf n) { return x - n * .693145752f - n * 1.42860677e-6f; }

// log(1 + f) + n ln 2 for f in [-1/3, 1/3].
MINIDL_INLINE vf log_reduced(vf f, vf n) {
  constexpr float c[] = {-.128841192f, .139826253f, -.12185888f,  .140062317f,
                         -.166803822f, .200103849f, -.249998003f, .333332151f};
  vf square = f * f;
  vf rest = square * f * horner(f, c) + n * 1.42860677e-6f;
  return n * .693145752f + (f + (rest - .5f * square));
}
// The n for which x * 2^-n is in [2/3, 4/3), of positive normal x.
MINIDL_INLINE vi log_exponent(vf x) { return (vi)((vu)x - 0x3f2aaaabu) >> 23; }

// -- exponentials -------------------------------------------------------------------------------------------------

// e^x for x in [-87, 88], clamped outside: a masked score comes out as 1e-38, not 0. 1.1 ulp.
MINIDL_INLINE vf vexp_clamped(vf x) {
  x = at_most(at_least(x, -87.3f), 88.3f);
  vf shifted = x * 1.44269504f + (ROUNDER + 127.f);
  vf p = expm1_reduced(minus_ln2(x, shifted - (ROUNDER + 127.f))) + 1.f;
  return p * bits_of_exponent((vu)shifted);  // (the rounder's own low bits are 0)
}

// 2^t for t <= 0 (a softmax with log2 e in its scale); below -126 about 1e-38. 1.2 ulp.
MINIDL_INLINE vf vexp2_nonpositive(vf t) {
  constexpr float c[] = {.000154531634f, .00133908633f, .00961808302f, .0555035695f, .240226507f, .693147182f, 1.f};
  t = at_least(t, -126.f);
  vf shifted = t + (ROUNDER + 127.f);
  return horner(t - (shifted - (ROUNDER + 127.f)), c) * bits_of_exponent((vu)shifted);
}

// e^x. 1.1 ulp.
MINIDL_INLINE vf vexp(vf x) {
  x = at_most(at_least(x, -104.f), 89.f);  // (0 and infinity)
  vf n = (x * 1.44269504f + ROUNDER) - ROUNDER;
  return times_power_of_2(expm1_reduced(minus_ln2(x, n)) + 1.f, n);
}

// 2^x. 1.2 ulp.
MINIDL_INLINE vf vexp2(vf x) {
  constexpr float c[] = {.000154531634f, .00133908633f, .00961808302f, .0555035695f, .240226507f, .693147182f, 1.f};
  x = at_most(at_least(x, -151.f), 129.f);
  vf n = (x + ROUNDER) - ROUNDER;
  return times_power_of_2(horner(x - n, c), n);
}

// e^x - 1. 1.9 ulp.
MINIDL_INLINE vf vexpm1(vf x) {
  vf bounded = at_most(at_least(x, -18.f), 89.f);
  vf n = (bounded * 1.44269504f + ROUNDER) - ROUNDER;
  vf y = expm1_reduced(minus_ln2(bounded, n));
  vf half = bits_of_exponent((vu)(n + ROUNDER) + 126);  // 2^n / 2, as 2^128 is no float
  vf scaled = (y * half + (half - .5f)) * 2.f;
  return with_sign(n == 0.f ? y : scaled, sign_bit(x));
}

// -- logarithms ---------------------------------------------------------------------------------------------------

// ln x. 1 ulp.
MINIDL_INLINE vf vlog(vf x) {
  vi tiny = (vi)(x < 1.17549435e-38f);
  vf normal = tiny ? x * 8388608.f : x;  // (2^23)
  vi n = log_exponent(normal);
  vf f = (vf)((vu)normal - ((vu)n << 23)) - 1.f;
  vf y = log_reduced(f, __builtin_convertvector(n, vf) - (tiny ? splatf(23.f) : vf{}));
  y = x < __builtin_inff() ? y : x;  // (infinity and NaN themselves)
  y = x == 0.f ? splatf(-__builtin_inff()) : y;
  return x < 0.f ? splatf(__builtin_nanf("")) : y;
}

// ln(1 + x). 1.7 ulp.
MINIDL_INLINE vf vlog1p(vf x) {
  vi n = log_exponent(x + 1.f);
  vf scale = bits_of_exponent(129 - (vu)n);        // 4 * 2^-n, as 2^-128 is no normal float
  vf f = x * scale * .25f + (scale * .25f - 1.f);  // both terms are exact, or far apart
  vf y = with_sign(log_reduced(f, __builtin_convertvector(n, vf)), sign_bit(x));
  y = x < __builtin_inff() ? y : x;
  y = x == -1.f ? splatf(-__builtin_inff()) : y;
  return x < -1.f ? splatf(__builtin_nanf("")) : y;
}

// -- sigmoids -----------------------------------------------------------------------------------------------------

// 1 / (1 + e^-x). 2.5 ulp.
MINIDL_INLINE vf vsigmoid(vf x) {
  vf e = vexp(with_sign(x, splat<int32_t>(INT32_MIN)));  // of -|x|: so that the small side is precise, too
  return (x < 0.f ? e : splatf(1.f)) / (e + 1.f);
}

// The hyperbolic tangent. 1.5 ulp.
MINIDL_INLINE vf vtanh(vf x) {
  constexpr float c[] = {-.00609671418f, .0209971797f, -.0538509078f, .133327693f, -.333333284f};
  vf t = vabs(x), square = x * x;
  vf small = x + x * (square * horner(square, c));
  vf large = 1.f - 2.f / (vexp_clamped(t + t) + 1.f);
  return with_sign(t < .625f ? small : large, sign_bit(x));
}

// The error function, by its own series or by the logarithm of what is missing to 1. 1.5 ulp.
MINIDL_INLINE vf verf(vf x) {
  constexpr float low[] = {-.000596731086f, .00498890597f, -.0267639942f, .112817541f, -.376124889f, .128379151f};
  constexpr float high[] = {-.000213985142f, .00321495719f, -.0228899699f, .105261847f, .635718286f, .128514364f};
  vf t = at_most(vabs(x), 3.95f), square = t * t;
  vf small = t + t * horner(square, low);
  vf large = 1.f - vexp_clamped(-t - t * horner(t, high));
  return with_sign(t < .92f ? small : large, sign_bit(x));
}

}  // namespace minidl::MINIDL_ISA
