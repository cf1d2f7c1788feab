// Batch norm: a channel stays in cache between its passes, so memory is read once and written once.
#include "kernels/cpu/norm/batch_norm.h"

#include "kernels/cpu/norm/channels.h"

namespace minidl::MINIDL_ISA {
namespace {

struct Sums {
  double g = 0, product = 0;  // product: of g and x - mean
};

// Over slices of n elements, `stride` apart; pieces of them in vectors, then in doubles.
Sums sums_of(const float* g, const float* x, int64_t slices, int64_t stride, int64_t n, float mean) {
  Sums all;
  const int64_t together = max<int64_t>(1, PIECE / n), piece = min(PIECE, n);
  for (int64_t s = 0; s < slices; s += together)
    for (int64_t start = 0; start < n; start += piece) {
      Chains of_g, of_product;
      for (int64_t t = s; t < min(s + together, slices); t++)
        for_chains(min(piece, n - start), [&](int64_t i, int64_t lanes, int c) {
          const int64_t at = t * stride + start + i;
          vf gi = load_n(g + at, lanes);
          of_g.chain[c] += gi;
          of_product.chain[c] += gi * (load_n(x + at, lanes) - mean);
        });
      all.g += of_g.total(), all.product += of_product.total();
    }
  return all;
}

// -- forward --------------------------------------------------------------------------------------------------------

ChannelMap normalising(const BatchNormForward& p, int64_t c, double mean, double variance) {
  p.mean[c] = static_cast<float>(mean), p.variance[c] = static_cast<float>(variance);
  p.rstd[c] = static_cast<float>(1 / std::sqrt(variance + p.eps));
  return {p.mean[c], p.weight ? p.rstd[c] * p.weight[c] : p.rstd[c], 0, p.bias ? p.bias[c] : 0};
}

void forward_of_short(const BatchNormForward& p, const Layout& at) {
  for_blocks(at, [&](int64_t c, int64_t channels) {
    const int64_t n = at.length, columns = channels * n;
    const double count = static_cast<double>(at.batch * n);
    const float* x = p.x + c * n;
    double means[COLUMNS], squares[COLUMNS];
    alignas(64) float centre[COLUMNS] = {};
    sum_columns(at, columns, means, [&](int64_t row, int64_t i, int64_t lanes) { return load_n(x + row + i, lanes); });
    join_columns(means, channels, n);
    for (int64_t i = 0; i < columns; i++) centre[i] = static_cast<float>(means[i / n] / count);
    sum_columns(at, columns, squares, [&](int64_t row, int64_t i, int64_t lanes) {
      vf centred = load_n(x + row + i, lanes) - load(centre + i);  // (lanes beyond are not looked at)
      return centred * centred;
    });
    join_columns(squares, channels, n);
    ChannelMap maps[COLUMNS];
    for (int64_t k = 0; k < channels; k++) maps[k] = normalising(p, c + k, means[k] / count, squares[k] / count);
    map_block<false>(p.y, p.x, nullptr, at, c, channels, maps);
  });
}

// -- backward -------------------------------------------------------------------------------------------------------

// gx = g * scale, and what the variance and the mean carry, which are outputs with gradients of their own.
ChannelMap gradient(const BatchNormBackward& p, int64_t c, double count, const Sums& sums) {
  const double rstd = p.rstd[c], product = sums.product * rstd, scale = p.weight ? rstd * p.weight[c] : rstd;
  p.gbias[c] = static_cast<float>(sums.g), p.gweight[c] = static_cast<float>(product);
  const double by_variance = (2 * p.gvariance[c] - scale * rstd * product) / count;
  const double by_mean = (p.gmean[c] - scale * sums.g) / count;
  return {p.mean[c], static_cast<float>(by_variance), static_cast<float>(scale), static_cast<float>(by_mean)};
}

void sums_of_block(const float* g, const float* x, const float* mean, const Layout& at, int64_t c, int64_t channels,
                   double* of_g, double* of_product) {
  const int64_t n = at.length, columns = channels * n;
  alignas(64) float centre[COLUMNS] = {};
  for (int64_t i = 0; i < columns; i++) centre[i] = mean[c + i / n];
  g += c * n, x += c * n;
  sum_columns(at, columns, of_g, [&](int64_t row, int64_t i, int64_t lanes) { return load_n(g + row + i, lanes); });
  sum_columns(at, columns, of_product, [&](int64_t row, int64_t i, int64_t lanes) {
    return load_n(g + row + i, lanes) * (load_n(x + row + i, lanes) - load(centre + i));
  });
  join_columns(of_g, channels, n);
  join_columns(of_product, channels, n);
}

}  // namespace

void batch_norm_forward(const BatchNormForward& p) {
  const Layout at{p.batch, p.channels, p.length};
  if (at.is_short()) return forward_of_short(p, at);
  auto found_in = [&](int64_t c, int64_t first, int64_t end) {
    return moments(p.x + (first * at.channels + c) * at.length, end - first, at.row(), at.length);
  };
  const int64_t parts = parts_of(at);
  if (parts == 1)
    return for_parts(at, [&](int64_t, int64_t c, int64_t first, int64_t end) {
      const Moments found = found_in(c, first, end);
      map_channel<false>(p.y, p.x, nullptr, at, c, first, end, normalising(p, c, found.mean, found.variance()));
    });
  Scratch<Moments> found(at.channels * parts);
  Scratch<ChannelMap> maps(at.channels);
  for_parts(at, [&](int64_t task, int64_t c, int64_t first, int64_t end) { found[task] = found_in(c, first, end); });
  for (int64_t c = 0; c < at.channels; c++) {
    Moments all;
    for (int64_t part = 0; part < parts; part++) all.add(found[c * parts + part]);
    maps[c] = normalising(p, c, all.mean, all.variance());
  }
  for_parts(at, [&](int64_t, int64_t c, int64_t first, int64_t end) {
    map_channel<false>(p.y, p.x, nullptr, at, c, first, end, maps[c]);
  });
}

void batch_norm_backward(const BatchNormBackward& p) {
  const Layout at{p.batch, p.channels, p.length};
  const double count = static_cast<double>(at.batch * at.length);
  if (at.is_short())
    return for_blocks(at, [&](int64_t c, int64_t channels) {
      double of_g[COLUMNS], of_product[COLUMNS];
      sums_of_block(p.g, p.x, p.mean, at, c, channels, of_g, of_product);
      ChannelMap maps[COLUMNS];
      for (int64_t k = 0; k < channels; k++) maps[k] = gradient(p, c + k, count, {of_g[k], of_product[k]});
      map_block<true>(p.gx, p.x, p.g, at, c, channels, maps);
    });
  auto found_in = [&](int64_t c, int64_t first, int64_t end) {
    const int64_t from = (first * at.channels + c) * at.length;
    return sums_of(p.g + from, p.x + from, end - first, at.row(), at.length, p.mean[c]);
  };
  const int64_t parts = parts_of(at);
  if (parts == 1)
    return for_parts(at, [&](int64_t, int64_t c, int64_t first, int64_t end) {
      map_channel<true>(p.gx, p.x, p.g, at, c, first, end, gradient(p, c, count, found_in(c, first, end)));
    });
  Scratch<Sums> found(at.channels * parts);
  Scratch<ChannelMap> maps(at.channels);
  for_parts(at, [&](int64_t task, int64_t c, int64_t first, int64_t end) { found[task] = found_in(c, first, end); });
  for (int64_t c = 0; c < at.channels; c++) {
    Sums all;
    for (int64_t part = 0; part < parts; part++)
      all.g += found[c * parts + part].g, all.product += found[c * parts + part].product;
    maps[c] = gradient(p, c, count, all);
  }
  for_parts(at, [&](int64_t, int64_t c, int64_t first, int64_t end) {
    map_channel<true>(p.gx, p.x, p.g, at, c, first, end, maps[c]);
  });
}

void channel_affine(const ChannelAffine& p) {
  const Layout at{p.batch, p.channels, p.length};
  auto map = [&](int64_t c) { return ChannelMap{p.mean ? p.mean[c] : 0, p.scale[c], 0, p.bias ? p.bias[c] : 0}; };
  if (at.is_short())
    return for_blocks(at, [&](int64_t c, int64_t channels) {
      ChannelMap maps[COLUMNS];
      for (int64_t k = 0; k < channels; k++) maps[k] = map(c + k);
      map_block<false>(p.y, p.x, nullptr, at, c, channels, maps);
    });
  parallel_chunks(at.batch * at.channels, GRAIN / at.length, [&](int64_t first, int64_t end) {
    for (int64_t slice = first; slice < end; slice++) {
      const int64_t b = slice / at.channels, c = slice % at.channels;
      map_channel<false>(p.y, p.x, nullptr, at, c, b, b + 1, map(c));
    }
    stream_fence();
  });
}

void channel_sums(const ChannelSums& p) {
  const Layout at{p.batch, p.channels, p.length};
  auto keep = [&](int64_t c, const Sums& sums) {
    p.total[c] = static_cast<float>(sums.g);
    p.product[c] = static_cast<float>(sums.product * p.rstd[c]);
  };
  if (at.is_short())
    return for_blocks(at, [&](int64_t c, int64_t channels) {
      double of_g[COLUMNS], of_product[COLUMNS];
      sums_of_block(p.g, p.x, p.mean, at, c, channels, of_g, of_product);
      for (int64_t k = 0; k < channels; k++) keep(c + k, {of_g[k], of_product[k]});
    });
  const int64_t parts = parts_of(at);
  Scratch<Sums> found(at.channels * parts);
  for_parts(at, [&](int64_t task, int64_t c, int64_t first, int64_t end) {
    const int64_t from = (first * at.channels + c) * at.length;
    found[task] = sums_of(p.g + from, p.x + from, end - first, at.row(), at.length, p.mean[c]);
  });
  for (int64_t c = 0; c < at.channels; c++) {
    Sums all;
    for (int64_t part = 0; part < parts; part++)
      all.g += found[c * parts + part].g, all.product += found[c * parts + part].product;
    keep(c, all);
  }
}

}  // namespace minidl::MINIDL_ISA
