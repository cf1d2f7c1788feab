// Optimizer steps over all parameters of a group at once.
#pragma once
#include <cstdint>

#include "kernels/cpu/isa.h"

namespace minidl {

struct StepTensor {
  float* p;
  const float* g;
  float *first, *second, *third;  // what the rule remembers; null where it does not
  int64_t size, task;             // the first of its tasks: those of all tensors are numbered through
  float rate, correction;
};

struct Step {
  const StepTensor* tensors;
  int64_t count;
  float decay, shrink;  // weight decay: g += decay * p, and p *= shrink
};

// first, second: moments; third: the largest second moment (amsgrad).
// p -= rate * first / (sqrt(second) * correction + eps)
struct AdamStep : Step {
  float beta1, rest1, beta2, rest2, eps;  // (rest = 1 - beta, which float32 would not give)
};

// first: the velocity, or null. velocity = momentum * velocity + correction * g; p -= rate * velocity
struct SgdStep : Step {
  float momentum;
  bool nesterov;
};

struct SquaredSums {
  const StepTensor* tensors;
  int64_t count;
  double* sums;  // of the squares of g, by tasks
};

struct ScaleAll {
  const StepTensor* tensors;
  int64_t count;
  float scale;  // p = scale * g
};

constexpr int64_t STEP_CHUNK = 16384;  // elements of one task, at most
inline int64_t step_tasks(int64_t size) { return (size + STEP_CHUNK - 1) / STEP_CHUNK; }

MINIDL_KERNEL(adam_step, AdamStep)
MINIDL_KERNEL(sgd_step, SgdStep)
MINIDL_KERNEL(squared_sums, SquaredSums)
MINIDL_KERNEL(scale_all, ScaleAll)

}  // namespace minidl
