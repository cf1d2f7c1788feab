// Layer and RMS norm: the row stays in cache between its passes, so memory is read once and written once.
//
// Gradients of weight and bias are summed in blocks of rows that the shape alone decides, then over the blocks in
// order: same bits at any thread count.
#include "kernels/cpu/norm/row_norm.h"

#include "kernels/cpu/norm/standardise.h"

namespace minidl::MINIDL_ISA {
namespace {

double mean_square(const float* x, int64_t n) {
  double all = 0;
  for (int64_t start = 0; start < n; start += PIECE) {
    Chains squares;
    for_chains(min(PIECE, n - start), [&](int64_t i, int64_t lanes, int c) {
      vf v = load_n(x + start + i, lanes);
      squares.chain[c] += v * v;
    });
    all += squares.total();
  }
  return all / static_cast<double>(n);
}

// Rows are looked at several at a time where they are short: one row's sums are on their way while the next one's
// begin.
constexpr int64_t MOST_TOGETHER = 8;
int64_t rows_together(int64_t elements) { return max<int64_t>(1, min(MOST_TOGETHER, PIECE / elements)); }

MINIDL_INLINE void statistics(const float* x, int64_t rows, int64_t n, bool centre, float eps, float* mean,
                              float* rstd) {
  double square[MOST_TOGETHER];
  for (int64_t r = 0; r < rows; r++) {
    mean[r] = 0;
    if (!centre) {
      square[r] = mean_square(x + r * n, n);
    } else if (n > PIECE) {
      Moments found = moments(x + r * n, 1, 0, n);
      mean[r] = static_cast<float>(found.mean);
      square[r] = found.variance();
    } else {
      mean[r] = mean_of_piece(x + r * n, 1, 0, n);
    }
  }
  if (centre && n <= PIECE)
    for (int64_t r = 0; r < rows; r++) square[r] = squares_of_piece(x + r * n, 1, 0, n, mean[r]) / n;
  for (int64_t r = 0; r < rows; r++) rstd[r] = static_cast<float>(1 / std::sqrt(square[r] + eps));
}

// Few enough for their sums to be cheap beside the rows, enough to keep all cores busy.
int64_t blocks_of(int64_t rows, int64_t columns) {
  return max<int64_t>(1, min(min<int64_t>(64, rows / 8), rows * columns / GRAIN));
}

}  // namespace

void row_norm_forward(const RowNormForward& p) {
  const int64_t n = p.columns, together = rows_together(n);
  const bool streamed = p.rows * n * 4 >= STREAMED;
  parallel_chunks(p.rows, GRAIN / n, [&](int64_t first, int64_t end) {
    for (int64_t start = first; start < end; start += together) {
      const int64_t rows = min(together, end - start);
      float mean[MOST_TOGETHER], rstd[MOST_TOGETHER];
      statistics(p.x + start * n, rows, n, p.mean != nullptr, p.eps, mean, rstd);
      for (int64_t r = 0, row = start; r < rows; r++, row++) {
        affine_row(p.y + row * n, p.x + row * n, p.weight, p.bias, mean[r], rstd[r], n, streamed);
        if (p.mean) p.mean[row] = mean[r];
        p.rstd[row] = rstd[r];
      }
    }
    stream_fence();
  });
}

void row_norm_backward(const RowNormBackward& p) {
  const int64_t n = p.columns, blocks = blocks_of(p.rows, n), together = rows_together(2 * n);
  const bool affine = p.gweight || p.gbias, streamed = p.rows * n * 4 >= STREAMED;
  Scratch<float> sums(affine ? blocks * 2 * n : 0);  // of each block: gweight, gbias
  parallel_for(blocks, [&](int64_t block) {
    float *gw = affine ? sums + block * 2 * n : nullptr, *gb = affine ? gw + n : nullptr;
    if (affine) std::memset(gw, 0, sizeof(float) * static_cast<size_t>(2 * n));
    const int64_t end = p.rows * (block + 1) / blocks;
    for (int64_t start = p.rows * block / blocks; start < end; start += together) {
      const int64_t rows = min(together, end - start);
      Carried carried[MOST_TOGETHER];
      for (int64_t r = 0, row = start; r < rows; r++, row++) {
        float mean = p.mean ? p.mean[row] : 0;
        carried[r] = carried_by_row(p.g + row * n, p.x + row * n, p.weight, mean, p.rstd[row], n, gw, gb);
        if (!p.mean) carried[r].mean = 0;
      }
      for (int64_t r = 0, row = start; r < rows; r++, row++) {
        float mean = p.mean ? p.mean[row] : 0;
        gradient_row(p.gx + row * n, p.g + row * n, p.x + row * n, p.weight, mean, p.rstd[row], n, carried[r],
                     streamed);
      }
    }
    stream_fence();
  });
  if (!affine) return;
  parallel_chunks(n, GRAIN / blocks, [&](int64_t first, int64_t end) {
    for (int64_t i = first; i < end; i += W) {
      vf gw{}, gb{};
      for (int64_t block = 0; block < blocks; block++) {
        gw += load_n(sums + block * 2 * n + i, end - i);
        gb += load_n(sums + (block * 2 + 1) * n + i, end - i);
      }
      if (p.gweight) store_n(p.gweight + i, gw, end - i);
      if (p.gbias) store_n(p.gbias + i, gb, end - i);
    }
  });
}

}  // namespace minidl::MINIDL_ISA
