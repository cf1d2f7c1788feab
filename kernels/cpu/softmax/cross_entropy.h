#pragma once
#include <cstdint>

#include "kernels/cpu/isa.h"

namespace minidl {

// Scores x are (outer, classes, inner), an example's classes along the middle; what is said of examples is
// (outer, inner); weight, of classes, may be null: 1. Each example leaves its largest score, `top`, and `total`, the
// sum of exp(score - top): minus the logarithm of a class's probability is log(total) - (score - top).
struct LabelLoss {
  const float* x;
  const int64_t* labels;  // in [0, classes)
  const float* weight;
  float *top, *total, *nll;  // nll: of the label
  float* nll_of_all;         // summed over the classes, by weight; may be null
  int64_t outer, classes, inner;
};

// gx = exp(x - top) * scale - weight * spread, less `own` at the label.
struct LabelGradient {
  const float* x;
  const int64_t* labels;
  const float *weight, *top, *scale, *own, *spread;  // spread may be null: 0
  float* gx;
  int64_t outer, classes, inner;
};

// Every class has its share of an example: weight * (kept * target + share), target being shaped as x.
struct SoftLoss {
  const float *x, *target, *weight;
  float *top, *total, *mass, *nll;  // mass: the sum of the shares; nll: by the shares
  int64_t outer, classes, inner;
  float kept, share;
};

// gx = exp(x - top) * scale - own * weight * (kept * target + share)
struct SoftGradient {
  const float *x, *target, *weight, *top, *scale, *own;
  float* gx;
  int64_t outer, classes, inner;
  float kept, share;
};

MINIDL_KERNEL(label_loss, LabelLoss)
MINIDL_KERNEL(label_gradient, LabelGradient)
MINIDL_KERNEL(soft_loss, SoftLoss)
MINIDL_KERNEL(soft_gradient, SoftGradient)

}  // namespace minidl
