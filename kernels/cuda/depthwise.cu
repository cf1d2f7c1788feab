// Depthwise convolutions: each channel has filters of its own, and nothing is summed over channels.
//
// Images, outputs and filters have their channels last, in rows that are padded to a multiple of 8, so that a thread
// works on 16 bytes of neighbours at once; neighbouring threads take the next ones. What windows share is found in the
// caches. As with other convolutions `depthwise_correlate` serves the gradient of images as well, phase by phase of the
// stride: outputs then have several inputs where inputs had several outputs.
#include "copies.cuh"
#include "windows.cuh"

namespace minidl {

// Output channel o has the inputs o / outputs * inputs and the `inputs` - 1 behind it: one of the two is 1.
struct Channels {
  int count, outputs, inputs;

  __device__ bool paired() const { return outputs == 1 && inputs == 1; }
};

// 16 bytes of a row, in float32.
template <class T>
struct Vector {
  static constexpr int SIZE = PER_CHUNK<T>;

  float x[SIZE] = {};

  __device__ void load(const T* from) {
    const uint4 words = *reinterpret_cast<const uint4*>(from);
    const u32 word[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (int j = 0; j < SIZE; j++) {
      if constexpr (sizeof(T) == 4)
        x[j] = __uint_as_float(word[j]);
      else
        x[j] = to_float(T{static_cast<u16>(word[j / 2] >> 16 * (j % 2))});
    }
  }
  // What the outputs from o on see in a pixel: each its input number i.
  __device__ void load_seen(const T* pixel, const Channels& channels, int o, int i) {
    if (channels.paired()) return load(pixel + o);
#pragma unroll
    for (int j = 0; j < SIZE; j++)
      x[j] = o + j < channels.count ? to_float(pixel[(o + j) / channels.outputs * channels.inputs + i]) : 0;
  }
  // What they multiply it by.
  __device__ void load_filters(const T* tap, const Channels& channels, int o, int i) {
    if (channels.inputs == 1) return load(tap + o);
#pragma unroll
    for (int j = 0; j < SIZE; j++) x[j] = o + j < channels.count ? to_float(tap[(o + j) * channels.inputs + i]) : 0;
  }
  __device__ void add(const Vector& a, const Vector& b) {
#pragma unroll
    for (int j = 0; j < SIZE; j++) x[j] += a.x[j] * b.x[j];
  }
  __device__ void store(T* to) const {
    if constexpr (sizeof(T) == 4)
      *reinterpret_cast<float4*>(to) = {x[0], x[1], x[2], x[3]};
    else
      store_floats(to, x);
  }
};

constexpr int ALONG = 4;  // neighbouring windows of a line, by one thread

template <class T>
__device__ void depthwise_correlate(const T* x, const T* filters, const Windows& w, const Channels& channels,
                                    const Outputs<T>& to) {
  constexpr int SIZE = Vector<T>::SIZE;
  const u32 vectors = padded(channels.count) / SIZE, strips = ceil_div(w.q, ALONG);
  const u32 number = blockIdx.x * blockDim.x + threadIdx.x, strip = number / vectors, line = strip / strips;
  const int o = static_cast<int>(number % vectors) * SIZE, j = static_cast<int>(strip % strips) * ALONG;
  const int i = static_cast<int>(line % w.p), image = static_cast<int>(line / w.p);
  if (image * w.p * w.q >= w.count) return;
  const int top = w.start_h + i * w.stride_h, left = w.start_w + j * w.stride_w, row = padded(w.channels);
  Vector<T> sums[ALONG];
  for (int tap = 0; tap < w.taps; tap++) {
    const int h = top + tap / w.taps_w * w.dilation_h, first = left + tap % w.taps_w * w.dilation_w;
    if (h < 0 || h >= w.height) continue;
    const T* pixels = x + (static_cast<i64>(image) * w.height + h) * w.width * row;
    for (int n = 0; n < channels.inputs; n++) {
      Vector<T> filter;
      filter.load_filters(filters + static_cast<i64>(tap) * padded(channels.count * channels.inputs), channels, o, n);
#pragma unroll
      for (int u = 0; u < ALONG; u++) {
        const int v = first + u * w.stride_w;
        if (v < 0 || v >= w.width) continue;
        Vector<T> seen;
        seen.load_seen(pixels + static_cast<i64>(v) * row, channels, o, n);
        sums[u].add(seen, filter);
      }
    }
  }
#pragma unroll
  for (int u = 0; u < ALONG; u++) {
    if (j + u >= w.q) continue;
    for (int e = 0; e < SIZE; e++) sums[u].x[e] = o + e < channels.count ? to.finished(sums[u].x[e], o + e) : 0;
    sums[u].store(to.at(image, i, j + u) + o);
  }
}

// What a block's windows [low, high) add to the gradient of 64 bytes of filters at TAPS taps from `tap` on, to a part
// (taps, channels padded): 8 threads take 16 bytes of channels each, and 32 of those every 32nd window.
template <class T>
struct DepthwiseGradient {
  static constexpr int TAPS = 5, ACROSS = 8, THREADS = 256, WARPS = THREADS / 32, SIZE = Vector<T>::SIZE;

