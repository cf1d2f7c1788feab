// What the direct convolutions share: a microkernel that reads its rows anywhere, and images with their zeros around
// them.
#pragma once
#include "kernels/cpu/conv/direct.h"
#include "kernels/cpu/microkernel.h"

namespace minidl::MINIDL_ISA {

// c[MR_, NV_ vectors] (+)= A b: as `microkernel`, but A[i, k] is a[row[i] + offset[k]]: rows are output pixels and k
// are taps, or rows are taps and k are pixels; either way an image is read in place.
template <int MR_, int NV_>
void gathering_microkernel(int64_t kc, const float* a, const int64_t* offset, const int64_t* row, const float* b,
                           float* c, int64_t ldc, bool accumulate) {
  vf acc[MR_][NV_];
  MINIDL_UNROLL
  for (int i = 0; i < MR_; i++)
    for (int v = 0; v < NV_; v++) {
      acc[i][v] = vf{};
      __builtin_prefetch(c + i * ldc + v * W, 1);
    }
  for (int64_t k = 0; k < kc; k++, b += NR<float>) {
    vf bv[NV_];
    const float* ak = a + offset[k];
    for (int v = 0; v < NV_; v++) {
      bv[v] = load(b + v * W);
      __builtin_prefetch(b + 16 * NR<float> + v * W);
    }
    MINIDL_UNROLL
    for (int i = 0; i < MR_; i++) {
      vf ai = splatf(ak[row[i]]);
      for (int v = 0; v < NV_; v++) acc[i][v] += ai * bv[v];
    }
  }
  MINIDL_UNROLL
  for (int i = 0; i < MR_; i++)
    for (int v = 0; v < NV_; v++) {
      float* p = c + i * ldc + v * W;
      store(p, accumulate ? load(p) + acc[i][v] : acc[i][v]);
    }
}

using GatheringMicrokernel = void (*)(int64_t, const float*, const int64_t*, const int64_t*, const float*, float*,
                                      int64_t, bool);
template <int NV_, int... I>
GatheringMicrokernel gathering_of_height(int rows, Lanes<I...>) {
  static constexpr GatheringMicrokernel table[] = {gathering_microkernel<I + 1, NV_>...};
  return table[rows - 1];
}
// `columns` says how many of the NR columns matter: all are computed, or the first vector only.
MINIDL_INLINE GatheringMicrokernel gathering(int rows, int64_t columns) {
  using Rows = MakeLanes<MR>::type;
  return columns <= W ? gathering_of_height<1>(rows, Rows{}) : gathering_of_height<NV>(rows, Rows{});
}

// Part of an image's planes: rows [top, top + height), columns [left, left + width), zeros where the image has nothing.
struct Window {
  int64_t top, left, height, width;
  int64_t plane() const { return height * width; }
  bool within(int64_t rows, int64_t columns) const {
    return top >= 0 && left >= 0 && top + height <= rows && left + width <= columns;
  }
};

// dst (planes, height, width) = that part of src (planes, rows, columns).
inline void copy_window(const float* src, int64_t planes, int64_t rows, int64_t columns, const Window& w, float* dst) {
  const int64_t before = min(w.width, max<int64_t>(0, -w.left));
  const int64_t first = max<int64_t>(0, w.left), copied = max<int64_t>(0, min(columns, w.left + w.width) - first);
  for (int64_t p = 0; p < planes; p++, src += rows * columns)
    for (int64_t y = w.top; y < w.top + w.height; y++, dst += w.width) {
      int64_t n = y < 0 || y >= rows ? 0 : copied, zeros = n ? before : w.width;
      const float* from = n ? src + y * columns + first : src;
      for (int64_t i = 0; i < zeros; i += W) store_n(dst + i, vf{}, zeros - i);
      for (int64_t i = 0; i < n; i += W) store_n(dst + zeros + i, load_n(from + i, n - i), n - i);
      for (int64_t i = zeros + n; i < w.width; i += W) store_n(dst + i, vf{}, w.width - i);
    }
}

}  // namespace minidl::MINIDL_ISA
