// Squeeze and excitation in two passes: the means of channels; then each channel's gate, and its plane times that.
// Source: Hu et al. 2017, arXiv:1709.01507, section 3.
#include "kernels/cpu/conv/squeeze.h"

#include "kernels/cpu/epilogue.h"
#include "kernels/cpu/pool.h"
#include "kernels/cpu/rows.h"

namespace minidl::MINIDL_ISA {
namespace {

MINIDL_INLINE float total(const float* x, int64_t n) {
  Chains chains;
  for_chains(n, [&](int64_t i, int64_t lanes, int c) { chains.chain[c] += load_n(x + i, lanes); });
  return chains.total();
}

MINIDL_INLINE float dot(const float* a, const float* b, int64_t n) {
  Chains chains;
  for_chains(n,
             [&](int64_t i, int64_t lanes, int c) { chains.chain[c] += load_n(a + i, lanes) * load_n(b + i, lanes); });
  return chains.total();
}

template <class F>
void for_planes(int64_t planes, int64_t pixels, const F& f) {
  parallel_chunks(planes, GRAIN / pixels, [&](int64_t first, int64_t end) {
    for (int64_t i = first; i < end; i++) f(i);
  });
}

MINIDL_INLINE void scale_plane(const float* x, float scale, float shift, float* y, int64_t pixels) {
  for_vectors(pixels, [&](int64_t k, int64_t lanes) { store_n(y + k, load_n(x + k, lanes) * scale + shift, lanes); });
}

}  // namespace

void squeeze_excite(const SqueezeExcite& p) {
  const int64_t planes = p.n * p.channels, rows = p.n * p.inner;
  for_planes(planes, p.pixels,
             [&](int64_t i) { p.means[i] = total(p.x + i * p.pixels, p.pixels) / static_cast<float>(p.pixels); });
  Scratch<float> inner(rows);
  for (int64_t i = 0; i < rows; i++) {
    const int64_t r = i % p.inner;
    p.sums[i] = dot(p.reduce + r * p.channels, p.means + i / p.inner * p.channels, p.channels);
    if (p.bias1) p.sums[i] += p.bias1[r];
  }
  for_vectors(rows, [&](int64_t i, int64_t lanes) {
    store_n(inner + i, activated<float>(load_n(p.sums + i, lanes), p.activation), lanes);
  });
  for_planes(planes, p.pixels, [&](int64_t i) {
    const int64_t c = i % p.channels;
    const float sum = dot(p.expand + c * p.inner, inner + i / p.channels * p.inner, p.inner);
    p.gates[i] = vsigmoid(splatf(p.bias2 ? sum + p.bias2[c] : sum))[0];
    scale_plane(p.x + i * p.pixels, p.gates[i], 0, p.y + i * p.pixels, p.pixels);
  });
}

void plane_dots(const PlaneDots& p) {
  for_planes(p.planes, p.pixels, [&](int64_t i) { p.dots[i] = dot(p.a + i * p.pixels, p.b + i * p.pixels, p.pixels); });
}

void plane_scale(const PlaneScale& p) {
  for_planes(p.planes, p.pixels,
             [&](int64_t i) { scale_plane(p.x + i * p.pixels, p.scale[i], p.shift[i], p.y + i * p.pixels, p.pixels); });
}

}  // namespace minidl::MINIDL_ISA
