// Group and instance norm: a group stays in L2 between its passes.
//
// Where channels are long a channel's weight is one number; where they are short (a few elements) weights are spread
// over the elements first, and a group is one row with a weight per column.
#include "kernels/cpu/norm/group_norm.h"

#include "kernels/cpu/norm/spread.h"
#include "kernels/cpu/norm/standardise.h"

namespace minidl::MINIDL_ISA {
namespace {

// What a channel adds to the gradients: sums of g and of g * xhat.
struct ChannelSums {
  double g = 0, product = 0;
};

MINIDL_INLINE ChannelSums channel_sums(const float* g, const float* x, float mean, float rstd, int64_t n) {
  ChannelSums sums;
  for (int64_t start = 0; start < n; start += PIECE) {
    Chains of_g, of_product;
    for_chains(min(PIECE, n - start), [&](int64_t i, int64_t lanes, int c) {
      vf gi = load_n(g + start + i, lanes);
      of_g.chain[c] += gi;
      of_product.chain[c] += gi * ((load_n(x + start + i, lanes) - mean) * rstd);
    });
    sums.g += of_g.total(), sums.product += of_product.total();
  }
  return sums;
}

void backward_of_long_channels(const GroupNormBackward& p) {
  const int64_t n = p.length, per_group = p.channels / p.groups, row = per_group * n, rows = p.batch * p.groups;
  const bool streamed = rows * row * 4 >= STREAMED;
  Scratch<float> sums(2 * p.batch * p.channels);  // of each channel of each sample: g * xhat, g
  parallel_chunks(rows, GRAIN / row, [&](int64_t first, int64_t end) {
    for (int64_t r = first; r < end; r++) {
      const float *g = p.g + r * row, *x = p.x + r * row, mean = p.mean[r], rstd = p.rstd[r];
      const float* weight = p.weight ? p.weight + r % p.groups * per_group : nullptr;
      double along_mean = 0, along_x = 0;
      for (int64_t c = 0; c < per_group; c++) {
        ChannelSums of = channel_sums(g + c * n, x + c * n, mean, rstd, n);
        sums[2 * (r * per_group + c)] = static_cast<float>(of.product);
        sums[2 * (r * per_group + c) + 1] = static_cast<float>(of.g);
        double w = weight ? weight[c] : 1;
        along_mean += w * of.g, along_x += w * of.product;
      }
      const Carried carried{static_cast<float>(along_mean / row), static_cast<float>(along_x / row)};
      for (int64_t c = 0; c < per_group; c++)
        gradient_row(p.gx + r * row + c * n, g + c * n, x + c * n, EachIs{weight ? weight[c] : 1.f}, mean, rstd, n,
                     carried, streamed);
    }
    stream_fence();
  });
  for (int64_t c = 0; c < p.channels; c++) {
    double gw = 0, gb = 0;
    for (int64_t b = 0; b < p.batch; b++)
      gw += sums[2 * (b * p.channels + c)], gb += sums[2 * (b * p.channels + c) + 1];
    if (p.gweight) p.gweight[c] = static_cast<float>(gw);
    if (p.gbias) p.gbias[c] = static_cast<float>(gb);
  }
}

void backward_of_short_channels(const GroupNormBackward& p) {
  const int64_t n = p.channels * p.length, row = n / p.groups;
  const int64_t blocks = max<int64_t>(1, min(min<int64_t>(64, p.batch / 8), p.batch * n / GRAIN));
  Spread weight(p.weight, p.channels, p.length);
  Scratch<float> sums(blocks * 2 * n);  // of each block of samples: gweight, gbias by element
  parallel_for(blocks, [&](int64_t block) {
    float *gw = sums + block * 2 * n, *gb = gw + n;
    std::memset(gw, 0, sizeof(float) * static_cast<size_t>(2 * n));
    for (int64_t b = p.batch * block / blocks; b < p.batch * (block + 1) / blocks; b++)
      for (int64_t k = 0; k < p.groups; k++) {
        const int64_t r = b * p.groups + k, at = k * row;
        const float *g = p.g + r * row, *x = p.x + r * row, *w = weight.from(at);
        Carried carried = carried_by_row(g, x, w, p.mean[r], p.rstd[r], row, gw + at, gb + at);
        gradient_row(p.gx + r * row, g, x, w, p.mean[r], p.rstd[r], row, carried, false);
      }
  });
  for (int64_t c = 0; c < p.channels; c++) {
    double gw = 0, gb = 0;
    for (int64_t block = 0; block < blocks; block++)
      for (int64_t i = c * p.length; i < (c + 1) * p.length; i++)
        gw += sums[block * 2 * n + i], gb += sums[(block * 2 + 1) * n + i];
    if (p.gweight) p.gweight[c] = static_cast<float>(gw);
    if (p.gbias) p.gbias[c] = static_cast<float>(gb);
  }
}

}  // namespace

void group_norm_forward(const GroupNormForward& p) {
  const int64_t n = p.length, per_group = p.channels / p.groups, row = per_group * n, rows = p.batch * p.groups;
  const bool streamed = rows * row * 4 >= STREAMED, spread = n < SHORT;
  Spread weights(spread ? p.weight : nullptr, p.channels, n), biases(spread ? p.bias : nullptr, p.channels, n);
  parallel_chunks(rows, max(GRAIN / row, min<int64_t>(4, rows / 32)), [&](int64_t first, int64_t end) {
    for (int64_t r = first; r < end; r++) {
      const float* x = p.x + r * row;
      const int64_t ahead = row > 4 * GRAIN ? PIECE : r + 1 < end ? row : 0;  // the next group, if L2 has room for both
      float* y = p.y + r * row;
      const Moments found = moments(x, 1, 0, row);
      const float mean = static_cast<float>(found.mean),
                  rstd = static_cast<float>(1 / std::sqrt(found.variance() + p.eps));
      p.mean[r] = mean, p.rstd[r] = rstd;
      const int64_t channel = r % p.groups * per_group;
      if (spread || !(p.weight || p.bias)) {
        affine_row(y, x, weights.from(channel * n), biases.from(channel * n), mean, rstd, row, streamed);
        continue;
      }
      for (int64_t c = 0; c < per_group; c++) {
        float weight = p.weight ? p.weight[channel + c] : 1, bias = p.bias ? p.bias[channel + c] : 0;
        affine_row(y + c * n, x + c * n, EachIs{weight}, EachIs{bias}, mean, rstd, n, streamed, ahead);
      }
    }
    stream_fence();
  });
}

void group_norm_backward(const GroupNormBackward& p) {
  p.length < SHORT ? backward_of_short_channels(p) : backward_of_long_channels(p);
}

}  // namespace minidl::MINIDL_ISA
