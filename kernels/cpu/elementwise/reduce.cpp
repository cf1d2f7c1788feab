// Reductions: first along rows, which are contiguous, then over rows, column by column.
//
// Sums run in float32 over pieces that the shape alone decides, each lane adding 16 sums of 4 numbers, or 256 over
// rows, at most, and in float64 over the pieces, in order: about as precise as pairwise summation, and the same bits at
// any number of threads.
#include "kernels/cpu/elementwise/reduce.h"

#include "kernels/cpu/elementwise/map.h"

namespace minidl::MINIDL_ISA {
namespace {

constexpr int64_t PIECE = 256 * W;  // elements of a row that are summed in float32: 64 a lane
constexpr int64_t COLUMNS = 1024;   // of a task over rows: they stay in L1

struct Sum {
  static constexpr float START = 0;
  template <class T>
  static MINIDL_INLINE T join(T a, T b) {
    return a + b;
  }
};
struct Max {  // NaN if any is
  static constexpr float START = -__builtin_inff();
  static MINIDL_INLINE vf join(vf a, vf b) { return a == a ? vmax(a, b) : a; }
  static MINIDL_INLINE double join(double a, double b) { return a == a ? (a > b ? a : b) : a; }
};
struct Min {
  static constexpr float START = __builtin_inff();
  static MINIDL_INLINE vf join(vf a, vf b) { return a == a ? vmin(a, b) : a; }
  static MINIDL_INLINE double join(double a, double b) { return a == a ? (a < b ? a : b) : a; }
};

template <class F>
MINIDL_INLINE double piece(const float* x, int64_t n) {
  const vf start = splatf(F::START);
  vf chain[4] = {start, start, start, start};
  int64_t i = 0;
  for (; i + 16 * W <= n; i += 16 * W) {
    MINIDL_UNROLL
    for (int c = 0; c < 4; c++) {
      const float* at = x + i + 4 * c * W;
      vf four = F::join(F::join(load(at), load(at + W)), F::join(load(at + 2 * W), load(at + 3 * W)));
      chain[c] = F::join(chain[c], four);
    }
  }
  for (; i + W <= n; i += W) chain[0] = F::join(chain[0], load(x + i));
  if (i < n) chain[1] = F::join(chain[1], lane_index() < static_cast<int32_t>(n - i) ? load_n(x + i, n - i) : start);
  return fold(F::join(F::join(chain[0], chain[1]), F::join(chain[2], chain[3])),
              [](vf a, vf b) { return F::join(a, b); });
}

template <class F>
MINIDL_INLINE double row(const float* x, int64_t n) {
  double total = F::START;
  for (int64_t i = 0; i < n; i += PIECE) total = F::join(total, piece<F>(x + i, min(PIECE, n - i)));
  return total;
}

// y[i] of rows of n; long rows by several tasks.
template <class F>
void along_rows(const float* x, float* y, int64_t rows, int64_t n, double divisor) {
  const int64_t parts = ceil_div(n, CHUNK);
  if (parts == 1)
    return parallel_chunks(rows, CHUNK / n, [&](int64_t i, int64_t end) {
      for (; i < end; i++) y[i] = static_cast<float>(row<F>(x + i * n, n) / divisor);
    });
  Scratch<double> totals(rows * parts);
  parallel_for(rows * parts, [&](int64_t i) {
    const int64_t from = i % parts * CHUNK;
    totals[i] = row<F>(x + i / parts * n + from, min(CHUNK, n - from));
  });
  for (int64_t i = 0; i < rows; i++) {
    double total = totals[i * parts];
    for (int64_t part = 1; part < parts; part++) total = F::join(total, totals[i * parts + part]);
    y[i] = static_cast<float>(total / divisor);
  }
}

// y[j] of `rows` rows of n, `stride` apart, j in [0, n), four rows at a time.
template <class F>
MINIDL_INLINE void over_part(const float* x, float* y, int64_t rows, int64_t n, int64_t stride) {
  for (int64_t j = 0; j < n; j += W) store_n(y + j, splatf(F::START), n - j);
  int64_t i = 0;
  for (; i + 4 <= rows; i += 4, x += 4 * stride)
    for_vectors(n, [&](int64_t j, int64_t lanes) MINIDL_HERE {
      vf a = F::join(load_n(x + j, lanes), load_n(x + stride + j, lanes));
      vf b = F::join(load_n(x + 2 * stride + j, lanes), load_n(x + 3 * stride + j, lanes));
      store_n(y + j, F::join(load_n(y + j, lanes), F::join(a, b)), lanes);
    });
  for (; i < rows; i++, x += stride)
    for_vectors(n, [&](int64_t j, int64_t lanes)
                       MINIDL_HERE { store_n(y + j, F::join(load_n(y + j, lanes), load_n(x + j, lanes)), lanes); });
}

// y[k, j] of x[k, rows, n], over the rows: parts of them by tasks, then over the parts.
template <class F>
void over_rows(const float* x, float* y, int64_t count, int64_t rows, int64_t n, double divisor) {
  const int64_t height = min<int64_t>(1024, max<int64_t>(32, 4 * CHUNK / n)), parts = ceil_div(rows, height);
  const int64_t slices = ceil_div(n, COLUMNS);
  Scratch<float> partial(count * parts * n);
  parallel_for(count * parts * slices, [&](int64_t task) {
    const int64_t from = task % slices * COLUMNS, part = task / slices % parts, k = task / slices / parts;
    over_part<F>(x + (k * rows + part * height) * n + from, partial + (k * parts + part) * n + from,
                 min(height, rows - part * height), min(COLUMNS, n - from), n);
  });
  parallel_for(count * slices, [&](int64_t task) {
    const int64_t from = task % slices * COLUMNS, k = task / slices, size = min(COLUMNS, n - from);
    double total[COLUMNS];
    for (int64_t j = 0; j < size; j++) total[j] = F::START;
    for (int64_t part = 0; part < parts; part++)
      for (int64_t j = 0; j < size; j++)
        total[j] = F::join(total[j], static_cast<double>(partial[(k * parts + part) * n + from + j]));
    for (int64_t j = 0; j < size; j++) y[k * n + from + j] = static_cast<float>(total[j] / divisor);
  });
}

template <class F>
void by_axes(const Reduce& p) {
  if (p.k2 == 1) return along_rows<F>(p.x, p.y, p.k1, p.r1 * p.r2, p.divisor);
  if (p.r1 == 1) return along_rows<F>(p.x, p.y, p.k1 * p.k2, p.r2, p.divisor);
  if (p.r2 == 1) return over_rows<F>(p.x, p.y, p.k1, p.r1, p.k2, p.divisor);
  Scratch<float> rows(p.k1 * p.r1 * p.k2);
  along_rows<F>(p.x, rows, p.k1 * p.r1 * p.k2, p.r2, 1);
  over_rows<F>(rows, p.y, p.k1, p.r1, p.k2, p.divisor);
}

}  // namespace

void reduce(const Reduce& p) {
  switch (p.function) {
    case Reduction::sum:
      return by_axes<Sum>(p);
    case Reduction::max:
      return by_axes<Max>(p);
    case Reduction::min:
      return by_axes<Min>(p);
  }
}

}  // namespace minidl::MINIDL_ISA
