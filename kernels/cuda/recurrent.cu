// LSTM and GRU, forward and backward, over whole sequences: see recurrence.cuh.
//
// What the inputs give to the gates (T, N, G H) was computed for all steps at once by a product of matrices, in
// float32; steps leave the bent gates there, for the way back. States are kept before and after every step: h as (T +
// 1, N, H padded to 8), in the dtype, as the next product reads it; an LSTM's c as (T + 1, N, H) in float32. Sequences
// may end early: beyond their lengths states stay.
//
// On the way back a step first takes the gradient of its output through the gates of the step that follows it: the
// product of these (T, N, G H padded) and the recurrent weights, transposed. `rest` (N, H) is what comes past the
// gates. Arrays are those of kernels/triton/recurrent.py, which takes a launch per step.
#include "recurrence.cuh"

namespace minidl {

// Chunks of a state's row that each warp of a block with UNITS units can hold.
constexpr int chunks(int units) { return 64 / units; }

// -- forward: a unit has a column of the product for each gate ------------------------------

template <class T, int GATES, int UNITS>
struct Forward {
  static constexpr int PRODUCTS = GATES, HELD = chunks(UNITS);

  Sequences s;
  float* gates;
  T *h, *y;                                          // y (T, N, H) may be null
  const T *weight, *bias_ih, *bias_hh;               // weight (G H, H padded); biases may be null
  float of_input[GATES] = {}, of_state[GATES] = {};  // biases of this thread's unit
  float given[GATES], old_h = 0;

  __device__ int step(int number) const { return s.reverse ? s.steps - 1 - number : number; }
  __device__ int depth() const { return padded(s.hidden); }
  __device__ T* state(int number) const { return h + static_cast<i64>(number) * s.rows * depth(); }
  __device__ const T* rows(int number) const { return state(s.before(step(number))); }
  __device__ const T* column(int gate, int unit) const {
    return weight + (static_cast<i64>(gate) * s.hidden + unit) * depth();
  }
  __device__ i64 at(int step, int row, int unit) const {
    return (static_cast<i64>(step) * s.rows + row) * s.hidden + unit;
  }
  __device__ float& gate(int step, int row, int unit, int number) const {
    return gates[(static_cast<i64>(step) * s.rows + row) * GATES * s.hidden + number * s.hidden + unit];
  }

  __device__ void begin(int unit) {
#pragma unroll
    for (int i = 0; i < GATES; i++) {
      if (bias_ih != nullptr) of_input[i] = to_float(bias_ih[i * s.hidden + unit]);
      if (bias_hh != nullptr) of_state[i] = to_float(bias_hh[i * s.hidden + unit]);
    }
  }

  __device__ void start(int step, int row, int unit) {
    old_h = to_float(state(s.before(step))[static_cast<i64>(row) * depth() + unit]);
#pragma unroll
    for (int i = 0; i < GATES; i++) given[i] = gate(step, row, unit, i) + of_input[i];
  }

  __device__ void keep(int step, int row, int unit, float new_h) const {
    const bool alive = s.alive(step, row);
    state(s.after(step))[static_cast<i64>(row) * depth() + unit] = from_float<T>(alive ? new_h : old_h);
    if (y != nullptr) y[at(step, row, unit)] = from_float<T>(alive ? new_h : 0);
  }
};

template <class T, int UNITS>
struct LstmForward : Forward<T, 4, UNITS> {
  using Base = Forward<T, 4, UNITS>;
  float* c;
  float old_c = 0;

  __device__ float& cell(int number, int row, int unit) const { return c[Base::at(number, row, unit)]; }

  __device__ void start(int step, int row, int unit) {
    Base::start(step, row, unit);
    old_c = cell(Base::s.before(step), row, unit);
  }

  __device__ void finish(const float (&sums)[4], int step, int row, int unit) const {
    float a[4];
#pragma unroll
    for (int i = 0; i < 4; i++) a[i] = sums[i] + Base::given[i] + Base::of_state[i];
    const float in = sigmoid(a[0]), forget = sigmoid(a[1]), fresh = tanhf(a[2]), out = sigmoid(a[3]);
    const float new_c = forget * old_c + in * fresh;
    Base::gate(step, row, unit, 0) = in;
    Base::gate(step, row, unit, 1) = forget;
    Base::gate(step, row, unit, 2) = fresh;
    Base::gate(step, row, unit, 3) = out;
    cell(Base::s.after(step), row, unit) = Base::s.alive(step, row) ? new_c : old_c;
    Base::keep(step, row, unit, out * tanhf(new_c));
  }
};

template <class T, int UNITS>
struct GruForward : Forward<T, 3, UNITS> {
  using Base = Forward<T, 3, UNITS>;
  float* recurrent;  // what the reset gate scales, for the way back

