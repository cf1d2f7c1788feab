// Convolutions over two axes as products of matrices that never exist (implicit GEMM).
//
// Images, and what comes out, are (N, H, W, G, C): channels last, by group, and padded to a multiple of 8. Rows of the
// product are windows; along K lie the taps of a window and, within a tap, its channels: the 16 bytes that a thread
// copies come from one pixel. What lies beyond the image is copied as zeros. As minidl/ops/conv.py shows, three
// functions do all convolutions and their gradients: `correlate`, whose outputs may lie apart in memory, serves
// `spread` as well (a correlation for each phase of the stride), and `filter_gradient` is the third.
//
// Source: Chetlur et al. 2014, "cuDNN: Efficient Primitives for Deep Learning", arXiv:1410.0759, section 3.
#include "product.cuh"
#include "windows.cuh"

namespace minidl {

// What a window sees first: maybe beyond the image.
template <class T>
struct View {
  const T* at;
  int top, left;

  View() = default;
  __device__ View(const T* x, const Windows& w, int window, i64 pixel) {
    const int image = window / (w.p * w.q), line = window / w.q % w.p;
    top = window < w.count ? w.start_h + line * w.stride_h : -(1 << 30);  // (one that is not there sees nothing)
    left = w.start_w + window % w.q * w.stride_w;
    at = x + ((static_cast<i64>(image) * w.height + top) * w.width + left) * pixel;
  }
  __device__ bool inside(const Windows& w, int line, int place) const {
    return static_cast<u32>(top + line) < static_cast<u32>(w.height) &&
           static_cast<u32>(left + place) < static_cast<u32>(w.width);
  }
};

// An element of K: which tap, and which channel of it.
struct Tap {
  int number, line, place, channel;

  __device__ Tap(const Windows& w, int k) : number(k / w.channels), channel(k % w.channels) {
    line = number / w.taps_w, place = number % w.taps_w;
  }
  __device__ void advance(const Windows& w, int by) {
    for (channel += by; channel >= w.channels; channel -= w.channels) {
      number++;
      if (++place == w.taps_w) place = 0, line++;
    }
  }
};

// -- correlate ----------------------------------------------------------------------------

// ROWS windows x COLUMNS outputs of a group.
template <class T, int COLUMNS>
struct Correlate {
  static constexpr int ROWS = 128, DEPTH = 64 / static_cast<int>(sizeof(T)), STAGES = 4;
  using Sums = Product<T, ROWS, COLUMNS>;
  using Seen = Tile<T, ROWS, DEPTH>;
  using Filters = Tile<T, COLUMNS, DEPTH>;
  static constexpr int THREADS = Sums::THREADS, STAGE = Seen::BYTES + Filters::BYTES;
  static constexpr int RESIDENT = sizeof(T) == 2 ? (COLUMNS == 128 ? 2 : 3) : 1;  // blocks on a processor, at least
  static constexpr int APART = THREADS / Seen::CHUNKS;  // rows between those that a thread copies
  static_assert(ROWS * COLUMNS * 4 <= STAGES * STAGE);

  const Windows& w;
  u32 shared;
  Tap tap;
  int outputs;  // from there on
  const T* filters;
  int pixel;
  View<T> views[ROWS / APART];
  Sums sums;

  __device__ Correlate(const Windows& w, u32 shared, const T* x, const T* weight)
      : w(w), shared(shared), tap(w, static_cast<int>(threadIdx.x) % Seen::CHUNKS * PER_CHUNK<T>) {
    const int row = static_cast<int>(threadIdx.x) / Seen::CHUNKS, output = place().y + row;
    const int group = static_cast<int>(blockIdx.y);
    outputs = w.outputs - output;
    filters = weight + (static_cast<i64>(group) * w.outputs + output) * w.depth();
    pixel = static_cast<int>(gridDim.y) * w.channels;
#pragma unroll
    for (int i = 0; i < ROWS / APART; i++)
      views[i] = View<T>(x + group * w.channels, w, place().x + row + i * APART, pixel);
  }

  // The block's first window, and its first output; asked for again rather than kept in registers.
  __device__ int2 place() const {
    const int tile = forgotten(static_cast<int>(blockIdx.x)), across = ceil_div(w.outputs, COLUMNS);
    return {tile / across * ROWS, tile % across * COLUMNS};
  }

