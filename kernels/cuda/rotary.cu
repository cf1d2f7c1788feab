// Rotary positions: pairs of a row's elements turn by the angles of its place. A thread has one pair, or one of the
// elements behind them, which stay.
#include "rows.cuh"

namespace minidl {

template <class T>
struct Rotary {
  Rows<const T> x, cos, sin;  // (batch, heads, rows, width; half): steps of 0 where angles are the same
  Rows<T> y;
  i64 items;  // of all rows
  int heads, rows, width, half, interleaved;
};

template <class T>
__device__ void rotary(const Rotary<T>& p) {
  const i64 item = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (item >= p.items) return;
  const int per_row = p.width - p.half, i = static_cast<int>(item % per_row);
  const i64 row = item / per_row, head = row / p.rows;
  const int t = static_cast<int>(row % p.rows), h = static_cast<int>(head % p.heads),
            b = static_cast<int>(head / p.heads);
  const T* x = p.x.at(b, h, t);
  T* y = p.y.at(b, h, t);
  if (i >= p.half) {
    y[p.half + i] = x[p.half + i];
    return;
  }
  const int first = p.interleaved ? 2 * i : i, second = p.interleaved ? 2 * i + 1 : i + p.half;
  const float u = to_float(x[first]), v = to_float(x[second]);
  const float cos = to_float(p.cos.at(b, h, t)[i]), sin = to_float(p.sin.at(b, h, t)[i]);
  y[first] = from_float<T>(u * cos - v * sin);
  y[second] = from_float<T>(u * sin + v * cos);
}

#define ROTARY(NAME, T)                                                                                              \
  extern "C" __global__ void __launch_bounds__(256)                                                                  \
      rotary_##NAME(const T* x, const T* cos, const T* sin, T* y, i64 x_batch, i64 x_head, i64 x_row, i64 cos_batch, \
                    i64 cos_head, i64 cos_row, i64 sin_batch, i64 sin_head, i64 sin_row, i64 y_batch, i64 y_head,    \
                    i64 y_row, i64 items, int heads, int rows, int width, int half, int interleaved) {               \
    const Rotary<T> p = {{x, x_batch, x_head, x_row},                                                                \
                         {cos, cos_batch, cos_head, cos_row},                                                        \
                         {sin, sin_batch, sin_head, sin_row},                                                        \
                         {y, y_batch, y_head, y_row},                                                                \
                         items,                                                                                      \
                         heads,                                                                                      \
                         rows,                                                                                       \
                         width,                                                                                      \
                         half,                                                                                       \
                         interleaved};                                                                               \
    rotary<T>(p);                                                                                                    \
  }

ROTARY(float16, float16)
ROTARY(bfloat16, bfloat16)
ROTARY(float32, float)

}  // namespace minidl