  __device__ void finish(const float (&sums)[3], int step, int row, int unit) const {
    float a[3];
#pragma unroll
    for (int i = 0; i < 3; i++) a[i] = sums[i] + Base::of_state[i];
    const float reset = sigmoid(a[0] + Base::given[0]), update = sigmoid(a[1] + Base::given[1]);
    const float fresh = tanhf(Base::given[2] + reset * a[2]);
    Base::gate(step, row, unit, 0) = reset;
    Base::gate(step, row, unit, 1) = update;
    Base::gate(step, row, unit, 2) = fresh;
    recurrent[Base::at(step, row, unit)] = a[2];
    Base::keep(step, row, unit, fresh + update * (Base::old_h - fresh));
  }
};

// -- backward: a unit has one column, as long as all gates -----------------------------------

template <class T, int GATES, int UNITS>
struct Backward {
  static constexpr int PRODUCTS = 1, HELD = GATES * chunks(UNITS);

  Sequences s;
  const float* gates;
  const T *gy, *weight;  // weight (H, G H padded)
  T *ga, *gb;            // gradients of what the inputs and the state gave to the gates; an LSTM's are one
  float* rest;
  float bent[GATES], old_rest = 0, of_y = 0;
  bool alive = true;

  __device__ int step(int number) const { return s.reverse ? number : s.steps - 1 - number; }
  __device__ int depth() const { return padded(GATES * s.hidden); }
  __device__ const T* rows(int number) const {
    return number == 0 ? nullptr : gb + static_cast<i64>(step(number - 1)) * s.rows * depth();
  }
  __device__ const T* column(int, int unit) const { return weight + static_cast<i64>(unit) * depth(); }
  __device__ i64 at(int step, int row, int unit) const {
    return (static_cast<i64>(step) * s.rows + row) * s.hidden + unit;
  }
  __device__ void begin(int) {}

  __device__ void start(int step, int row, int unit) {
    alive = s.alive(step, row);
    old_rest = rest[at(0, row, unit)];
    of_y = alive ? to_float(gy[at(step, row, unit)]) : 0;
    const float* from = gates + (static_cast<i64>(step) * s.rows + row) * GATES * s.hidden + unit;
#pragma unroll
    for (int i = 0; i < GATES; i++) bent[i] = from[i * s.hidden];
  }

  __device__ void put(T* to, int step, int row, int unit, int gate, float x) const {
    to[(static_cast<i64>(step) * s.rows + row) * depth() + gate * s.hidden + unit] = from_float<T>(alive ? x : 0);
  }
};

template <class T, int UNITS>
struct LstmBackward : Backward<T, 4, UNITS> {
  using Base = Backward<T, 4, UNITS>;
  const float* c;
  float* gc;
  float old_c = 0, new_c = 0, old_gc = 0;

  __device__ void start(int step, int row, int unit) {
    Base::start(step, row, unit);
    old_c = c[Base::at(Base::s.before(step), row, unit)];
    new_c = c[Base::at(Base::s.after(step), row, unit)];
    old_gc = gc[Base::at(0, row, unit)];
  }

  __device__ void finish(const float (&sums)[1], int step, int row, int unit) const {
    const float in = Base::bent[0], forget = Base::bent[1], fresh = Base::bent[2], out = Base::bent[3];
    const float bent = tanhf(new_c), of_h = sums[0] + Base::old_rest + Base::of_y;
    const float of_c = old_gc + of_h * out * (1 - bent * bent);
    Base::put(Base::ga, step, row, unit, 0, of_c * fresh * in * (1 - in));
    Base::put(Base::ga, step, row, unit, 1, of_c * old_c * forget * (1 - forget));
    Base::put(Base::ga, step, row, unit, 2, of_c * in * (1 - fresh * fresh));
    Base::put(Base::ga, step, row, unit, 3, of_h * bent * out * (1 - out));
    if (Base::alive) gc[Base::at(0, row, unit)] = of_c * forget;
    Base::rest[Base::at(0, row, unit)] = Base::alive ? 0 : of_h;
  }
};

template <class T, int UNITS>
struct GruBackward : Backward<T, 3, UNITS> {
  using Base = Backward<T, 3, UNITS>;
  const T* h;
  const float* recurrent;
  float old_h = 0, scaled = 0;

