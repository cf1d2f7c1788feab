#pragma once
#include <cstdint>

#include "kernels/cpu/conv/finish.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/windows.h"

namespace minidl {

// Tiles of m x m outputs, m = 2 or 4, need (m + 2)^2 products in the transform's domain.
inline int64_t winograd_products(int64_t m) { return (m + 2) * (m + 2); }

// Filters in the transform's domain: so many matrices (outputs, inputs), each packed as the instruction set's product
// reads it. (A few lines more than they need from one to the next: their like places fall into different sets of the
// cache.)
inline int64_t winograd_stride(int64_t outputs, int64_t inputs) { return (outputs * inputs + 15) / 16 * 16 + 80; }
inline int64_t winograd_size(int64_t m, int64_t outputs, int64_t inputs) {
  return winograd_products(m) * winograd_stride(outputs, inputs);
}

struct WinogradFilters {
  const float* weight;  // (outputs, inputs, 3, 3); turned: (inputs, outputs, 3, 3), to be read backwards
  float* filters;       // winograd_size(m, outputs, inputs)
  int64_t m, outputs, inputs;
  bool turned;
};

// 3 x 3 windows at stride 1.
struct Winograd {
  const float *x, *filters, *bias;  // (n, inputs, H, W); bias (outputs) or null
  float* y;                         // (n, outputs, P, Q)
  int64_t m, n, inputs, outputs;
  Windows rows, columns;
  Finish finish;
};

// The gradient of the filters, always by tiles of 2 x 2.
struct WinogradWeight {
  const float *g, *x;  // (n, outputs, P, Q), (n, inputs, H, W)
  float* gweight;      // (outputs, inputs, 3, 3)
  int64_t n, inputs, outputs;
  Windows rows, columns;
};

MINIDL_KERNEL(winograd_filters, WinogradFilters)
MINIDL_KERNEL(winograd, Winograd)
MINIDL_KERNEL(winograd_weight, WinogradWeight)

}  // namespace minidl
