// LSTM and GRU, forward and backward, over whole sequences.
//
// What the inputs give to the gates (T, N, G H) was computed for all steps at once by a product of matrices, in
// float32; steps leave the bent gates there, for the way back. States are kept before and after every step: h as (T +
// 1, N, H padded to 8), in the dtype, as the next product reads it; an LSTM's c as (T + 1, N, H) in float32. Sequences
// may end early: beyond their lengths states stay.
//
// On the way back a step first takes the gradient of its output through the gates of the step that follows it: the
// product of these (T, N, G H padded) and the recurrent weights, transposed. `rest` (N, H) is what comes past the
// gates. Arguments and results are those of kernels/triton/recurrent.py, which takes a launch per step.
#include "recurrence.cuh"

namespace minidl {

// -- forward: columns of the product are eight units of each gate ---------------------------

template <class T, int GATES>
struct Forward {
  static constexpr int UNITS = 8, COLUMNS = 32, USED = GATES;

  Sequences s;
  float* gates;
  T *h, *y;  // y (T, N, H) may be null
  const T *weight, *bias_ih, *bias_hh;
  float given[GATES][4], old_h[4];  // of a thread's pairs of a sequence and a unit

  __device__ int step(int number) const { return s.reverse ? s.steps - 1 - number : number; }
  __device__ int depth() const { return padded(s.hidden); }
  __device__ T* state(int number) const { return h + static_cast<i64>(number) * s.rows * depth(); }
  __device__ const T* rows(int number) const { return state(s.before(step(number))); }
  __device__ i64 at(int step, int row, int unit, int gate) const {
    return (static_cast<i64>(step) * s.rows + row) * GATES * s.hidden + gate * s.hidden + unit;
  }
  __device__ float bias(const T* bias, int gate, int unit) const {
    return bias == nullptr ? 0 : to_float(bias[gate * s.hidden + unit]);
  }

  template <class Tile>
  __device__ void fill(const Tile& tile, int unit, int first) const {
    for (int i = static_cast<int>(threadIdx.x); i < COLUMNS * Tile::CHUNKS; i += THREADS) {
      const int column = i / Tile::CHUNKS, k = first + i % Tile::CHUNKS * PER_CHUNK<T>, own = unit + column % UNITS;
      const int count = column / UNITS < GATES && own < s.hidden ? depth() - k : 0;
      copy_chunk(tile.chunk(column, i % Tile::CHUNKS),
                 weight + (static_cast<i64>(column / UNITS) * s.hidden + own) * depth() + k, count);
    }
  }

  __device__ void start(int step, int row, int unit) {
    const T* before = state(s.before(step));
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const int r = row + row_of(j), u = unit + column_of(0, j);
      const bool inside = r < s.rows && u < s.hidden;
      old_h[j] = inside ? to_float(before[static_cast<i64>(r) * depth() + u]) : 0;
#pragma unroll
      for (int gate = 0; gate < GATES; gate++)
        given[gate][j] = inside ? gates[at(step, r, u, gate)] + bias(bias_ih, gate, u) : 0;
    }
  }

  __device__ void keep_h(int step, int row, int unit, float new_h, float old_h) const {
    const bool alive = s.alive(step, row);
    state(s.after(step))[static_cast<i64>(row) * depth() + unit] = from_float<T>(alive ? new_h : old_h);
    if (y != nullptr) y[(static_cast<i64>(step) * s.rows + row) * s.hidden + unit] = from_float<T>(alive ? new_h : 0);
  }
};

template <class T>
struct LstmForward : Forward<T, 4> {
  using Base = Forward<T, 4>;
  float* c;
  float old_c[4];

  __device__ float* cell(int number) const { return c + static_cast<i64>(number) * Base::s.rows * Base::s.hidden; }

  __device__ void start(int step, int row, int unit) {
    Base::start(step, row, unit);
    const Sequences& s = Base::s;
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const int r = row + row_of(j), u = unit + column_of(0, j);
      old_c[j] = r < s.rows && u < s.hidden ? cell(s.before(step))[static_cast<i64>(r) * s.hidden + u] : 0;
    }
  }

  __device__ void finish(const float (&sums)[4][4], int step, int row, int unit) const {
    const Sequences& s = Base::s;
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const int r = row + row_of(j), u = unit + column_of(0, j);
      if (r >= s.rows || u >= s.hidden) continue;
      float a[4];
#pragma unroll
      for (int gate = 0; gate < 4; gate++)
        a[gate] = sums[gate][j] + Base::given[gate][j] + Base::bias(Base::bias_hh, gate, u);
      const float in = sigmoid(a[0]), forget = sigmoid(a[1]), fresh = tanhf(a[2]), out = sigmoid(a[3]);
      const float new_c = forget * old_c[j] + in * fresh;
      Base::gates[Base::at(step, r, u, 0)] = in;
      Base::gates[Base::at(step, r, u, 1)] = forget;
      Base::gates[Base::at(step, r, u, 2)] = fresh;
      Base::gates[Base::at(step, r, u, 3)] = out;
      cell(s.after(step))[static_cast<i64>(r) * s.hidden + u] = s.alive(step, r) ? new_c : old_c[j];
      Base::keep_h(step, r, u, out * tanhf(new_c), Base::old_h[j]);
    }
  }
};