  static __device__ void run(const T* x, const T* g, float* part, const Windows& w, const Channels& channels, int low,
                             int high) {
    const int row = padded(channels.count), thread = static_cast<int>(threadIdx.x), seen = padded(w.channels);
    const int o = (static_cast<int>(blockIdx.x) * ACROSS + thread % ACROSS) * SIZE, tap = blockIdx.y * TAPS;
    Vector<T> sums[TAPS];
    for (int window = low + thread / ACROSS; window < high && o < row; window += THREADS / ACROSS) {
      const int line = window / w.q, image = line / w.p;
      const int top = w.start_h + (line - image * w.p) * w.stride_h,
                left = w.start_w + (window - line * w.q) * w.stride_w;
      Vector<T> given;
      given.load(g + static_cast<i64>(window) * row + o);
#pragma unroll
      for (int t = 0; t < TAPS; t++) {
        const int h = top + (tap + t) / w.taps_w * w.dilation_h, v = left + (tap + t) % w.taps_w * w.dilation_w;
        if (tap + t >= w.taps || h < 0 || h >= w.height || v < 0 || v >= w.width) continue;
        Vector<T> pixel;
        pixel.load_seen(x + ((static_cast<i64>(image) * w.height + h) * w.width + v) * seen, channels, o, 0);
        sums[t].add(given, pixel);
      }
    }
    __syncwarp();
    gather(sums, part, o, tap, row, w.taps);
  }

  // The sum over the block's threads of the same channels: of a warp's first, then warp after warp.
  static __device__ void gather(Vector<T> (&sums)[TAPS], float* part, int o, int tap, int row, int taps) {
    __shared__ float found[WARPS][TAPS][ACROSS * SIZE];
    const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
    for (int t = 0; t < TAPS; t++)
      for (int e = 0; e < SIZE; e++) {
        float sum = sums[t].x[e];
        sum += __shfl_xor_sync(~0u, sum, 8);
        sums[t].x[e] = sum + __shfl_xor_sync(~0u, sum, 16);
      }
    if (thread % 32 < ACROSS)
      for (int t = 0; t < TAPS; t++)
        for (int e = 0; e < SIZE; e++) found[thread / 32][t][thread % 32 * SIZE + e] = sums[t].x[e];
    __syncthreads();
    for (int i = thread; i < TAPS * ACROSS * SIZE; i += THREADS) {
      const int t = i / (ACROSS * SIZE), e = i % (ACROSS * SIZE), to = blockIdx.x * (ACROSS * SIZE) + e;
      float sum = 0;
      for (int warp = 0; warp < WARPS; warp++) sum += found[warp][t][e];
      if (tap + t < taps && to < row) part[static_cast<i64>(tap + t) * row + to] = sum;
    }
  }
};

#define DEPTHWISE(NAME, T)                                                                                     \
  extern "C" __global__ void __launch_bounds__(128, 4)                                                         \
      depthwise_correlate_##NAME(const T* x, const T* weight, T* y, const T* scale, const T* shift, WINDOWS,   \
                                 int inputs, i64 y_start, i64 y_n, i64 y_h, i64 y_w, int activation) {         \
    const int each = inputs == 1 ? ceil_div(outputs, channels) : 1;                                            \
    depthwise_correlate<T>(x, weight, AS_WINDOWS, {outputs, each, inputs},                                     \
                           {y, scale, shift, y_start, y_n, y_h, y_w, activation});                             \
  }                                                                                                            \
  extern "C" __global__ void __launch_bounds__(DepthwiseGradient<T>::THREADS)                                  \
      depthwise_filter_gradient_##NAME(const T* x, const T* g, float* parts, WINDOWS, int chunk) {             \
    const int low = static_cast<int>(blockIdx.z) * chunk;                                                      \
    DepthwiseGradient<T>::run(x, g, parts + static_cast<i64>(blockIdx.z) * taps * padded(outputs), AS_WINDOWS, \
                              {outputs, outputs / channels, 1}, low, at_most(low + chunk, windows));           \
  }

DEPTHWISE(float16, float16)
DEPTHWISE(bfloat16, bfloat16)
DEPTHWISE(float32, float)

}  // namespace minidl
