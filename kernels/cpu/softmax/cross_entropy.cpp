// Cross entropy of scores: no array as large as the scores but the gradient, which is written in one pass.
#include "kernels/cpu/softmax/cross_entropy.h"

#include "kernels/cpu/softmax/totals.h"

namespace minidl::MINIDL_ISA {
namespace {

MINIDL_INLINE vf weight_or_1(const float* weight, int64_t i, int64_t lanes) {
  return weight ? load_n(weight + i, lanes) : first_lanes(splatf(1), lanes);
}

// f(example) for all, in tasks of some.
template <class F>
MINIDL_INLINE void for_examples(int64_t examples, int64_t classes, const F& f) {
  parallel_chunks(examples, GRAIN / classes, [&](int64_t first, int64_t end) {
    for (int64_t e = first; e < end; e++) f(e);
    stream_fence();
  });
}

// Sums over a row of f(i, lanes), in pieces.
template <class F>
MINIDL_INLINE double sum_of_row(int64_t n, const F& f) {
  double all = 0;
  for (int64_t start = 0; start < n; start += PIECE) {
    Chains sums;
    for_chains(min(PIECE, n - start), [&](int64_t i, int64_t lanes, int c) { sums.chain[c] += f(start + i, lanes); });
    all += sums.total();
  }
  return all;
}

double weight_of_all(const float* weight, int64_t classes) {
  return weight ? sum_of_row(classes, [&](int64_t i, int64_t lanes) { return load_n(weight + i, lanes); })
                : static_cast<double>(classes);
}

void label_loss_of_rows(const LabelLoss& p) {
  const int64_t n = p.classes;
  const double all = weight_of_all(p.weight, n);
  for_examples(p.outer, n, [&](int64_t e) {
    const float* x = p.x + e * n;
    const Total of = total_of_row(x, n);
    const double log_total = std::log(of.total);
    p.top[e] = of.top, p.total[e] = static_cast<float>(of.total);
    p.nll[e] = static_cast<float>(log_total - (static_cast<double>(x[p.labels[e]]) - of.top));
    if (!p.nll_of_all) return;
    const double sum = sum_of_row(
        n, [&](int64_t i, int64_t lanes) { return weight_or_1(p.weight, i, lanes) * (load_n(x + i, lanes) - of.top); });
    p.nll_of_all[e] = static_cast<float>(log_total * all - sum);
  });
}

void soft_loss_of_rows(const SoftLoss& p) {
  const int64_t n = p.classes;
  for_examples(p.outer, n, [&](int64_t e) {
    const float *x = p.x + e * n, *target = p.target + e * n;
    const Total of = total_of_row(x, n);
    auto share = [&](int64_t i, int64_t lanes) {
      return weight_or_1(p.weight, i, lanes) * (load_n(target + i, lanes) * p.kept + p.share);
    };
    const double mass = sum_of_row(n, share);
    const double matched =
        sum_of_row(n, [&](int64_t i, int64_t lanes) { return share(i, lanes) * (load_n(x + i, lanes) - of.top); });
    p.top[e] = of.top, p.total[e] = static_cast<float>(of.total), p.mass[e] = static_cast<float>(mass);
    p.nll[e] = static_cast<float>(mass * std::log(of.total) - matched);
  });
}

}  // namespace

void label_loss(const LabelLoss& p) {
  if (p.inner == 1) return label_loss_of_rows(p);
  const int64_t n = p.inner;
  const float all = static_cast<float>(weight_of_all(p.weight, p.classes));
  for_column_blocks(p.outer, p.classes, n, [&](int64_t at, int64_t column, int64_t width) {
    const float* x = p.x + at;
    float *top = p.top + column, *total = p.total + column, *nll = p.nll + column;
    total_of_columns(top, total, x, p.classes, n, width);
    for_vectors(width, [&](int64_t i, int64_t lanes) { store_n(nll + i, vlog(load_n(total + i, lanes)), lanes); });
    if (p.nll_of_all) {
      float* spread = p.nll_of_all + column;
      for_vectors(width, [&](int64_t i, int64_t lanes) { store_n(spread + i, load_n(nll + i, lanes) * all, lanes); });
      for_block(p.classes, width, [&](int64_t k, int64_t i, int64_t lanes) {
        vf below = load_n(top + i, lanes) - load_n(x + k * n + i, lanes);
        add_to(spread + i, p.weight ? below * p.weight[k] : below, lanes);
      });
    }
    for (int64_t i = 0; i < width; i++) nll[i] -= x[p.labels[column + i] * n + i] - top[i];
  });
}

void label_gradient(const LabelGradient& p) {
  const int64_t n = p.inner, classes = p.classes;
  const bool streamed = p.outer * classes * n * 4 >= STREAMED;
  if (n == 1)
    return for_examples(p.outer, classes, [&](int64_t e) {
      const float *x = p.x + e * classes, top = p.top[e], scale = p.scale[e], spread = p.spread ? p.spread[e] : 0;
      auto others = [&](int64_t i, int64_t lanes) {
        vf v = vexp(load_n(x + i, lanes) - top) * scale;
        return p.spread ? v - weight_or_1(p.weight, i, lanes) * spread : v;
      };
      float* gx = p.gx + e * classes;
      const int64_t label = p.labels[e], after = label + 1;
      write_row(gx, label, streamed, others);
      gx[label] = others(label, 1)[0] - p.own[e];
      write_row(gx + after, classes - after, streamed,
                [&](int64_t i, int64_t lanes) { return others(after + i, lanes); });
    });
  for_column_blocks(p.outer, classes, n, [&](int64_t at, int64_t column, int64_t width) {
    const float *x = p.x + at, *top = p.top + column, *scale = p.scale + column, *own = p.own + column;
    alignas(64) int32_t labels[WIDEST];
    for (int64_t i = 0; i < width; i++) labels[i] = static_cast<int32_t>(p.labels[column + i]);
    for (int64_t k = 0; k < classes; k++)
      write_row(p.gx + at + k * n, width, streamed, [&](int64_t i, int64_t lanes) {
        vf v = vexp(load_n(x + k * n + i, lanes) - load_n(top + i, lanes)) * load_n(scale + i, lanes);
        if (p.spread) v -= load_n(p.spread + column + i, lanes) * (p.weight ? p.weight[k] : 1.f);
        return v - (load(labels + i) == static_cast<int32_t>(k) ? load_n(own + i, lanes) : vf{});
      });
  });
}

void soft_loss(const SoftLoss& p) {
  if (p.inner == 1) return soft_loss_of_rows(p);
  const int64_t n = p.inner;
  for_column_blocks(p.outer, p.classes, n, [&](int64_t at, int64_t column, int64_t width) {
    const float *x = p.x + at, *target = p.target + at;
    float *top = p.top + column, *total = p.total + column, *mass = p.mass + column, *nll = p.nll + column;
    total_of_columns(top, total, x, p.classes, n, width);
    clear(mass, width);
    clear(nll, width);
    for_block(p.classes, width, [&](int64_t k, int64_t i, int64_t lanes) {
      vf share = load_n(target + k * n + i, lanes) * p.kept + p.share;
      if (p.weight) share *= p.weight[k];
      add_to(mass + i, share, lanes);
      add_to(nll + i, share * (load_n(top + i, lanes) - load_n(x + k * n + i, lanes)), lanes);
    });
    for_vectors(width, [&](int64_t i, int64_t lanes) {
      add_to(nll + i, load_n(mass + i, lanes) * vlog(load_n(total + i, lanes)), lanes);
    });
  });
}

void soft_gradient(const SoftGradient& p) {
  const int64_t n = p.inner, classes = p.classes;
  const bool streamed = p.outer * classes * n * 4 >= STREAMED;
  if (n == 1)
    return for_examples(p.outer, classes, [&](int64_t e) {
      const float *x = p.x + e * classes, *target = p.target + e * classes, top = p.top[e], scale = p.scale[e];
      write_row(p.gx + e * classes, classes, streamed, [&](int64_t i, int64_t lanes) {
        vf share = weight_or_1(p.weight, i, lanes) * (load_n(target + i, lanes) * p.kept + p.share);
        return vexp(load_n(x + i, lanes) - top) * scale - share * p.own[e];
      });
    });
  for_column_blocks(p.outer, classes, n, [&](int64_t at, int64_t column, int64_t width) {
    const float *x = p.x + at, *target = p.target + at, *top = p.top + column, *scale = p.scale + column;
    const float* own = p.own + column;
    for (int64_t k = 0; k < classes; k++)
      write_row(p.gx + at + k * n, width, streamed, [&](int64_t i, int64_t lanes) {
        vf share = load_n(target + k * n + i, lanes) * p.kept + p.share;
        if (p.weight) share *= p.weight[k];
        vf e = vexp(load_n(x + k * n + i, lanes) - load_n(top + i, lanes));
        return e * load_n(scale + i, lanes) - share * load_n(own + i, lanes);
      });
  });
}

}  // namespace minidl::MINIDL_ISA
