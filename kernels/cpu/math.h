// Vectorised exp, log, tanh and friends in float32, with their error in units in the last place (ulp).
#pragma once
#include "kernels/cpu/simd.h"

namespace minidl::MINIDL_ISA {

// e^x for x in [-87, 88], clamped outside: a masked score comes out as 1e-38, not 0.
MINIDL_INLINE vf vexp_clamped(vf x) {
  x = vmin(vmax(x, splatf(-87.3f)), splatf(88.3f));
  vf shifted = x * 1.44269504f + 12582912.f;             // 1.5 * 2^23: adding it rounds to an integer
  vf n = shifted - 12582912.f;
  vf r = x - n * 0.693145752f;                           // Cody-Waite: ln 2 in two parts
  r = r - n * 1.42860677e-6f;
  vf p = splatf(1.f / 720);
  p = p * r + 1.f / 120;
  p = p * r + 1.f / 24;
  p = p * r + 1.f / 6;
  p = p * r + .5f;
  p = p * r + 1.f;
  p = p * r + 1.f;
  return (vf)((vi)p + ((vi)shifted << 23));              // times 2^n, through the exponent's bits
}

// 2^t for t <= 0 (a softmax with log2 e in its scale); below -126 about 1e-38.
MINIDL_INLINE vf vexp2_nonpositive(vf t) {
  t = vmax(t, splatf(-126.f));
  vf shifted = t + 12582912.f;
  vf r = t - (shifted - 12582912.f);
  vf p = splatf(1.5403530e-4f);
  p = p * r + 1.3333558e-3f;
  p = p * r + 9.6181291e-3f;
  p = p * r + 5.5504109e-2f;
  p = p * r + 2.4022651e-1f;
  p = p * r + 6.9314718e-1f;
  p = p * r + 1.f;
  return (vf)((vi)p + ((vi)shifted << 23));
}

}  // namespace minidl::MINIDL_ISA
