// The gradient of 3 x 3 filters by Winograd's algorithm, F(2 x 2, 3 x 3) turned around: with y = AT [(G w G^T) * (BT d
// B)] A, the gradient of w is G^T [sum over tiles of (A g A^T) * (BT d B)] G: 16 products (outputs, tiles) (tiles,
// inputs), where the direct way has 36.
//
// Tile rows are taken in blocks that stay in cache; each block adds to the 16 sums, in order.
#include "kernels/cpu/conv/winograd_tiles.h"
#include "kernels/cpu/gemm.h"

namespace minidl::MINIDL_ISA {
namespace {

constexpr int M = 2, A = M + 2, AA = A * A;
constexpr int64_t BLOCK = 8 << 20;  // bytes of transformed patches and gradients at a time

// (outputs, inputs) of each of the 16 sums to (outputs, inputs, 3, 3).
void transform_back(const WinogradWeight& p, const float* sums, int64_t step) {
  parallel_chunks(p.outputs, max<int64_t>(1, 4096 / p.inputs), [&](int64_t first, int64_t end) {
    alignas(64) float taps[9 * W], filters[9 * W + W];
    for (int64_t o = first; o < end; o++)
      for (int64_t i = 0; i < p.inputs; i += W) {
        const int64_t lanes = min<int64_t>(W, p.inputs - i);
        vf u[AA], w[9];
        for (int k = 0; k < AA; k++) u[k] = load_n(sums + k * step + o * p.inputs + i, lanes);
        transform(Transforms<M>::GT, u, w);
        for (int k = 0; k < 9; k++) store(taps + k * W, w[k]);
        pack(taps, int64_t{W}, int64_t{1}, 9, lanes, filters, 9);
        std::memcpy(p.gweight + (o * p.inputs + i) * 9, filters, sizeof(float) * static_cast<size_t>(9 * lanes));
      }
  });
}

}  // namespace

void winograd_weight(const WinogradWeight& p) {
  const Windows of_g_rows{p.rows.count, 1, 1, 1, 0, p.rows.count}, of_g{p.columns.count, 1, 1, 1, 0, p.columns.count};
  const Tiles t(M, p.n, p.rows, p.columns);
  const Phases of_patches(of_squares(p.columns, A, M, t.across)), of_outputs(of_squares(of_g, M, M, t.across));
  const int64_t fit = BLOCK / (static_cast<int64_t>(sizeof(float)) * AA * (p.inputs + p.outputs));
  const int64_t blocks = ceil_div(t.rows, max<int64_t>(1, max<int64_t>(fit, 64) / t.across));
  const int64_t tiles = round_up(ceil_div(t.rows, blocks) * t.across, NR<float>),
                step = winograd_stride(p.outputs, p.inputs);
  const int64_t patch_step = apart(p.inputs, tiles), g_step = apart(p.outputs, tiles);
  Scratch<float> patches(AA * patch_step), gradients(AA * g_step), sums(AA * step);
  const int64_t plane = p.rows.size * p.columns.size, g_plane = p.rows.count * p.columns.count;
  for (int64_t block = 0; block < blocks; block++) {
    const int64_t first = t.rows * block / blocks, end = t.rows * (block + 1) / blocks, used = (end - first) * t.across;
    parallel_chunks(p.inputs + p.outputs, 8, [&](int64_t c0, int64_t c1) {
      Scratch<float> line(max(of_patches.floats(), of_outputs.floats())), taps(AA * (tiles + W));
      std::memset(taps.get(), 0, sizeof(float) * static_cast<size_t>(AA * (tiles + W)));
      bool of_x = false;
      for (int64_t c = c0; c < c1; c++)
        if (c < p.inputs) {
          if (!of_x) of_patches.clear(line, 0);
          of_x = true;
          transform_squares<M>(Transforms<M>::BT, p.x + c * plane, p.inputs * plane, p.rows, p.columns, t, of_patches,
                               first, end, tiles, line, taps, patch_step,
                               [&](int64_t tile) { return patches + c * tiles + tile; });
        } else {
          const int64_t o = c - p.inputs;
          if (of_x || c == c0) of_outputs.clear(line, 0);
          of_x = false;
          transform_squares<M>(Transforms<M>::A, p.g + o * g_plane, p.outputs * g_plane, of_g_rows, of_g, t, of_outputs,
                               first, end, tiles, line, taps, g_step,
                               [&](int64_t tile) { return gradients + o * tiles + tile; });
        }
    });
    const int64_t parts = max<int64_t>(1, min<int64_t>(4, p.outputs / (4 * MR)));
    parallel_for(AA * parts, [&](int64_t task) {
      const int64_t k = task / parts, o0 = p.outputs * (task % parts) / parts,
                    o1 = p.outputs * (task % parts + 1) / parts;
      gemm<float>(o1 - o0, p.inputs, used, gradients + k * g_step + o0 * tiles, tiles, 1, patches + k * patch_step, 1,
                  tiles, sums + k * step + o0 * p.inputs, p.inputs, {}, block > 0);
    });
  }
  transform_back(p, sums, step);
}

}  // namespace minidl::MINIDL_ISA
