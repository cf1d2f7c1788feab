// Materialised permutations: rows where the last axis is contiguous, else tiles transposed in registers.
//
// A tile is W x W: with AVX-512 it reads and writes whole cache lines, so strides of a power of 2, which map all rows
// to the same few sets of a cache, do no harm.
#include "kernels/cpu/elementwise/copy.h"

#include "kernels/cpu/rows.h"

namespace minidl::MINIDL_ISA {
namespace {

constexpr int64_t WHOLE = 16384;  // elements of one task

MINIDL_INLINE float* as_float(uint32_t* p) { return reinterpret_cast<float*>(p); }
MINIDL_INLINE const float* as_float(const uint32_t* p) { return reinterpret_cast<const float*>(p); }

// Steps through the places of the axes before the last one, in y's order, passing over the axis `skip`.
class Odometer {
 public:
  Odometer(const Copy& p, int64_t i, int skip = -1) : p_(p), skip_(skip) {
    for (int axis = p.axes - 2; axis >= 0; axis--) {
      if (axis == skip) continue;
      at_[axis] = i % p.sizes[axis];
      i /= p.sizes[axis];
      x += at_[axis] * p.strides[axis];
    }
  }
  MINIDL_INLINE void next() {
    for (int axis = p_.axes - 2; axis >= 0; axis--) {
      if (axis == skip_) continue;
      x += p_.strides[axis];
      if (++at_[axis] < p_.sizes[axis]) return;
      x -= p_.sizes[axis] * p_.strides[axis];
      at_[axis] = 0;
    }
  }
  // Where the place is in y.
  int64_t y() const {
    int64_t found = 0, stride = p_.axes ? p_.sizes[p_.axes - 1] : 1;
    for (int axis = p_.axes - 2; axis >= 0; stride *= p_.sizes[axis--])
      if (axis != skip_) found += at_[axis] * stride;
    return found;
  }
  int64_t x = 0;  // where it is in x

 private:
  const Copy& p_;
  int skip_;
  int64_t at_[Copy::AXES] = {};
};

// Rows of n, contiguous in x or not.
void copy_rows(const Copy& p, bool streamed) {
  const int64_t n = p.axes ? p.sizes[p.axes - 1] : 1, step = p.axes ? p.strides[p.axes - 1] : 1;
  int64_t rows = 1;
  for (int axis = 0; axis + 1 < p.axes; axis++) rows *= p.sizes[axis];
  const int64_t parts = ceil_div(n, WHOLE);  // of a long row
  parallel_chunks(rows * parts, WHOLE / min(n, WHOLE), [&](int64_t i, int64_t end) {
    for (Odometer at(p, i / parts); i < end; i++) {
      const int64_t from = i % parts * WHOLE, size = min(WHOLE, n - from);
      const float* x = as_float(p.x) + at.x + from * step;
      float* y = as_float(p.y) + i / parts * n + from;
      if (step == 1) {
        write_row(y, size, streamed, [&](int64_t j, int64_t lanes) { return load_n(x + j, lanes); });
      } else {
        for (int64_t j = 0; j < size; j++) y[j] = x[j * step];
      }
      if (i % parts == parts - 1) at.next();
    }
    if (streamed) stream_fence();
  });
}

// One tile: y[r][c] = x[c][r], of which `rows` x `columns` exist.
MINIDL_INLINE void copy_tile(const float* x, int64_t x_stride, float* y, int64_t y_stride, int64_t rows,
                             int64_t columns, bool streamed) {
  vf tile[W];
  MINIDL_UNROLL
  for (int c = 0; c < W; c++) tile[c] = c < columns ? load_n(x + c * x_stride, rows) : vf{};
  transpose<float>(tile);
  if (rows >= W && columns >= W) {
    MINIDL_UNROLL
    for (int r = 0; r < W; r++) streamed ? stream(y + r * y_stride, tile[r]) : store(y + r * y_stride, tile[r]);
  } else {
    MINIDL_UNROLL
    for (int r = 0; r < W; r++)
      if (r < rows) store_n(y + r * y_stride, tile[r], columns);
  }
}

// The axis `across`, contiguous in x, against the last axis, contiguous in y.
void copy_transposed(const Copy& p, int across, bool streamed) {
  const int64_t rows = p.sizes[across], columns = p.sizes[p.axes - 1], x_stride = p.strides[p.axes - 1];
  int64_t outer = 1, y_stride = 1;
  for (int axis = 0; axis + 1 < p.axes; axis++)
    if (axis != across) outer *= p.sizes[axis];
  for (int axis = p.axes - 1; axis > across; axis--) y_stride *= p.sizes[axis];
  streamed = streamed && reinterpret_cast<uintptr_t>(p.y) % BYTES == 0 && y_stride % W == 0 && columns % W == 0;
  // In memory 256 bytes at a time are worth reading in x; in cache whole rows are worth writing in y.
  const int64_t block = streamed ? 64 : max<int64_t>(W, WHOLE / columns / W * W), blocks = ceil_div(rows, block);
  const int64_t depth = streamed ? W : columns;
  parallel_for(outer * blocks, [&](int64_t i) {
    const Odometer at(p, i / blocks, across);
    const float* x = as_float(p.x) + at.x;
    float* y = as_float(p.y) + at.y();
    const int64_t first = i % blocks * block, end = min(rows, first + block);
    for (int64_t start = 0; start < columns; start += depth)
      for (int64_t r = first; r < end; r += W)
        for (int64_t c = start; c < min(columns, start + depth); c += W)
          copy_tile(x + c * x_stride + r, x_stride, y + r * y_stride + c, y_stride, end - r, columns - c, streamed);
    if (streamed) stream_fence();
  });
}

}  // namespace

void copy(const Copy& p) {
  int64_t size = 1;
  for (int axis = 0; axis < p.axes; axis++) size *= p.sizes[axis];
  const bool streamed = size * static_cast<int64_t>(sizeof(float)) >= STREAMED;
  int across = p.axes - 1;
  while (across >= 0 && p.strides[across] != 1) across--;
  if (across < 0 || across == p.axes - 1) return copy_rows(p, streamed);
  copy_transposed(p, across, streamed);
}

}  // namespace minidl::MINIDL_ISA
