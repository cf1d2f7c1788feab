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
  const int64_t n = at.row(), rows = rows_of_block(at);
  const float count = static_cast<float>(at.count());
  Scratch<float> means(blocks_of(at) * n), squares(blocks_of(at) * n), centre(n);
  Scratch<double> sums(at.channels);
  ColumnMaps maps(at);
  for_blocks(at, [&](int64_t block, int64_t first, int64_t end) {
    float* mean = means + block * n;
    sum_rows(mean, at, first, end, 1 / static_cast<float>(end - first),
             [&](int64_t row, int64_t i, int64_t lanes) { return load_n(p.x + row + i, lanes); });
    sum_rows(squares + block * n, at, first, end, 1, [&](int64_t row, int64_t i, int64_t lanes) {
      vf centred = load_n(p.x + row + i, lanes) - load_n(mean + i, lanes);
      return centred * centred;
    });
  });
  auto rows_in = [&](int64_t block) { return static_cast<float>(min(rows, at.batch - block * rows)); };
  parallel_chunks(at.channels, GRAIN / blocks_of(at) / at.length, [&](int64_t first, int64_t end) {
    join_blocks(sums, at, first, end, [&](int64_t block, int64_t i, int64_t lanes) {
      return load_n(means + block * n + i, lanes) * (rows_in(block) / count);
    });
    for (int64_t c = first; c < end; c++) {
      p.mean[c] = static_cast<float>(sums[c]);
      for (int64_t i = c * at.length; i < (c + 1) * at.length; i++) centre[i] = p.mean[c];
    }
    join_blocks(sums, at, first, end, [&](int64_t block, int64_t i, int64_t lanes) {
      vf step = load_n(means + block * n + i, lanes) - load_n(centre + i, lanes);
      return load_n(squares + block * n + i, lanes) + step * step * rows_in(block);
    });
    for (int64_t c = first; c < end; c++) maps.set(c, normalising(p, c, p.mean[c], sums[c] / count));
  });
  maps.apply<false>(p.y, p.x, nullptr);
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

// done(channel, its sums) for all of them.
template <class F>
void sums_of_short(const float* g, const float* x, const float* mean, const Layout& at, const F& done) {
  const int64_t n = at.row(), blocks = blocks_of(at);
  Scratch<float> of_g(blocks * n), of_product(blocks * n), centre(n);
  Scratch<double> gs(at.channels), products(at.channels);
  for (int64_t i = 0; i < n; i++) centre[i] = mean[i / at.length];
  for_blocks(at, [&](int64_t block, int64_t first, int64_t end) {
    sum_rows(of_g + block * n, at, first, end, 1,
             [&](int64_t row, int64_t i, int64_t lanes) { return load_n(g + row + i, lanes); });
    sum_rows(of_product + block * n, at, first, end, 1, [&](int64_t row, int64_t i, int64_t lanes) {
      return load_n(g + row + i, lanes) * (load_n(x + row + i, lanes) - load_n(centre + i, lanes));
    });
  });
  parallel_chunks(at.channels, GRAIN / blocks / at.length, [&](int64_t first, int64_t end) {
    auto of = [&](float* sums) {
      return [=](int64_t block, int64_t i, int64_t lanes) { return load_n(sums + block * n + i, lanes); };
    };
    join_blocks(gs, at, first, end, of(of_g));
    join_blocks(products, at, first, end, of(of_product));
    for (int64_t c = first; c < end; c++) done(c, Sums{gs[c], products[c]});
  });
}

// The same for long channels: parts of them, then all parts in order.
template <class F>
void sums_of_long(const float* g, const float* x, const float* mean, const Layout& at, const F& done) {
  const int64_t parts = parts_of(at);
  Scratch<Sums> found(at.channels * parts);
  for_parts(at, [&](int64_t part, int64_t c, int64_t first, int64_t end) {
    const int64_t from = (first * at.channels + c) * at.length;
    found[part] = sums_of(g + from, x + from, end - first, at.row(), at.length, mean[c]);
    if (parts == 1) done(c, found[c]);
  });
  for (int64_t c = 0; parts > 1 && c < at.channels; c++) {
    Sums all;
    for (int64_t i = c * parts; i < (c + 1) * parts; i++) all.g += found[i].g, all.product += found[i].product;
    done(c, all);
  }
}

}  // namespace

void batch_norm_forward(const BatchNormForward& p) {
  const Layout at{p.batch, p.channels, p.length};
  if (at.is_short()) return forward_of_short(p, at);
  const int64_t parts = parts_of(at);
  Scratch<Moments> found(at.channels * parts);
  Scratch<ChannelMap> maps(at.channels);
  auto map = [&](int64_t, int64_t c, int64_t first, int64_t end) {
    map_channel<false>(p.y, p.x, nullptr, at, c, first, end, maps[c]);
  };
  for_parts(at, [&](int64_t part, int64_t c, int64_t first, int64_t end) {
    found[part] = moments(p.x + (first * at.channels + c) * at.length, end - first, at.row(), at.length);
    if (parts > 1) return;
    maps[c] = normalising(p, c, found[c].mean, found[c].variance());
    map(part, c, first, end);
  });
  if (parts == 1) return;
  for (int64_t c = 0; c < at.channels; c++) {
    Moments all;
    for (int64_t part = 0; part < parts; part++) all.add(found[c * parts + part]);
    maps[c] = normalising(p, c, all.mean, all.variance());
  }
  for_parts(at, map);
}

void batch_norm_backward(const BatchNormBackward& p) {
  const Layout at{p.batch, p.channels, p.length};
  const double count = static_cast<double>(at.count());
  if (at.is_short()) {
    ColumnMaps maps(at);
    sums_of_short(p.g, p.x, p.mean, at, [&](int64_t c, const Sums& sums) { maps.set(c, gradient(p, c, count, sums)); });
    return maps.apply<true>(p.gx, p.x, p.g);
  }
  const int64_t parts = parts_of(at);
  Scratch<ChannelMap> maps(at.channels);
  auto map = [&](int64_t, int64_t c, int64_t first, int64_t end) {
    map_channel<true>(p.gx, p.x, p.g, at, c, first, end, maps[c]);
  };
  sums_of_long(p.g, p.x, p.mean, at, [&](int64_t c, const Sums& sums) {
    maps[c] = gradient(p, c, count, sums);
    if (parts == 1) map(c, c, 0, at.batch);
  });
  if (parts > 1) for_parts(at, map);
}

void channel_affine(const ChannelAffine& p) {
  const Layout at{p.batch, p.channels, p.length};
  auto map = [&](int64_t c) { return ChannelMap{p.mean ? p.mean[c] : 0, p.scale[c], 0, p.bias ? p.bias[c] : 0}; };
  if (at.is_short()) {
    ColumnMaps maps(at);
    for (int64_t c = 0; c < at.channels; c++) maps.set(c, map(c));
    return maps.apply<false>(p.y, p.x, nullptr);
  }
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
  at.is_short() ? sums_of_short(p.g, p.x, p.mean, at, keep) : sums_of_long(p.g, p.x, p.mean, at, keep);
}

}  // namespace minidl::MINIDL_ISA
