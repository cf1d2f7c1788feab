// Softmax and its logarithm over any axis: read once, written once.
#include "kernels/cpu/softmax/softmax.h"

#include "kernels/cpu/softmax/totals.h"

namespace minidl::MINIDL_ISA {
namespace {

constexpr int64_t KEPT = 65536;  // elements of a row whose exponentials are kept in cache

// -- rows -----------------------------------------------------------------------------------------------------------

void softmax_row(float* y, const float* x, int64_t n, float* kept, bool streamed) {
  if (n > KEPT) {
    const Total of = total_of_row(x, n);
    const float scale = static_cast<float>(1 / of.total);
    return write_row(y, n, streamed,
                     [&](int64_t i, int64_t lanes) { return vexp(load_n(x + i, lanes) - of.top) * scale; });
  }
  const float top = largest_of_row(x, n);
  double total = 0;
  for (int64_t start = 0; start < n; start += PIECE) {
    Chains sums;
    for_chains(min(PIECE, n - start), [&](int64_t k, int64_t lanes, int c) {
      const int64_t i = start + k;
      __builtin_prefetch(x + i + n);
      vf e = first_lanes(vexp(load_n(x + i, lanes) - top), lanes);
      store_n(kept + i, e, lanes);
      sums.chain[c] += e;
    });
    total += sums.total();
  }
  const float scale = static_cast<float>(1 / total);
  write_row(y, n, streamed, [&](int64_t i, int64_t lanes) { return load_n(kept + i, lanes) * scale; });
}

void log_softmax_row(float* y, const float* x, int64_t n, bool streamed) {
  const Total of = total_of_row(x, n);
  const float log_total = static_cast<float>(std::log(of.total));
  write_row(y, n, streamed, [&](int64_t i, int64_t lanes) {
    __builtin_prefetch(x + i + n);
    return load_n(x + i, lanes) - of.top - log_total;
  });
}

void gradient_row(float* gx, const float* g, const float* y, int64_t n, bool log, bool streamed) {
  double along = 0;
  for (int64_t start = 0; start < n; start += PIECE) {
    Chains sums;
    for_chains(min(PIECE, n - start), [&](int64_t i, int64_t lanes, int c) {
      vf gi = load_n(g + start + i, lanes);
      sums.chain[c] += log ? gi : gi * load_n(y + start + i, lanes);
    });
    along += sums.total();
  }
  const float sum = static_cast<float>(along);
  auto fetch = [&](int64_t i) {
    __builtin_prefetch(g + i + n);
    __builtin_prefetch(y + i + n);
  };
  if (log) {
    write_row(gx, n, streamed, [&](int64_t i, int64_t lanes) {
      fetch(i);
      return load_n(g + i, lanes) - vexp(load_n(y + i, lanes)) * sum;
    });
  } else {
    write_row(gx, n, streamed, [&](int64_t i, int64_t lanes) {
      fetch(i);
      return load_n(y + i, lanes) * (load_n(g + i, lanes) - sum);
    });
  }
}

// -- columns --------------------------------------------------------------------------------------------------------

void softmax_columns(float* y, const float* x, int64_t count, int64_t stride, int64_t width, bool streamed) {
  alignas(64) float top[WIDEST], total[WIDEST];
  largest_of_columns(top, x, count, stride, width);
  clear(total, width);
  Scratch<float> kept(streamed ? count * width : 0);
  float* e = streamed ? kept.get() : y;
  const int64_t e_stride = streamed ? width : stride;
  for_block(count, width, [&](int64_t k, int64_t i, int64_t lanes) {
    vf v = vexp(load_n(x + k * stride + i, lanes) - load_n(top + i, lanes));
    store_n(e + k * e_stride + i, v, lanes);
    add_to(total + i, v, lanes);
  });
  for_vectors(width, [&](int64_t i, int64_t lanes) { store_n(total + i, 1.f / load_n(total + i, lanes), lanes); });
  for (int64_t k = 0; k < count; k++)
    write_row(y + k * stride, width, streamed,
              [&](int64_t i, int64_t lanes) { return load_n(e + k * e_stride + i, lanes) * load_n(total + i, lanes); });
}

void log_softmax_columns(float* y, const float* x, int64_t count, int64_t stride, int64_t width, bool streamed) {
  alignas(64) float top[WIDEST], total[WIDEST];
  total_of_columns(top, total, x, count, stride, width);
  for_vectors(width, [&](int64_t i, int64_t lanes) { store_n(total + i, vlog(load_n(total + i, lanes)), lanes); });
  for (int64_t k = 0; k < count; k++)
    write_row(y + k * stride, width, streamed, [&](int64_t i, int64_t lanes) {
      return load_n(x + k * stride + i, lanes) - load_n(top + i, lanes) - load_n(total + i, lanes);
    });
}

void gradient_columns(float* gx, const float* g, const float* y, int64_t count, int64_t stride, int64_t width, bool log,
                      bool streamed) {
  alignas(64) float sums[WIDEST];
  clear(sums, width);
  for_block(count, width, [&](int64_t k, int64_t i, int64_t lanes) {
    vf gi = load_n(g + k * stride + i, lanes);
    add_to(sums + i, log ? gi : gi * load_n(y + k * stride + i, lanes), lanes);
  });
  for (int64_t k = 0; k < count; k++)
    write_row(gx + k * stride, width, streamed, [&](int64_t i, int64_t lanes) {
      vf gi = load_n(g + k * stride + i, lanes), yi = load_n(y + k * stride + i, lanes), sum = load_n(sums + i, lanes);
      return log ? gi - vexp(yi) * sum : yi * (gi - sum);
    });
}

}  // namespace

void softmax(const Softmax& p) {
  const int64_t n = p.count;
  const bool streamed = p.outer * n * p.inner * 4 >= STREAMED;
  if (p.inner > 1)
    return for_column_blocks(p.outer, n, p.inner, [&](int64_t at, int64_t, int64_t width) {
      (p.log ? log_softmax_columns : softmax_columns)(p.y + at, p.x + at, n, p.inner, width, streamed);
    });
  parallel_chunks(p.outer, GRAIN / n, [&](int64_t first, int64_t end) {
    const bool apart = streamed && !p.log && n <= KEPT;  // a row that is streamed later is kept apart until then
    Scratch<float> kept(apart ? n : 0);
    for (int64_t row = first; row < end; row++) {
      const float* x = p.x + row * n;
      float* y = p.y + row * n;
      p.log ? log_softmax_row(y, x, n, streamed) : softmax_row(y, x, n, apart ? kept.get() : y, streamed);
    }
    stream_fence();
  });
}

void softmax_backward(const SoftmaxBackward& p) {
  const int64_t n = p.count;
  const bool streamed = p.outer * n * p.inner * 4 >= STREAMED;
  if (p.inner > 1)
    return for_column_blocks(p.outer, n, p.inner, [&](int64_t at, int64_t, int64_t width) {
      gradient_columns(p.gx + at, p.g + at, p.y + at, n, p.inner, width, p.log, streamed);
    });
  parallel_chunks(p.outer, GRAIN / n, [&](int64_t first, int64_t end) {
    for (int64_t row = first; row < end; row++)
      gradient_row(p.gx + row * n, p.g + row * n, p.y + row * n, n, p.log, streamed);
    stream_fence();
  });
}

}  // namespace minidl::MINIDL_ISA
