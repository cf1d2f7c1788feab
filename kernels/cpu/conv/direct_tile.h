// What the direct convolutions share: a microkernel that reads its rows anywhere, and images with their zeros around
// them.
#pragma once
#include "kernels/cpu/conv/direct.h"
#include "kernels/cpu/microkernel.h"

namespace minidl::MINIDL_ISA {

// Steps of K that lie evenly: A[i, k] is image[row[i] + at + k * step], B[k] the NR floats at (first + k) * NR.
struct Segment {
  int64_t at, first, length;
};

// c[place[i], NV_ vectors] (+)= sum over segments of A B, for MR_ rows. Rows are output pixels, segments taps, k
// channels; or rows are channels, segments rows of pixels, k pixels. Either way the image is read where it lies.
template <int MR_, int NV_>
void segments_microkernel(int64_t segments, const Segment* segment, int64_t step, const float* image,
                          const int64_t* row, const float* b, float* c, const int64_t* place, bool accumulate) {
  vf acc[MR_][NV_];
  MINIDL_UNROLL
  for (int i = 0; i < MR_; i++)
    for (int v = 0; v < NV_; v++) acc[i][v] = vf{};
  for (int64_t s = 0; s < segments; s++) {
    const float* ak = image + segment[s].at;
    const float* bk = b + segment[s].first * NR<float>;
    for (int64_t k = 0; k < segment[s].length; k++, ak += step, bk += NR<float>) {
      vf bv[NV_];
      for (int v = 0; v < NV_; v++) bv[v] = load(bk + v * W);
      __builtin_prefetch(ak + row[0] + 3 * step);  // (steps of planes are too long for the processor's own prefetching)
      __builtin_prefetch(ak + row[MR_ - 1] + 3 * step);
      MINIDL_UNROLL
      for (int i = 0; i < MR_; i++) {
        vf ai = splatf(ak[row[i]]);
        for (int v = 0; v < NV_; v++) acc[i][v] += ai * bv[v];
      }
    }
  }
  MINIDL_UNROLL
  for (int i = 0; i < MR_; i++)
    for (int v = 0; v < NV_; v++) {
      float* p = c + place[i] + v * W;
      store(p, accumulate ? load(p) + acc[i][v] : acc[i][v]);
    }
}

using SegmentsMicrokernel = void (*)(int64_t, const Segment*, int64_t, const float*, const int64_t*, const float*,
                                     float*, const int64_t*, bool);
template <int NV_, int... I>
SegmentsMicrokernel segments_of_height(int rows, Lanes<I...>) {
  static constexpr SegmentsMicrokernel table[] = {segments_microkernel<I + 1, NV_>...};
  return table[rows - 1];
}
// `columns` says how many of the NR columns matter: all are computed, or the first vector only.
MINIDL_INLINE SegmentsMicrokernel segments_kernel(int rows, int64_t columns) {
  using Rows = MakeLanes<MR>::type;
  return columns <= W ? segments_of_height<1>(rows, Rows{}) : segments_of_height<NV>(rows, Rows{});
}

// c[i * ldc, NV_ vectors] (+)= the transposed product: rows are filters, b[k][i]; columns are pixels that follow each
// other, image[offset[k]]; of a segment `at` is where its offsets begin. Some of them behind the last are read, too.
// With a bias, or null, for each row.
constexpr int AHEAD = 4;
template <int MR_, int NV_>
void pixels_microkernel(int64_t segments, const Segment* segment, const int64_t* offset, const float* image,
                        const float* b, float* c, int64_t ldc, bool accumulate, const float* bias) {
  vf acc[MR_][NV_];
  MINIDL_UNROLL
  for (int i = 0; i < MR_; i++)
    for (int v = 0; v < NV_; v++) {
      acc[i][v] = vf{};
      __builtin_prefetch(c + i * ldc + v * W, 1);
    }
  for (int64_t s = 0; s < segments; s++) {
    const int64_t* at = offset + segment[s].at;
    const float* bk = b + segment[s].first * NR<float>;
    for (int64_t k = 0; k < segment[s].length; k++, bk += NR<float>) {
      const float *ak = image + at[k], *next = image + at[k + AHEAD];
      vf av[NV_];
      for (int v = 0; v < NV_; v++) {
        av[v] = load(ak + v * W);
        __builtin_prefetch(next + v * W);
      }
      MINIDL_UNROLL
      for (int i = 0; i < MR_; i++) {
        vf bi = splatf(bk[i]);
        for (int v = 0; v < NV_; v++) acc[i][v] += bi * av[v];
      }
    }
  }
  MINIDL_UNROLL
  for (int i = 0; i < MR_; i++)
    for (int v = 0; v < NV_; v++) {
      float* p = c + i * ldc + v * W;
      if (bias) acc[i][v] += splatf(bias[i]);
      store(p, accumulate ? load(p) + acc[i][v] : acc[i][v]);
    }
}

using PixelsMicrokernel = void (*)(int64_t, const Segment*, const int64_t*, const float*, const float*, float*, int64_t,
                                   bool, const float*);
template <int NV_, int... I>
PixelsMicrokernel pixels_of_height(int rows, Lanes<I...>) {
  static constexpr PixelsMicrokernel table[] = {pixels_microkernel<I + 1, NV_>...};
  return table[rows - 1];
}
MINIDL_INLINE PixelsMicrokernel pixels_kernel(int rows, int64_t columns) {
  using Rows = MakeLanes<MR>::type;
  return columns <= W ? pixels_of_height<1>(rows, Rows{}) : pixels_of_height<NV>(rows, Rows{});
}

// Part of an image: rows [top, top + height), columns [left, left + width).
struct Window {
  int64_t top, left, height, width;
  bool within(int64_t rows, int64_t columns) const {
    return top >= 0 && left >= 0 && top + height <= rows && left + width <= columns;
  }
  // What lies between copies of planes: an odd number of cache lines, so that planes do not fall on each other in L1.
  int64_t plane() const { return (ceil_div(height * width, 16) | 1) * 16; }
};

// dst (planes, w.plane()) = that part of src (planes, rows, columns), zeros where the image has nothing.
inline void copy_window(const float* src, int64_t planes, int64_t rows, int64_t columns, const Window& w, float* dst) {
  const int64_t before = min(w.width, max<int64_t>(0, -w.left));
  const int64_t first = max<int64_t>(0, w.left), copied = max<int64_t>(0, min(columns, w.left + w.width) - first);
  for (int64_t p = 0; p < planes; p++, src += rows * columns, dst += w.plane())
    if (copied == w.width && w.width == columns && w.top >= 0 && w.top + w.height <= rows) {
      const int64_t n = w.height * w.width;
      for (int64_t i = 0; i < n; i += W) store_n(dst + i, load_n(src + w.top * columns + i, n - i), n - i);
    } else {
      for (int64_t y = 0; y < w.height; y++) {
        const int64_t at = w.top + y, n = at < 0 || at >= rows ? 0 : copied, zeros = n ? before : w.width;
        const float* from = n ? src + at * columns + first : src;
        float* to = dst + y * w.width;
        for (int64_t i = 0; i < zeros; i += W) store_n(to + i, vf{}, zeros - i);
        for (int64_t i = 0; i < n; i += W) store_n(to + zeros + i, load_n(from + i, n - i), n - i);
        for (int64_t i = zeros + n; i < w.width; i += W) store_n(to + i, vf{}, w.width - i);
      }
    }
}

}  // namespace minidl::MINIDL_ISA