template <class T>
struct GruForward : Forward<T, 3> {
  using Base = Forward<T, 3>;
  float* recurrent;  // what the reset gate scales, for the way back

  __device__ void finish(const float (&sums)[3][4], int step, int row, int unit) const {
    const Sequences& s = Base::s;
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const int r = row + row_of(j), u = unit + column_of(0, j);
      if (r >= s.rows || u >= s.hidden) continue;
      float a[3];
#pragma unroll
      for (int gate = 0; gate < 3; gate++) a[gate] = sums[gate][j] + Base::bias(Base::bias_hh, gate, u);
      const float reset = sigmoid(a[0] + Base::given[0][j]), update = sigmoid(a[1] + Base::given[1][j]);
      const float fresh = tanhf(Base::given[2][j] + reset * a[2]);
      Base::gates[Base::at(step, r, u, 0)] = reset;
      Base::gates[Base::at(step, r, u, 1)] = update;
      Base::gates[Base::at(step, r, u, 2)] = fresh;
      recurrent[(static_cast<i64>(step) * s.rows + r) * s.hidden + u] = a[2];
      Base::keep_h(step, r, u, fresh + update * (Base::old_h[j] - fresh), Base::old_h[j]);
    }
  }
};

// -- backward: columns of the product are sixteen units --------------------------------------

template <class T, int GATES>
struct Backward {
  static constexpr int UNITS = 16, COLUMNS = 16, USED = 2;

  Sequences s;
  const float* gates;
  const T *gy, *weight;  // weight (H, G H padded)
  const T* given;        // gradients of what the state gave to the gates
  float* rest;

  __device__ int step(int number) const { return s.reverse ? number : s.steps - 1 - number; }
  __device__ int depth() const { return padded(GATES * s.hidden); }
  __device__ const T* rows(int number) const {
    return number == 0 ? nullptr : given + static_cast<i64>(step(number - 1)) * s.rows * depth();
  }
  template <class Tile>
  __device__ void fill(const Tile& tile, int unit, int first) const {
    tile.template fill<THREADS>(weight + static_cast<i64>(unit) * depth() + first, depth(), s.hidden - unit,
                                depth() - first);
  }
  __device__ void start(int, int, int) const {}

  __device__ i64 at(int step, int row, int unit) const {
    return (static_cast<i64>(step) * s.rows + row) * s.hidden + unit;
  }
  __device__ float gate(int step, int row, int unit, int number) const {
    return gates[(static_cast<i64>(step) * s.rows + row) * GATES * s.hidden + number * s.hidden + unit];
  }
  __device__ void put(T* to, int step, int row, int unit, int gate, float x) const {
    to[(static_cast<i64>(step) * s.rows + row) * depth() + gate * s.hidden + unit] = from_float<T>(x);
  }
  // The gradient of h after a step.
  __device__ float of_h(float sum, int step, int row, int unit) const {
    return sum + rest[at(0, row, unit)] + (s.alive(step, row) ? to_float(gy[at(step, row, unit)]) : 0);
  }
  // Calls cell(row, unit, its sum) for all of a thread.
  template <class Cell>
  __device__ void each(const float (&sums)[2][4], int row, int unit, Cell cell) const {
#pragma unroll
    for (int n = 0; n < 2; n++)
      for (int j = 0; j < 4; j++)
        if (row + row_of(j) < s.rows && unit + column_of(n, j) < s.hidden)
          cell(row + row_of(j), unit + column_of(n, j), sums[n][j]);
  }
};

template <class T>
struct LstmBackward : Backward<T, 4> {
  using Base = Backward<T, 4>;
  const float* c;
  T* ga;
  float* gc;