  // The next DEPTH elements of K.
  __device__ void fetch(int stage) {
    const Seen seen{shared + stage * STAGE};
    const Filters taken{seen.base + Seen::BYTES};
    const bool there = tap.number < w.taps;
    const int thread = forgotten(static_cast<int>(threadIdx.x)), row = thread / Seen::CHUNKS,
              chunk = thread % Seen::CHUNKS;
    const int line = tap.line * w.dilation_h, place = tap.place * w.dilation_w;
    const i64 offset = (static_cast<i64>(line) * w.width + place) * pixel + tap.channel;
#pragma unroll
    for (int i = 0; i < ROWS / APART; i++)
      copy_chunk(seen.chunk(row + i * APART, chunk), views[i].at + offset,
                 there && views[i].inside(w, line, place) ? PER_CHUNK<T> : 0);
    const T* from = filters + tap.number * w.channels + tap.channel;
#pragma unroll
    for (int i = 0; i < COLUMNS; i += APART)
      copy_chunk(taken.chunk(row + i, chunk), from + static_cast<i64>(i) * w.depth(),
                 there && i < outputs ? PER_CHUNK<T> : 0);
    tap.advance(w, DEPTH);
  }

  __device__ void run() {
    const int slabs = ceil_div(w.depth(), DEPTH);
    for (int s = 0; s < STAGES - 1; s++) {
      if (s < slabs) fetch(s);
      commit_copies();
    }
    for (int s = 0; s < slabs; s++) {
      wait_copies<STAGES - 2>();
      __syncthreads();
      if (s + STAGES - 1 < slabs) fetch((s + STAGES - 1) % STAGES);
      commit_copies();
      const Seen seen{shared + s % STAGES * STAGE};
      sums.template add_along<DEPTH>(seen, Filters{seen.base + Seen::BYTES});
    }
    wait_copies<0>();
    __syncthreads();
  }

  // By way of shared memory, where eight neighbours come together.
  __device__ void finish(const Outputs<T>& to) const {
    const Tile<float, ROWS, COLUMNS> tile{shared};
    sums.each_pair([&](int r, int c, int more, float x, float y) { tile.put_pair(r, c, more, x, y); });
    __syncthreads();
    const int p = forgotten(w.p), q = forgotten(w.q), group = static_cast<int>(blockIdx.y);
    const int2 first = place();
#pragma unroll 1
    for (int at = static_cast<int>(threadIdx.x); at < ROWS * COLUMNS / 8; at += THREADS) {
      const int r = at / (COLUMNS / 8), c = at % (COLUMNS / 8) * 8, window = first.x + r, output = first.y + c;
      if (window >= w.count || output >= padded(w.outputs)) continue;
      float x[8];
      load_floats(x, tile.chunk(r, c / 4));
      load_floats(x + 4, tile.chunk(r, c / 4 + 1));
#pragma unroll
      for (int i = 0; i < 8; i++) x[i] = output + i < w.outputs ? to.finished(x[i], group * w.outputs + output + i) : 0;
      const int line = window / q, image = line / p;
      store_floats(to.at(image, line - image * p, window - line * q) + group * padded(w.outputs) + output, x);
    }
  }
};

#define CORRELATE(NAME, T, COLUMNS)                                                                             \
  extern "C" __global__ void __launch_bounds__(Correlate<T, COLUMNS>::THREADS, Correlate<T, COLUMNS>::RESIDENT) \
      correlate_##NAME##_##COLUMNS(const T* x, const T* weight, T* y, const T* scale, const T* shift, WINDOWS,  \
                                   i64 y_start, i64 y_n, i64 y_h, i64 y_w, int activation) {                    \
    extern __shared__ __align__(128) u8 shared[];                                                               \
    const Windows w = AS_WINDOWS;                                                                               \
    Correlate<T, COLUMNS> block(w, shared_address(shared), x, weight);                                          \
    block.run();                                                                                                \
    block.finish({y, scale, shift, y_start, y_n, y_h, y_w, activation});                                        \
  }

// -- filter_gradient ----------------------------------------------------------------------

// ROWS outputs x COLUMNS elements of K; what is summed over are windows.
template <class T>
struct FilterGradient {
  static constexpr int ROWS = 64, COLUMNS = 128, DEPTH = 32, STAGES = sizeof(T) == 2 ? 4 : 3;
  using Sums = Product<T, ROWS, COLUMNS>;
  using Given = Tile<T, DEPTH, ROWS>;
  using Seen = Tile<T, DEPTH, COLUMNS>;
  static constexpr int THREADS = Sums::THREADS, STAGE = Given::BYTES + Seen::BYTES;
  static constexpr int APART = THREADS / Seen::CHUNKS;  // windows between those that a thread copies

  const Windows& w;
  u32 shared;
  int output, low, high;  // the first output; windows [low, high)
  const T *x, *g;
  i64 pixel, row;                         // elements of a pixel of x, and of g
  int chunk, window, image, line, place;  // what the thread copies next
  Tap tap;
  Sums sums;