  __device__ void start(int step, int row, int unit) {
    Base::start(step, row, unit);
    const i64 before = static_cast<i64>(Base::s.before(step)) * Base::s.rows + row;
    old_h = to_float(h[before * padded(Base::s.hidden) + unit]);
    scaled = recurrent[Base::at(step, row, unit)];
  }

  __device__ void finish(const float (&sums)[1], int step, int row, int unit) const {
    const float reset = Base::bent[0], update = Base::bent[1], fresh = Base::bent[2];
    const float of_h = sums[0] + Base::old_rest + Base::of_y;
    const float of_fresh = of_h * (1 - update) * (1 - fresh * fresh);
    const float of_update = of_h * (old_h - fresh) * update * (1 - update);
    const float of_reset = of_fresh * scaled * reset * (1 - reset);
    Base::put(Base::ga, step, row, unit, 0, of_reset), Base::put(Base::gb, step, row, unit, 0, of_reset);
    Base::put(Base::ga, step, row, unit, 1, of_update), Base::put(Base::gb, step, row, unit, 1, of_update);
    Base::put(Base::ga, step, row, unit, 2, of_fresh), Base::put(Base::gb, step, row, unit, 2, of_fresh * reset);
    Base::rest[Base::at(0, row, unit)] = Base::alive ? of_h * update : of_h;
  }
};

#define SEQUENCES const i64 *lengths, u32 *arrived, int steps, int reverse, int rows, int hidden
#define TOLD {lengths, arrived, steps, reverse, rows, hidden}
#define ENTRY extern "C" __global__ void __launch_bounds__(THREADS, 1)

#define RECURRENT(NAME, T, UNITS)                                                                                      \
  ENTRY lstm_forward_##NAME##_##UNITS(float* gates, T* h, float* c, T* y, const T* weight, const T* bias_ih,           \
                                      const T* bias_hh, SEQUENCES) {                                                   \
    LstmForward<T, UNITS> cell{{TOLD, gates, h, y, weight, bias_ih, bias_hh}, c};                                      \
    run_sequences<T, UNITS>(cell.s, cell);                                                                             \
  }                                                                                                                    \
  ENTRY lstm_backward_##NAME##_##UNITS(const float* gates, const float* c, const T* gy, T* ga, float* gc, float* rest, \
                                       const T* weight, SEQUENCES) {                                                   \
    LstmBackward<T, UNITS> cell{{TOLD, gates, gy, weight, ga, ga, rest}, c, gc};                                       \
    run_sequences<T, UNITS>(cell.s, cell);                                                                             \
  }                                                                                                                    \
  ENTRY gru_forward_##NAME##_##UNITS(float* gates, T* h, float* recurrent, T* y, const T* weight, const T* bias_ih,    \
                                     const T* bias_hh, SEQUENCES) {                                                    \
    GruForward<T, UNITS> cell{{TOLD, gates, h, y, weight, bias_ih, bias_hh}, recurrent};                               \
    run_sequences<T, UNITS>(cell.s, cell);                                                                             \
  }                                                                                                                    \
  ENTRY gru_backward_##NAME##_##UNITS(const float* gates, const T* h, const float* recurrent, const T* gy, T* ga,      \
                                      T* gb, float* rest, const T* weight, SEQUENCES) {                                \
    GruBackward<T, UNITS> cell{{TOLD, gates, gy, weight, ga, gb, rest}, h, recurrent};                                 \
    run_sequences<T, UNITS>(cell.s, cell);                                                                             \
  }

RECURRENT(float16, float16, 8)
RECURRENT(float16, float16, 16)
RECURRENT(bfloat16, bfloat16, 8)
RECURRENT(bfloat16, bfloat16, 16)
RECURRENT(float32, float, 8)
RECURRENT(float32, float, 16)
RECURRENT(tf32, tf32, 8)
RECURRENT(tf32, tf32, 16)

}  // namespace minidl
