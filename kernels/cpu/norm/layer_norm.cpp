// Layer norm by rows: the row stays in L1 between its passes, so memory is read once and written once.
//
// The variance is the mean of squared deviations from the mean, never E[x^2] - E[x]^2. Gradients of weight and bias are
// summed in blocks of rows that the shape alone decides, then over the blocks in order: same bits at any thread count.
#include "kernels/cpu/norm/layer_norm.h"

#include <cmath>

#include "kernels/cpu/simd.h"

namespace minidl::MINIDL_ISA {
namespace {

constexpr int64_t GRAIN = 16384;       // elements of one task

// Sum of f(i, lanes) over the columns in four chains, so that additions do not wait for each other.
template <class F> MINIDL_INLINE float sum_columns(int64_t columns, const F& f) {
  vf chain[4] = {};
  int64_t i = 0;
  for (; i + 4 * W <= columns; i += 4 * W)
    for (int c = 0; c < 4; c++) chain[c] += f(i + c * W, W);
  for (; i < columns; i += W) chain[0] += f(i, columns - i);
  return sum((chain[0] + chain[1]) + (chain[2] + chain[3]));
}

}  // namespace

void layer_norm_forward(const LayerNormForward& p) {
  const int64_t n = p.columns;
  parallel_chunks(p.rows, GRAIN / max<int64_t>(1, n), [&](int64_t first, int64_t end) {
    for (int64_t row = first; row < end; row++) {
      const float* x = p.x + row * n;
      float* y = p.y + row * n;
      float mean = sum_columns(n, [&](int64_t i, int64_t lanes) { return load_n(x + i, lanes); }) / n;
      float variance = sum_columns(n, [&](int64_t i, int64_t lanes) {
        vf centred = load_n(x + i, lanes) - mean;
        if (lanes < W) centred = lane_index() < static_cast<int32_t>(lanes) ? centred : vf{};
        return centred * centred;
      }) / n;
      float rstd = 1 / std::sqrt(variance + p.eps);
      for (int64_t i = 0; i < n; i += W) {
        vf v = (load_n(x + i, n - i) - mean) * rstd;
        if (p.weight) v *= load_n(p.weight + i, n - i);
        if (p.bias) v += load_n(p.bias + i, n - i);
        store_n(y + i, v, n - i);
      }
      p.mean[row] = mean;
      p.rstd[row] = rstd;
    }
  });
}

void layer_norm_backward(const LayerNormBackward& p) {
  const int64_t n = p.columns;
  const int64_t blocks = min<int64_t>(64, max<int64_t>(1, p.rows * n / GRAIN));
  Scratch<float> sums(blocks * 2 * n);             // of each block: gweight, gbias
  parallel_for(blocks, [&](int64_t block) {
    float *gw = sums + block * 2 * n, *gb = gw + n;
    std::memset(gw, 0, sizeof(float) * static_cast<size_t>(2 * n));
    for (int64_t row = p.rows * block / blocks; row < p.rows * (block + 1) / blocks; row++) {
      const float *g = p.g + row * n, *x = p.x + row * n;
      float mean = p.mean[row], rstd = p.rstd[row];
      auto weighted = [&](int64_t i, int64_t lanes) {
        vf v = load_n(g + i, lanes);
        return p.weight ? v * load_n(p.weight + i, lanes) : v;
      };
      float along_mean = sum_columns(n, weighted) / n;
      float along_x = sum_columns(n, [&](int64_t i, int64_t lanes) {
        return weighted(i, lanes) * ((load_n(x + i, lanes) - mean) * rstd);      // (lanes beyond: the first factor is 0)
      }) / n;
      for (int64_t i = 0; i < n; i += W) {
        vf gi = load_n(g + i, n - i), xhat = (load_n(x + i, n - i) - mean) * rstd;
        store_n(gw + i, load_n(gw + i, n - i) + gi * xhat, n - i);
        store_n(gb + i, load_n(gb + i, n - i) + gi, n - i);
        store_n(p.gx + row * n + i, rstd * (weighted(i, n - i) - along_mean - xhat * along_x), n - i);
      }
    }
  });
  for (int64_t i = 0; i < n; i += W) {
    vf gw{}, gb{};
    for (int64_t block = 0; block < blocks; block++) {
      gw += load_n(sums + block * 2 * n + i, n - i);
      gb += load_n(sums + (block * 2 + 1) * n + i, n - i);
    }
    if (p.gweight) store_n(p.gweight + i, gw, n - i);
    if (p.gbias) store_n(p.gbias + i, gb, n - i);
  }
}

}  // namespace minidl::MINIDL_ISA
