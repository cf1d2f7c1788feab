// One row, brought to mean 0 and mean square 1, and back: what all norms share.
#pragma once
#include "kernels/cpu/norm/moments.h"

namespace minidl::MINIDL_ISA {

// A factor or summand of a row's columns: one number for all, or one each, or none.
struct EachIs {
  float value;
  MINIDL_INLINE vf operator()(int64_t, int64_t) const { return splatf(value); }
};
struct EachOf {
  const float* values;
  MINIDL_INLINE vf operator()(int64_t i, int64_t lanes) const { return load_n(values + i, lanes); }
};

// y = (x - mean) * rstd * weight(i) + bias(i). What will be looked at next, `ahead` elements on, is fetched meanwhile.
template <class Weight, class Bias>
MINIDL_INLINE void affine_row(float* y, const float* x, Weight weight, Bias bias, float mean, float rstd, int64_t n,
                              bool streamed, int64_t ahead = PIECE) {
  write_row(y, n, streamed, [&](int64_t i, int64_t lanes) {
    __builtin_prefetch(x + i + ahead);
    return (load_n(x + i, lanes) - mean) * rstd * weight(i, lanes) + bias(i, lanes);
  });
}
// weight and bias may be null.
MINIDL_INLINE void affine_row(float* y, const float* x, const float* weight, const float* bias, float mean, float rstd,
                              int64_t n, bool streamed) {
  if (weight && bias) {
    affine_row(y, x, EachOf{weight}, EachOf{bias}, mean, rstd, n, streamed);
  } else if (weight) {
    affine_row(y, x, EachOf{weight}, EachIs{0}, mean, rstd, n, streamed);
  } else if (bias) {
    affine_row(y, x, EachIs{1}, EachOf{bias}, mean, rstd, n, streamed);
  } else {
    affine_row(y, x, EachIs{1}, EachIs{0}, mean, rstd, n, streamed);
  }
}

// What the gradient of a standardised row carries through the mean and through the scale, both per element.
struct Carried {
  float mean, scale;
};

// The sums of g * xhat and of g are added to gweight and gbias, unless those are null; for what is carried, g is scaled
// by weight, unless that is null.
MINIDL_INLINE Carried carried_by_row(const float* g, const float* x, const float* weight, float mean, float rstd,
                                     int64_t n, float* gweight, float* gbias) {
  double along_mean = 0, along_x = 0;
  for (int64_t start = 0; start < n; start += PIECE) {
    Chains of_g, of_product;
    for_chains(min(PIECE, n - start), [&](int64_t k, int64_t lanes, int c) {
      int64_t i = start + k;
      vf gi = load_n(g + i, lanes), product = gi * ((load_n(x + i, lanes) - mean) * rstd);
      if (gweight) store_n(gweight + i, load_n(gweight + i, lanes) + product, lanes);
      if (gbias) store_n(gbias + i, load_n(gbias + i, lanes) + gi, lanes);
      if (weight) {
        vf w = load_n(weight + i, lanes);
        gi *= w, product *= w;
      }
      of_g.chain[c] += gi;
      of_product.chain[c] += product;  // (lanes beyond: gi is 0 there)
    });
    along_mean += of_g.total(), along_x += of_product.total();
  }
  return {static_cast<float>(along_mean / static_cast<double>(n)),
          static_cast<float>(along_x / static_cast<double>(n))};
}

// gx = rstd * (g * weight(i) - carried.mean - xhat * carried.scale)
template <class Weight>
MINIDL_INLINE void gradient_row(float* gx, const float* g, const float* x, Weight weight, float mean, float rstd,
                                int64_t n, Carried carried, bool streamed) {
  write_row(gx, n, streamed, [&](int64_t i, int64_t lanes) {
    __builtin_prefetch(x + i + PIECE / 2);
    __builtin_prefetch(g + i + PIECE / 2);
    vf xhat = (load_n(x + i, lanes) - mean) * rstd;
    return rstd * (load_n(g + i, lanes) * weight(i, lanes) - carried.mean - xhat * carried.scale);
  });
}
// weight may be null.
MINIDL_INLINE void gradient_row(float* gx, const float* g, const float* x, const float* weight, float mean, float rstd,
                                int64_t n, Carried carried, bool streamed) {
  if (weight) {
    gradient_row(gx, g, x, EachOf{weight}, mean, rstd, n, carried, streamed);
  } else {
    gradient_row(gx, g, x, EachIs{1}, mean, rstd, n, carried, streamed);
  }
}

}  // namespace minidl::MINIDL_ISA
