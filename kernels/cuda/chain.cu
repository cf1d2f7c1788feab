// Functions of each element that are made of several steps, in one pass over memory: a small machine that runs a
// program (minidl/chain.py). All threads of a block are at the same step, so that branches do not diverge; what lies
// between steps is in shared memory, where a thread has places of its own.
#include "numeric.cuh"

namespace minidl {

constexpr int THREADS = 128, EACH = 2, BLOCK = THREADS * EACH;  // elements that a block has at a time
constexpr int INPUTS = 5, PLACES = INPUTS + 20;                 // of an element: its inputs, and registers
constexpr int WORDS = 8;                                        // of a step: function, register, 3 operands, 3 floats

// (minidl/kernels/gpu/chain.py has their names in this order)
// clang-format off
enum Step {
  ABS, ADD, DIVIDE, EQUAL, EXP, EXPM1, GREATER, LESS, LOG, LOGSIGMOID, MAXIMUM, MINIMUM, MULTIPLY, NEGATIVE, SIGMOID,
  SIGN, SOFTPLUS, SQUARE, SUBTRACT, TANH, WHERE
};
// clang-format on

// NaN gives NaN.
__device__ inline float applied(int step, float x, float y, float z, float a, float b) {
  switch (step) {
    case ABS:
      return fabsf(x);
    case ADD:
      return x + y;
    case DIVIDE:
      return x / y;
    case EQUAL:
      return x == y;
    case EXP:
      return expf(x);
    case EXPM1:
      return expm1f(x);
    case GREATER:
      return x > y;
    case LESS:
      return x < y;
    case LOG:
      return logf(x);
    case LOGSIGMOID:
      return (x < 0 ? x : 0) - log1pf(expf(-fabsf(x)));
    case MAXIMUM:
      return x > y || x != x ? x : y;
    case MINIMUM:
      return x < y || x != x ? x : y;
    case MULTIPLY:
      return x * y;
    case NEGATIVE:
      return -x;
    case SIGMOID:
      return sigmoid(x);
    case SIGN:
      return x > 0 ? 1 : x < 0 ? -1 : x;
    case SOFTPLUS:
      return x * a > b ? x : log1pf(expf(x * a)) / a;
    case SQUARE:
      return x * x;
    case SUBTRACT:
      return x - y;
    case TANH:
      return tanhf(x);
    default:
      return x != 0 ? y : z;
  }
}

template <class T>
struct Chain {
  const T* x[INPUTS];  // of `count` elements, or of one number
  const int* program;  // (steps, WORDS)
  const float* constants;
  i64 count;
  int steps, inputs, constants_count, ones;  // ones: bit i is set if input i is one number

  // A step's operand: inputs come first, then constants, then registers.
  __device__ float operand(const float* own, int number) const {
    if (number >= inputs && number < inputs + constants_count) return constants[number - inputs];
    return own[(number < inputs ? number : number - constants_count) * BLOCK];
  }
  // What the last step gives for element `at`.
  __device__ float run(float* own, i64 at) const {
#pragma unroll
    for (int i = 0; i < INPUTS; i++)
      if (i < inputs) own[i * BLOCK] = to_float(x[i][ones >> i & 1 ? 0 : at]);
    float result = 0;
    for (int s = 0; s < steps; s++) {
      const int* word = program + s * WORDS;
      result = applied(word[0], operand(own, word[2]), operand(own, word[3]), operand(own, word[4]),
                       __int_as_float(word[5]), __int_as_float(word[6]));
      own[(inputs + word[1]) * BLOCK] = result;
    }
    return result;
  }
};

// y = scale times the results; or, where y is null, parts = the sums of `chunk` results each, a block's.
template <class T>
__device__ void chain(const Chain<T>& c, T* y, float* parts, i64 chunk, float scale) {
  __shared__ float places[PLACES * BLOCK];
  __shared__ float sums[THREADS];
  const int thread = static_cast<int>(threadIdx.x);
  const i64 low = blockIdx.x * chunk, high = low + chunk < c.count ? low + chunk : c.count;
  float total = 0;
  for (i64 first = low; first < high; first += BLOCK) {
#pragma unroll
    for (int e = 0; e < EACH; e++) {
      const i64 at = first + e * THREADS + thread;
      if (at >= high) break;
      const float result = c.run(places + e * THREADS + thread, at) * scale;
      if (y != nullptr) y[at] = from_float<T>(result);
      total += result;
    }
  }
  if (y != nullptr) return;
  sums[thread] = total;
  for (int half = THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (thread < half) sums[thread] += sums[thread + half];
  }
  if (thread == 0) parts[blockIdx.x] = sums[0];
}

#define CHAIN(NAME, T)                                                                                                 \
  extern "C" __global__ void __launch_bounds__(THREADS) chain_##NAME(                                                  \
      const T* x0, const T* x1, const T* x2, const T* x3, const T* x4, const int* program, const float* constants,     \
      T* y, float* parts, i64 count, i64 chunk, int steps, int inputs, int constants_count, int ones, float scale) {   \
    chain<T>({{x0, x1, x2, x3, x4}, program, constants, count, steps, inputs, constants_count, ones}, y, parts, chunk, \
             scale);                                                                                                   \
  }

CHAIN(float16, float16)
CHAIN(bfloat16, bfloat16)
CHAIN(float32, float)

}  // namespace minidl