  __device__ FilterGradient(const Windows& w, u32 shared, int group, int groups, int output, int k, int low, int high,
                            const T* x, const T* g)
      : w(w),
        shared(shared),
        output(output),
        low(low),
        high(high),
        x(x + group * w.channels),
        g(g + group * padded(w.outputs) + output),
        pixel(static_cast<i64>(groups) * w.channels),
        row(static_cast<i64>(groups) * padded(w.outputs)),
        chunk(static_cast<int>(threadIdx.x) % Seen::CHUNKS),
        window(low + static_cast<int>(threadIdx.x) / Seen::CHUNKS),
        image(window / (w.p * w.q)),
        line(window / w.q % w.p),
        place(window % w.q),
        tap(w, k + chunk * PER_CHUNK<T>) {}

  // The next DEPTH windows, the first of which is `from`.
  __device__ void fetch(int from, int stage) {
    const Given given{shared + stage * STAGE};
    const Seen seen{given.base + Given::BYTES};
    given.template fill<THREADS>(g + from * row, row, high - from, w.outputs - output);
    const int first = static_cast<int>(threadIdx.x) / Seen::CHUNKS;
#pragma unroll
    for (int i = 0; i < DEPTH; i += APART) {
      const int h = w.start_h + line * w.stride_h + tap.line * w.dilation_h;
      const int v = w.start_w + place * w.stride_w + tap.place * w.dilation_w;
      const bool inside = tap.number < w.taps && window < high && static_cast<u32>(h) < static_cast<u32>(w.height) &&
                          static_cast<u32>(v) < static_cast<u32>(w.width);
      copy_chunk(seen.chunk(first + i, chunk),
                 x + ((static_cast<i64>(image) * w.height + h) * w.width + v) * pixel + tap.channel,
                 inside ? PER_CHUNK<T> : 0);
      advance();
    }
  }

  __device__ void advance() {
    window += APART;
    for (place += APART; place >= w.q; place -= w.q)
      if (++line == w.p) line = 0, image++;
  }

  __device__ void run() {
    const int slabs = ceil_div(high - low, DEPTH);
    for (int s = 0; s < STAGES - 1; s++) {
      if (s < slabs) fetch(low + s * DEPTH, s);
      commit_copies();
    }
    for (int s = 0; s < slabs; s++) {
      wait_copies<STAGES - 2>();
      __syncthreads();
      const int ahead = s + STAGES - 1;
      if (ahead < slabs) fetch(low + ahead * DEPTH, ahead % STAGES);
      commit_copies();
      const Given given{shared + s % STAGES * STAGE};
      sums.template add_across<DEPTH>(given, Seen{given.base + Given::BYTES});
    }
    wait_copies<0>();
  }

  __device__ void finish(float* part, int k) const {
    sums.each_pair([&](int r, int c, int more, float one, float other) {
      if (output + r < w.outputs && k + c + more < w.depth())
        *reinterpret_cast<float2*>(part + static_cast<i64>(output + r) * w.depth() + k + c + more) = {one, other};
    });
  }
};

#define FILTER_GRADIENT(NAME, T)                                                                               \
  extern "C" __global__ void __launch_bounds__(FilterGradient<T>::THREADS)                                     \
      filter_gradient_##NAME(const T* x, const T* g, float* parts, WINDOWS, int chunk) {                       \
    extern __shared__ __align__(128) u8 shared[];                                                              \
    const Windows w = AS_WINDOWS;                                                                              \
    const int across = ceil_div(w.depth(), 128), tile = static_cast<int>(blockIdx.x), k = tile % across * 128; \
    const int group = static_cast<int>(blockIdx.y), groups = static_cast<int>(gridDim.y);                      \
    const int low = static_cast<int>(blockIdx.z) * chunk;                                                      \
    FilterGradient<T> block(w, shared_address(shared), group, groups, tile / across * block.ROWS, k, low,      \
                            at_most(low + chunk, windows), x, g);                                              \
    block.run();                                                                                               \
    block.finish(parts + (static_cast<i64>(blockIdx.z) * groups + group) * outputs * w.depth(), k);            \
  }

CORRELATE(float16, float16, 64)
CORRELATE(float16, float16, 128)
CORRELATE(bfloat16, bfloat16, 64)
CORRELATE(bfloat16, bfloat16, 128)
CORRELATE(float32, float, 64)
CORRELATE(float32, float, 128)
CORRELATE(tf32, tf32, 64)
CORRELATE(tf32, tf32, 128)
FILTER_GRADIENT(float16, float16)
FILTER_GRADIENT(bfloat16, bfloat16)
FILTER_GRADIENT(float32, float)
FILTER_GRADIENT(tf32, tf32)

}  // namespace minidl