  __device__ void finish(const float (&sums)[2][4], int step, int row, int unit) const {
    const Sequences& s = Base::s;
    Base::each(sums, row, unit, [&](int r, int u, float sum) {
      const i64 at = Base::at(0, r, u);
      const float in = Base::gate(step, r, u, 0), forget = Base::gate(step, r, u, 1);
      const float fresh = Base::gate(step, r, u, 2), out = Base::gate(step, r, u, 3);
      const float old_c = c[Base::at(s.before(step), r, u)], bent = tanhf(c[Base::at(s.after(step), r, u)]);
      const float of_h = Base::of_h(sum, step, r, u), of_c = gc[at] + of_h * out * (1 - bent * bent);
      const bool alive = s.alive(step, r);
      Base::put(ga, step, r, u, 0, alive ? of_c * fresh * in * (1 - in) : 0);
      Base::put(ga, step, r, u, 1, alive ? of_c * old_c * forget * (1 - forget) : 0);
      Base::put(ga, step, r, u, 2, alive ? of_c * in * (1 - fresh * fresh) : 0);
      Base::put(ga, step, r, u, 3, alive ? of_h * bent * out * (1 - out) : 0);
      if (alive) gc[at] = of_c * forget;
      Base::rest[at] = alive ? 0 : of_h;
    });
  }
};

template <class T>
struct GruBackward : Backward<T, 3> {
  using Base = Backward<T, 3>;
  const T* h;
  const float* recurrent;
  T *ga, *gb;

  __device__ void finish(const float (&sums)[2][4], int step, int row, int unit) const {
    const Sequences& s = Base::s;
    Base::each(sums, row, unit, [&](int r, int u, float sum) {
      const float reset = Base::gate(step, r, u, 0), update = Base::gate(step, r, u, 1);
      const float fresh = Base::gate(step, r, u, 2), of_h = Base::of_h(sum, step, r, u);
      const float old_h = to_float(h[(static_cast<i64>(s.before(step)) * s.rows + r) * padded(s.hidden) + u]);
      const bool alive = s.alive(step, r);
      const float of_fresh = alive ? of_h * (1 - update) * (1 - fresh * fresh) : 0;
      const float of_update = alive ? of_h * (old_h - fresh) * update * (1 - update) : 0;
      const float of_reset = of_fresh * recurrent[Base::at(step, r, u)] * reset * (1 - reset);
      Base::put(ga, step, r, u, 0, of_reset), Base::put(gb, step, r, u, 0, of_reset);
      Base::put(ga, step, r, u, 1, of_update), Base::put(gb, step, r, u, 1, of_update);
      Base::put(ga, step, r, u, 2, of_fresh), Base::put(gb, step, r, u, 2, of_fresh * reset);
      Base::rest[Base::at(0, r, u)] = alive ? of_h * update : of_h;
    });
  }
};

#define SEQUENCE_PARAMETERS const i64 *lengths, u32 *arrived, int steps, int reverse, int rows, int hidden
#define SEQUENCE {lengths, arrived, steps, reverse, rows, hidden}

#define RECURRENT(NAME, T)                                                                                            \
  extern "C" __global__ void __launch_bounds__(THREADS, 1) lstm_forward_##NAME(                                          \
      float* gates, T* h, float* c, T* y, const T* weight, const T* bias_ih, const T* bias_hh, SEQUENCE_PARAMETERS) { \
    LstmForward<T> cell{{SEQUENCE, gates, h, y, weight, bias_ih, bias_hh, {}, {}}, c, {}};                            \
    run_sequences<T>(cell.s, cell);                                                                                   \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                               \
      lstm_backward_##NAME(const float* gates, const float* c, const T* gy, T* ga, float* gc, float* rest,            \
                           const T* weight, SEQUENCE_PARAMETERS) {                                                    \
    LstmBackward<T> cell{{SEQUENCE, gates, gy, weight, ga, rest}, c, ga, gc};                                         \
    run_sequences<T>(cell.s, cell);                                                                                   \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                               \
      gru_forward_##NAME(float* gates, T* h, float* recurrent, T* y, const T* weight, const T* bias_ih,               \
                         const T* bias_hh, SEQUENCE_PARAMETERS) {                                                     \
    GruForward<T> cell{{SEQUENCE, gates, h, y, weight, bias_ih, bias_hh, {}, {}}, recurrent};                         \
    run_sequences<T>(cell.s, cell);                                                                                   \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                               \
      gru_backward_##NAME(const float* gates, const T* h, const float* recurrent, const T* gy, T* ga, T* gb,          \
                          float* rest, const T* weight, SEQUENCE_PARAMETERS) {                                        \
    GruBackward<T> cell{{SEQUENCE, gates, gy, weight, gb, rest}, h, recurrent, ga, gb};                               \
    run_sequences<T>(cell.s, cell);                                                                                   \
  }

RECURRENT(float16, float16)
RECURRENT(bfloat16, bfloat16)
RECURRENT(float32, float)

}  // namespace minidl
