// Greedy suppression, block by block: boxes of a block settle among themselves, then remove what they can behind it.
#include <cmath>

#include "kernels/cpu/rows.h"
#include "kernels/cpu/vision/vision.h"

namespace minidl::MINIDL_ISA {
namespace {

constexpr int64_t BLOCK = 64;

// A product that is rounded before it is used: an overlap just at the threshold falls as the reference's.
MINIDL_INLINE vf rounded(vf x) {
#if defined(__AVX512F__)
  asm("" : "+v"(x));
#elif defined(__SSE2__)
  asm("" : "+x"(x));
#elif defined(__aarch64__)
  asm("" : "+w"(x));
#endif
  return x;
}

MINIDL_INLINE vf area(vf x1, vf y1, vf x2, vf y2) {
  return rounded(vmax(vf{}, x2 - x1) * vmax(vf{}, y2 - y1));  // (NaN stays)
}

struct Boxes {
  const float *x1, *y1, *x2, *y2;
  float threshold;  // the largest float that is not above it: no overlap lies between

  // removed[j] for j in [first, end) by box i.
  void remove(int64_t i, int64_t first, int64_t end, int32_t* removed) const {
    const vf ax1 = splatf(x1[i]), ay1 = splatf(y1[i]), ax2 = splatf(x2[i]), ay2 = splatf(y2[i]);
    const vf own = area(ax1, ay1, ax2, ay2);
    for_vectors(end - first, [&](int64_t offset, int64_t n) {
      const int64_t j = first + offset;
      vf bx1 = load_n(x1 + j, n), by1 = load_n(y1 + j, n), bx2 = load_n(x2 + j, n), by2 = load_n(y2 + j, n);
      vf inter = area(vmax(ax1, bx1), vmax(ay1, by1), vmin(ax2, bx2), vmin(ay2, by2));
      vf all = own + area(bx1, by1, bx2, by2) - inter;  // (NaN where a coordinate is)
      vi over = (vi)(inter / (all + 1.1754944e-38f) > threshold);
      float* at = reinterpret_cast<float*>(removed + j);
      store_n(at, (vf)((vi)load_n(at, n) | over), n);
    });
  }
};

float not_above(double threshold) {
  float t = static_cast<float>(threshold);
  return static_cast<double>(t) > threshold ? std::nextafterf(t, -__builtin_inff()) : t;
}

}  // namespace

void nms(const Nms& p) {
  const int64_t n = p.count;
  const Boxes boxes{p.edges, p.edges + n, p.edges + 2 * n, p.edges + 3 * n, not_above(p.threshold)};
  Scratch<int32_t> removed(n);
  std::memset(removed, 0, sizeof(int32_t) * static_cast<size_t>(n));
  for (int64_t first = 0; first < n; first += BLOCK) {
    const int64_t end = min(n, first + BLOCK);
    for (int64_t i = first; i < end; i++)
      if (!removed[i]) boxes.remove(i, i + 1, end, removed);
    parallel_chunks(n - end, 2048, [&](int64_t from, int64_t to) {
      for (int64_t i = first; i < end; i++)
        if (!removed[i]) boxes.remove(i, end + from, end + to, removed);
    });
  }
  for (int64_t i = 0; i < n; i++) p.keep[i] = !removed[i];
}

}  // namespace minidl::MINIDL_ISA
