#pragma once
#include <cstdint>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/windows.h"

namespace minidl {

// Filters in the transform's domain: 36 matrices (outputs, inputs), each packed as the instruction set's product reads
// it. (A few lines more than they need from one to the next: their like places fall into different sets of the cache.)
inline int64_t winograd_stride(int64_t outputs, int64_t inputs) { return (outputs * inputs + 15) / 16 * 16 + 80; }

struct WinogradFilters {
  const float* weight;  // (outputs, inputs, 3, 3); turned: (inputs, outputs, 3, 3), to be read backwards
  float* filters;       // 36 * winograd_stride(outputs, inputs)
  int64_t outputs, inputs;
  bool turned;
};

// 3 x 3 windows at stride 1.
struct Winograd {
  const float *x, *filters, *bias;  // (n, inputs, H, W); bias (outputs) or null
  float* y;                         // (n, outputs, P, Q)
  int64_t n, inputs, outputs;
  Windows rows, columns;
};

MINIDL_KERNEL(winograd_filters, WinogradFilters)
MINIDL_KERNEL(winograd, Winograd)

}  // namespace minidl
