// Resizing of one axis. Along rows whole rows are combined; along the last axis, where 2 W neighbouring elements hold
// all that W outputs need, they are picked in registers.
#include "kernels/cpu/rows.h"
#include "kernels/cpu/vision/vision.h"

namespace minidl::MINIDL_ISA {
namespace {

// Lane i is lane index[i] of a and b, one behind the other.
MINIDL_INLINE vf pick(vf a, vf b, vi index) {
#if defined(__AVX512F__)
  return (vf)_mm512_permutex2var_ps((__m512)a, (__m512i)index, (__m512)b);
#elif defined(__AVX2__)
  vf low = (vf)_mm256_permutevar8x32_ps((__m256)a, (__m256i)index);
  vf high = (vf)_mm256_permutevar8x32_ps((__m256)b, (__m256i)index);
  return index < W ? low : high;
#else
  float both[2 * W];
  store(both, a);
  store(both + W, b);
  vf v;
  for (int i = 0; i < W; i++) v[i] = both[index[i]];
  return v;
#endif
}

void combine_rows(const Resize& p) {
  parallel_chunks(p.outer * p.count, GRAIN / p.inner, [&](int64_t first, int64_t end) {
    for (int64_t row = first; row < end; row++) {
      const int64_t i = row % p.count;
      const float* x = p.x + row / p.count * p.size * p.inner;
      float* y = p.y + row * p.inner;
      if (!p.weight) {
        std::memcpy(y, x + p.index[i] * p.inner, sizeof(float) * static_cast<size_t>(p.inner));
        continue;
      }
      for_vectors(p.inner, [&](int64_t j, int64_t lanes) {
        vf sum{};
        for (int64_t k = 0; k < p.taps; k++)
          sum += load_n(x + p.index[k * p.count + i] * p.inner + j, lanes) * p.weight[k * p.count + i];
        store_n(y + j, sum, lanes);
      });
    }
  });
}

// Where W outputs' elements of a tap begin, and which of the 2 W from there each is.
struct Picks {
  Scratch<int64_t> start;
  Scratch<int32_t> lane;
  bool near = true;  // are there 2 W of them for each vector?
  explicit Picks(const Resize& p) : start(p.taps * ceil_div(p.count, W)), lane(p.taps * round_up(p.count, W)) {
    const int64_t vectors = ceil_div(p.count, W);
    for (int64_t k = 0; k < p.taps; k++)
      for (int64_t v = 0; v < vectors; v++) {
        const int64_t* index = p.index + k * p.count + v * W;
        const int64_t n = min<int64_t>(W, p.count - v * W);
        int64_t least = index[0];
        for (int64_t i = 1; i < n; i++) least = min(least, index[i]);
        start[k * vectors + v] = least;
        for (int64_t i = 0; i < W; i++) {
          const int64_t at = i < n ? index[i] - least : 0;
          near &= at < 2 * W;
          lane[(k * vectors + v) * W + i] = static_cast<int32_t>(at);
        }
      }
  }
};

void combine_elements(const Resize& p) {
  const Picks picks(p);
  const int64_t vectors = ceil_div(p.count, W);
  parallel_chunks(p.outer, GRAIN / p.count, [&](int64_t first, int64_t end) {
    for (int64_t row = first; row < end; row++) {
      const float* x = p.x + row * p.size;
      float* y = p.y + row * p.count;
      for (int64_t v = 0; v < vectors; v++) {
        vf sum{};
        const int64_t lanes = p.count - v * W;
        for (int64_t k = 0; k < p.taps; k++) {
          const int64_t at = picks.start[k * vectors + v], left = p.size - at;
          const int32_t* lane = picks.lane + (k * vectors + v) * W;
          vf part;
          if (picks.near) {
            part = pick(load_n(x + at, left), load_n(left > W ? x + at + W : x, left - W), load(lane));
          } else {
            for (int i = 0; i < W; i++) part[i] = x[at + lane[i]];
          }
          sum = p.weight ? sum + part * load_n(p.weight + k * p.count + v * W, lanes) : part;
        }
        store_n(y + v * W, sum, lanes);
      }
    }
  });
}

}  // namespace

void resize(const Resize& p) { p.inner == 1 ? combine_elements(p) : combine_rows(p); }

}  // namespace minidl::MINIDL_ISA
