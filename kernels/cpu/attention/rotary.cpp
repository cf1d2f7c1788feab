// Pairs of a row's elements turn by the angles of its place: one pass over memory.
#include "kernels/cpu/attention/rotary.h"

#include "kernels/cpu/pool.h"
#include "kernels/cpu/simd.h"

namespace minidl::MINIDL_ISA {
namespace {

constexpr int64_t GRAIN = 1 << 14;  // elements of a task

void halves(const Rotary& p, const float* x, const float* cos, const float* sin, float* y) {
  for (int64_t i = 0; i < p.half; i += W) {
    const int64_t n = p.half - i;
    const vf a = load_n(x + i, n), b = load_n(x + p.half + i, n), c = load_n(cos + i, n), s = load_n(sin + i, n);
    store_n(y + i, a * c - b * s, n);
    store_n(y + p.half + i, a * s + b * c, n);
  }
}

void neighbours(const Rotary& p, const float* x, const float* cos, const float* sin, float* __restrict y) {
  for (int64_t i = 0; i < p.half; i++) {
    const float a = x[2 * i], b = x[2 * i + 1];
    y[2 * i] = a * cos[i] - b * sin[i];
    y[2 * i + 1] = a * sin[i] + b * cos[i];
  }
}

}  // namespace

void rotary(const Rotary& p) {
  parallel_chunks(p.batch * p.heads * p.rows, max<int64_t>(1, GRAIN / p.width), [&](int64_t first, int64_t end) {
    for (int64_t i = first; i < end; i++) {
      const int64_t t = i % p.rows, h = i / p.rows % p.heads, b = i / p.rows / p.heads;
      const float *x = p.x.at(b, h, t), *cos = p.cos.at(b, h, t, 0), *sin = p.sin.at(b, h, t, 0);
      float* y = p.y.at(b, h, t);
      (p.interleaved ? neighbours : halves)(p, x, cos, sin, y);
      for (int64_t j = 2 * p.half; j < p.width; j += W) store_n(y + j, load_n(x + j, p.width - j), p.width - j);
    }
  });
}

}  // namespace minidl::MINIDL_ISA
