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
__host__ __device__ constexpr int chunks(int units) { return 64 / units; }

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
  __device__ const T* rows(int number) const { return h + s.number(s.before(step(number)), 0) * depth(); }
  __device__ const T* column(int gate, int unit) const {
    return weight + (static_cast<i64>(gate) * s.hidden + unit) * depth();
  }
  __device__ float& gate(const Place& p, int number) const {
    return gates[(p.here * GATES + number) * s.hidden + p.unit];
  }

  __device__ void begin(int unit) {
#pragma unroll
    for (int i = 0; i < GATES; i++) {
      if (bias_ih != nullptr) of_input[i] = to_float(bias_ih[i * s.hidden + unit]);
      if (bias_hh != nullptr) of_state[i] = to_float(bias_hh[i * s.hidden + unit]);
    }
  }

  __device__ void start(const Place& p) {
    old_h = to_float(h[p.before * depth() + p.unit]);
#pragma unroll
    for (int i = 0; i < GATES; i++) given[i] = gate(p, i) + of_input[i];
  }

  __device__ void keep(const Place& p, const float (&bent)[GATES], float new_h) const {
#pragma unroll
    for (int i = 0; i < GATES; i++) gate(p, i) = bent[i];
    h[p.after * depth() + p.unit] = from_float<T>(p.alive ? new_h : old_h);
    if (y != nullptr) y[p.here * s.hidden + p.unit] = from_float<T>(p.alive ? new_h : 0);
  }
};

template <class T, int UNITS>
struct LstmForward : Forward<T, 4, UNITS> {
  using Base = Forward<T, 4, UNITS>;
  using Base::given, Base::of_state, Base::s;

  float* c;
  float old_c = 0;

  __device__ void start(const Place& p) {
    Base::start(p);
    old_c = c[p.before * s.hidden + p.unit];
  }

  __device__ void finish(const Place& p, const float (&sums)[4]) const {
    float a[4];
#pragma unroll
    for (int i = 0; i < 4; i++) a[i] = sums[i] + given[i] + of_state[i];
    const float in = sigmoid(a[0]), forget = sigmoid(a[1]), fresh = tanhf(a[2]), out = sigmoid(a[3]);
    const float new_c = forget * old_c + in * fresh;
    c[p.after * s.hidden + p.unit] = p.alive ? new_c : old_c;
    Base::keep(p, {in, forget, fresh, out}, out * tanhf(new_c));
  }
};

template <class T, int UNITS>
struct GruForward : Forward<T, 3, UNITS> {
  using Base = Forward<T, 3, UNITS>;
  using Base::given, Base::of_state, Base::old_h, Base::s;

  float* recurrent;  // what the reset gate scales, for the way back

  __device__ void finish(const Place& p, const float (&sums)[3]) const {
    float a[3];
#pragma unroll
    for (int i = 0; i < 3; i++) a[i] = sums[i] + of_state[i];
    const float reset = sigmoid(a[0] + given[0]), update = sigmoid(a[1] + given[1]);
    const float fresh = tanhf(given[2] + reset * a[2]);
    recurrent[p.here * s.hidden + p.unit] = a[2];
    Base::keep(p, {reset, update, fresh}, fresh + update * (old_h - fresh));
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

  __device__ int step(int number) const { return s.reverse ? number : s.steps - 1 - number; }
  __device__ int depth() const { return padded(GATES * s.hidden); }
  __device__ const T* rows(int number) const {
    return number == 0 ? nullptr : gb + s.number(step(number - 1), 0) * depth();
  }
  __device__ const T* column(int, int unit) const { return weight + static_cast<i64>(unit) * depth(); }
  __device__ i64 own(const Place& p) const { return static_cast<i64>(p.row) * s.hidden + p.unit; }
  __device__ void begin(int) {}

  __device__ void start(const Place& p) {
    old_rest = rest[own(p)];
    of_y = p.alive ? to_float(gy[p.here * s.hidden + p.unit]) : 0;
#pragma unroll
    for (int i = 0; i < GATES; i++) bent[i] = gates[(p.here * GATES + i) * s.hidden + p.unit];
  }

  __device__ void keep(const Place& p, T* to, const float (&gradients)[GATES]) const {
#pragma unroll
    for (int i = 0; i < GATES; i++)
      to[p.here * depth() + i * s.hidden + p.unit] = from_float<T>(p.alive ? gradients[i] : 0);
  }
};

template <class T, int UNITS>
struct LstmBackward : Backward<T, 4, UNITS> {
  using Base = Backward<T, 4, UNITS>;
  using Base::own, Base::s;

  const float* c;
  float* gc;
  float old_c = 0, new_c = 0, old_gc = 0;

  __device__ void start(const Place& p) {
    Base::start(p);
    old_c = c[p.before * s.hidden + p.unit];
    new_c = c[p.after * s.hidden + p.unit];
    old_gc = gc[own(p)];
  }

  __device__ void finish(const Place& p, const float (&sums)[1]) const {
    const float in = Base::bent[0], forget = Base::bent[1], fresh = Base::bent[2], out = Base::bent[3];
    const float bent = tanhf(new_c), of_h = sums[0] + Base::old_rest + Base::of_y;
    const float of_c = old_gc + of_h * out * (1 - bent * bent);
    Base::keep(p, Base::ga,
               {of_c * fresh * in * (1 - in), of_c * old_c * forget * (1 - forget), of_c * in * (1 - fresh * fresh),
                of_h * bent * out * (1 - out)});
    if (p.alive) gc[own(p)] = of_c * forget;
    Base::rest[own(p)] = p.alive ? 0 : of_h;
  }
};

template <class T, int UNITS>
struct GruBackward : Backward<T, 3, UNITS> {
  using Base = Backward<T, 3, UNITS>;
  using Base::own, Base::s;

  const T* h;
  const float* recurrent;
  float old_h = 0, scaled = 0;

  __device__ void start(const Place& p) {
    Base::start(p);
    old_h = to_float(h[p.before * padded(s.hidden) + p.unit]);
    scaled = recurrent[p.here * s.hidden + p.unit];
  }

  __device__ void finish(const Place& p, const float (&sums)[1]) const {
    const float reset = Base::bent[0], update = Base::bent[1], fresh = Base::bent[2];
    const float of_h = sums[0] + Base::old_rest + Base::of_y;
    const float of_fresh = of_h * (1 - update) * (1 - fresh * fresh);
    const float of_update = of_h * (old_h - fresh) * update * (1 - update);
    const float of_reset = of_fresh * scaled * reset * (1 - reset);
    Base::keep(p, Base::ga, {of_reset, of_update, of_fresh});
    Base::keep(p, Base::gb, {of_reset, of_update, of_fresh * reset});
    Base::rest[own(p)] = p.alive ? of_h * update : of_h;
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
