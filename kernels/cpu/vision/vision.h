#pragma once
#include <cstdint>

#include "kernels/cpu/isa.h"

namespace minidl {

// One axis resized: y[o, i, :] = the sum over k of weight[k, i] x[o, index[k, i], :].
struct Resize {
  const float* x;        // (outer, size, inner)
  const int64_t* index;  // (taps, count), in [0, size)
  const float* weight;   // (taps, count), or null: one tap of weight 1
  float* y;              // (outer, count, inner)
  int64_t outer, size, inner, count, taps;
};

struct RoiAlign {
  const float* boxes;  // (B, 5): image, x1, y1, x2, y2
  const float *x, *g;  // forward: (N, C, H, W); backward: (B, C, P, Q)
  float *y, *gx;       // forward: (B, C, P, Q); backward: (N, C, H, W)
  int64_t boxes_count, images, channels, height, width, p, q;
  double scale;
  int64_t sampling_ratio;
  bool aligned;
};

// Boxes in the order of their scores; keep[i] says whether box i stays.
struct Nms {
  const float* edges;  // (4, N): x1, y1, x2, y2
  bool* keep;
  int64_t count;
  double threshold;
};

MINIDL_KERNEL(resize, Resize)
MINIDL_KERNEL(roi_align_forward, RoiAlign)
MINIDL_KERNEL(roi_align_backward, RoiAlign)
MINIDL_KERNEL(nms, Nms)

}  // namespace minidl
