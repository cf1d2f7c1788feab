// Mean pooling, of windows that slide, of parts of any length, and of whole planes.
//
// Each row is summed along its columns once, into a ring of rows that windows are made of. Sums are divided axis by
// axis, as in the op: the sum of a whole window might overflow where its mean does not.
#include "kernels/cpu/phases.h"
#include "kernels/cpu/pool/pool.h"
#include "kernels/cpu/pool/ring.h"

namespace minidl::MINIDL_ISA {
namespace {

template <int K>
void sum_row(const Phases& phases, const float* line, const int64_t* tap, const float* divisor, float* sums) {
  const int64_t kernel = K ? K : phases.w.kernel, n = phases.w.count;
  for (int64_t i = 0; i < n; i += W) {
    vf total = load(line + tap[0] + i);
    for (int64_t k = 1; k < kernel; k++) total += load(line + tap[k] + i);
    store(sums + i, total / load(divisor + i));
  }
}

template <int K>
void forward(const MeanPool& p) {
  const Windows &rows = p.rows, &columns = p.columns;
  const Phases phases(columns);
  const int64_t width = round_up(columns.count, W), slots = (rows.kernel - 1) * rows.dilation + 1;
  Scratch<int64_t> tap(columns.kernel);
  Scratch<float> divisor(width);
  for (int64_t k = 0; k < columns.kernel; k++) tap[k] = phases.tap(k);
  for (int64_t i = 0; i < width; i++) divisor[i] = i < columns.count ? p.column_divisor[i] : 1;
  parallel_chunks(p.planes * rows.count, POOL_GRAIN / max<int64_t>(1, columns.size * rows.stride),
                  [&](int64_t begin, int64_t end) {
                    Scratch<float> line(phases.floats()), sums(slots * width);
                    Ring ring(slots);
                    phases.clear(line, 0);
                    for (int64_t out = begin; out < end; out++) {
                      const int64_t plane = out / rows.count, window = out % rows.count;
                      const int64_t from = rows.first_tap(window), to = rows.end_tap(window);
                      for (int64_t r = from; r < to; r++) {
                        int64_t row = plane * rows.size + rows.at(window, r);
                        if (!ring.missing(row)) continue;
                        phases.fill<true>(p.x + row * columns.size, line);
                        sum_row<K>(phases, line, tap, divisor, sums + ring.slot(row) * width);
                      }
                      for (int64_t i = 0; i < columns.count; i += W) {
                        vf total{};
                        for (int64_t r = from; r < to; r++)
                          total += load(sums + ring.slot(plane * rows.size + rows.at(window, r)) * width + i);
                        store_n(p.y + out * columns.count + i, total / p.row_divisor[window], columns.count - i);
                      }
                    }
                  });
}

}  // namespace

void mean_pool_forward(const MeanPool& p) {
  if (p.columns.kernel == 2) return forward<2>(p);
  if (p.columns.kernel == 3) return forward<3>(p);
  forward<0>(p);
}

void mean_pool_backward(const MeanPool& p) {  // x is the gradient of the means, y that of the elements
  const Windows &rows = p.rows, &columns = p.columns;
  const int64_t width = padded_row(columns);
  const Gather gather(columns);
  parallel_chunks(p.planes * rows.size, POOL_GRAIN / max<int64_t>(1, columns.size), [&](int64_t begin, int64_t end) {
    Scratch<float> share(width);  // what the windows that see a row give to each of its elements
    std::memset(share.get(), 0, sizeof(float) * static_cast<size_t>(width));
    for (int64_t row = begin; row < end; row++) {
      const int64_t plane = row / rows.size;
      float* to = share + margin(columns);
      for (int64_t i = 0; i < columns.count; i += W) {
        vf total{};
        for_windows_seeing(rows, row % rows.size, [&](int64_t window, int64_t) {
          total += load_n(p.x + (plane * rows.count + window) * columns.count + i, columns.count - i) /
                   p.row_divisor[window];
        });
        vf divisor = load_n(p.column_divisor + i, columns.count - i);
        store_n(to + i, total / divisor, columns.count - i);  // (lanes beyond are not stored)
      }
      gather.row(p.y + row * columns.size, [&](int64_t window, int64_t, vf& total) { total += load(to + window); });
    }
  });
}

void parts_pool_forward(const PartsPool& p) {
  const Parts &rows = p.rows, &columns = p.columns;
  const int64_t n = columns.size;
  parallel_chunks(p.planes * rows.count, POOL_GRAIN / max<int64_t>(1, n * rows.size / max<int64_t>(1, rows.count)),
                  [&](int64_t begin, int64_t end) {
                    Scratch<float> mean(n);
                    for (int64_t out = begin; out < end; out++) {
                      const int64_t part = out % rows.count, from = rows.start[part], to = rows.end[part];
                      const float* x = p.x + (out / rows.count * rows.size + from) * n;
                      for (int64_t i = 0; i < n; i += W) {
                        vf total{};
                        for (int64_t r = 0; r < to - from; r++) total += load_n(x + r * n + i, n - i);
                        store_n(mean + i, total / static_cast<float>(to - from), n - i);
                      }
                      for (int64_t c = 0; c < columns.count; c++) {
                        float total = 0;
                        for (int64_t i = columns.start[c]; i < columns.end[c]; i++) total += mean[i];
                        p.y[out * columns.count + c] = total / static_cast<float>(columns.end[c] - columns.start[c]);
                      }
                    }
                  });
}

void parts_pool_backward(const PartsPool& p) {  // x is the gradient of the means, y that of the elements
  const Parts &rows = p.rows, &columns = p.columns;
  const int64_t n = columns.size;
  parallel_chunks(p.planes, POOL_GRAIN / max<int64_t>(1, n * rows.size), [&](int64_t begin, int64_t end) {
    Scratch<float> share(n);
    for (int64_t plane = begin; plane < end; plane++) {
      float* y = p.y + plane * rows.size * n;
      std::memset(y, 0, sizeof(float) * static_cast<size_t>(rows.size * n));
      for (int64_t part = 0; part < rows.count; part++) {
        const float length = static_cast<float>(rows.end[part] - rows.start[part]);
        std::memset(share.get(), 0, sizeof(float) * static_cast<size_t>(n));
        for (int64_t c = 0; c < columns.count; c++) {
          float each = p.x[(plane * rows.count + part) * columns.count + c] / length /
                       static_cast<float>(columns.end[c] - columns.start[c]);
          for (int64_t i = columns.start[c]; i < columns.end[c]; i++) share[i] += each;
        }
        for (int64_t r = rows.start[part]; r < rows.end[part]; r++)
          for (int64_t i = 0; i < n; i += W)
            store_n(y + r * n + i, load_n(y + r * n + i, n - i) + load_n(share + i, n - i), n - i);
      }
    }
  });
}

void plane_mean_forward(const PlaneMean& p) {
  parallel_chunks(p.planes, POOL_GRAIN / max<int64_t>(1, p.size), [&](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; plane++) {
      const float* x = p.x + plane * p.size;
      vf chain[4] = {};
      int64_t i = 0;
      for (; i + 4 * W <= p.size; i += 4 * W)
        for (int c = 0; c < 4; c++) chain[c] += load(x + i + c * W);
      for (; i < p.size; i += W) chain[0] += load_n(x + i, p.size - i);
      p.y[plane] = sum((chain[0] + chain[1]) + (chain[2] + chain[3])) / static_cast<float>(p.size);
    }
  });
}

void plane_mean_backward(const PlaneMean& p) {
  parallel_chunks(p.planes, POOL_GRAIN / max<int64_t>(1, p.size), [&](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; plane++) {
      vf share = splatf(p.x[plane] / static_cast<float>(p.size));
      for (int64_t i = 0; i < p.size; i += W) store_n(p.y + plane * p.size + i, share, p.size - i);
    }
  });
}

}  // namespace minidl::MINIDL_ISA
