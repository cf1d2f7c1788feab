// Vectors of the compiler's own kind, as wide as the instruction set's registers: one source for SSE, AVX2, AVX-512,
// NEON.
//
// Included by kernel files only; all of it lives in the namespace of the instruction set it is compiled for (isa.h).
// No standard containers here or in kernel files: the linker could hand their AVX-512 copies to the baseline.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/pool.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define MINIDL_INLINE inline __attribute__((always_inline))
#define MINIDL_UNROLL _Pragma("GCC unroll 16")

namespace minidl::MINIDL_ISA {

#if defined(__AVX512F__)
constexpr int BYTES = 64;
#elif defined(__AVX2__)
constexpr int BYTES = 32;
#else
constexpr int BYTES = 16;
#endif

template <class T>
struct VecOf {
  typedef T type __attribute__((vector_size(BYTES)));
};
template <class T>
using vec = typename VecOf<T>::type;
using vf = vec<float>;
using vd = vec<double>;
using vi = vec<int32_t>;
using vl = vec<int64_t>;
template <class T>
constexpr int LANES = BYTES / sizeof(T);
constexpr int W = LANES<float>;
template <class T>
struct Unaligned {
  typedef vec<T> type __attribute__((aligned(sizeof(T)), may_alias));
};
template <class T>
struct LaneOf {
  using type = std::remove_reference_t<decltype(std::declval<T>()[0])>;
};

// -- numbers ------------------------------------------------------------------------------------------------------

template <class T>
MINIDL_INLINE constexpr T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
MINIDL_INLINE constexpr T max(T a, T b) {
  return a < b ? b : a;
}
MINIDL_INLINE constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
MINIDL_INLINE constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// -- loads and stores ---------------------------------------------------------------------------------------------

template <class T>
MINIDL_INLINE vec<T> load(const T* p) {
  return *reinterpret_cast<const typename Unaligned<T>::type*>(p);
}
template <class T>
MINIDL_INLINE void store(T* p, std::type_identity_t<vec<T>> v) {
  *reinterpret_cast<typename Unaligned<T>::type*>(p) = v;
}
template <class T>
MINIDL_INLINE vec<T> splat(T x) {
  return x - vec<T>{};
}
MINIDL_INLINE vf splatf(float x) { return splat<float>(x); }

// The first n lanes only; n may be 0 or less, or more than there are. The rest of what is loaded is 0.
MINIDL_INLINE vf load_n(const float* p, int64_t n) {
  if (n >= W) return load(p);
#if defined(__AVX512F__)
  return n <= 0 ? vf{} : (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#elif defined(__AVX2__)
  if (n <= 0) return vf{};
  vi lane = {0, 1, 2, 3, 4, 5, 6, 7};
  return (vf)_mm256_maskload_ps(p, (__m256i)(lane < (int32_t)n));
#else
  vf v{};
  for (int i = 0; i < n; i++) v[i] = p[i];
  return v;
#endif
}
MINIDL_INLINE void store_n(float* p, vf v, int64_t n) {
  if (n >= W) return store(p, v);
#if defined(__AVX512F__)
  if (n > 0) _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#elif defined(__AVX2__)
  vi lane = {0, 1, 2, 3, 4, 5, 6, 7};
  if (n > 0) _mm256_maskstore_ps(p, (__m256i)(lane < (int32_t)n), (__m256)v);
#else
  for (int i = 0; i < n; i++) p[i] = v[i];
#endif
}
MINIDL_INLINE vd load_n(const double* p, int64_t n) {
  if (n >= LANES<double>) return load(p);
#if defined(__AVX512F__)
  return n <= 0 ? vd{} : (vd)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p);
#else
  vd v{};
  for (int i = 0; i < n; i++) v[i] = p[i];
  return v;
#endif
}
MINIDL_INLINE void store_n(double* p, vd v, int64_t n) {
  if (n >= LANES<double>) return store(p, v);
#if defined(__AVX512F__)
  if (n > 0) _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)v);
#else
  for (int i = 0; i < n; i++) p[i] = v[i];
#endif
}

// Products of the lower 32 bits of 64-bit lanes.
MINIDL_INLINE vec<uint64_t> times_low_half(vec<uint64_t> a, vec<uint64_t> b) {
#if defined(__AVX512F__)
  return (vec<uint64_t>)_mm512_maskz_mul_epu32((__mmask8)-1, (__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (vec<uint64_t>)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
  return (vec<uint64_t>)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
  return (a & 0xffffffff) * (b & 0xffffffff);
#endif
}

// Past the caches, for outputs much larger than they are. p is aligned to BYTES; a task that streams ends with a fence.
MINIDL_INLINE void stream(float* p, vf v) {
#if defined(__AVX512F__)
  _mm512_stream_ps(p, (__m512)v);
#elif defined(__AVX__)
  _mm256_stream_ps(p, (__m256)v);
#elif defined(__SSE2__)
  _mm_stream_ps(p, (__m128)v);
#else
  store(p, v);
#endif
}
MINIDL_INLINE void stream_fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

// -- lanes --------------------------------------------------------------------------------------------------------

template <class V>
MINIDL_INLINE V vmax(V a, V b) {
  return a > b ? a : b;
}  // b where a is NaN
template <class V>
MINIDL_INLINE V vmin(V a, V b) {
  return a < b ? a : b;
}
#if defined(__AVX512F__)  // (one instruction: the compiler makes two; masked, as GCC warns of the others)
MINIDL_INLINE vf vmax(vf a, vf b) { return (vf)_mm512_maskz_max_ps((__mmask16)-1, (__m512)a, (__m512)b); }
MINIDL_INLINE vf vmin(vf a, vf b) { return (vf)_mm512_maskz_min_ps((__mmask16)-1, (__m512)a, (__m512)b); }
#elif defined(__AVX2__)
MINIDL_INLINE vf vmax(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
MINIDL_INLINE vf vmin(vf a, vf b) { return (vf)_mm256_min_ps((__m256)a, (__m256)b); }
#elif defined(__SSE2__)
MINIDL_INLINE vf vmax(vf a, vf b) { return (vf)_mm_max_ps((__m128)a, (__m128)b); }
MINIDL_INLINE vf vmin(vf a, vf b) { return (vf)_mm_min_ps((__m128)a, (__m128)b); }
#endif

template <int... I>
struct Lanes {};
template <int N, int... I>
struct MakeLanes : MakeLanes<N - 1, N - 1, I...> {};
template <int... I>
struct MakeLanes<0, I...> {
  using type = Lanes<I...>;
};
template <class V>
using LanesOf = typename MakeLanes<BYTES / sizeof(V{}[0])>::type;

template <int... I>
MINIDL_INLINE vi iota(Lanes<I...>) {
  return vi{I...};
}
MINIDL_INLINE vi lane_index() { return iota(LanesOf<vi>{}); }

template <class V, int... I>
MINIDL_INLINE void zip(V a, V b, V& low, V& high, Lanes<I...>) {
  constexpr int N = sizeof...(I);
  low = __builtin_shufflevector(a, b, (I / 2 + (I & 1) * N)...);
  high = __builtin_shufflevector(a, b, (I / 2 + N / 2 + (I & 1) * N)...);
}
template <class V, int... I>
MINIDL_INLINE V even_lanes(V a, V b, Lanes<I...>) {
  return __builtin_shufflevector(a, b, (2 * I)...);
}
template <class V, int... I>
MINIDL_INLINE V odd_lanes(V a, V b, Lanes<I...>) {
  return __builtin_shufflevector(a, b, (2 * I + 1)...);
}
template <int D, class V, int... I>
MINIDL_INLINE V exchange(V a, Lanes<I...>) {
  return __builtin_shufflevector(a, a, (I ^ D)...);
}

// Over all lanes, by halves: the order is that of a tree, whatever the data.
template <class V, class F, int D = BYTES / sizeof(V{}[0]) / 2>
MINIDL_INLINE auto fold(V v, F f) {
  if constexpr (D == 0) {
    return v[0];
  } else {
    return fold<V, F, D / 2>(f(v, exchange<D>(v, LanesOf<V>{})), f);
  }
}
template <class V>
MINIDL_INLINE auto sum(V v) {
  return fold(v, [](V a, V b) { return a + b; });
}
template <class V>
MINIDL_INLINE auto largest(V v) {
  return fold(v, [](V a, V b) { return vmax(a, b); });
}

// An in-register transpose: perfect shuffles, each of which rotates the bits of (row, column) by one.
template <class T>
MINIDL_INLINE void transpose(vec<T> (&r)[LANES<T>]) {
  constexpr int N = LANES<T>;
  for (int stage = 1; stage < N; stage *= 2) {
    vec<T> t[N];
    MINIDL_UNROLL
    for (int i = 0; i < N / 2; i++) zip(r[i], r[i + N / 2], t[2 * i], t[2 * i + 1], LanesOf<vec<T>>{});
    MINIDL_UNROLL
    for (int i = 0; i < N; i++) r[i] = t[i];
  }
}

// -- threads and scratch ------------------------------------------------------------------------------------------

// f(0) ... f(tasks - 1) on the pool. What a task does must not depend on which thread runs it.
template <class F>
MINIDL_INLINE void parallel_for(int64_t tasks, const F& f) {
  pool::run(tasks, [](const void* context, int64_t i) { (*static_cast<const F*>(context))(i); }, &f);
}
// f(first, end) over [0, count) in pieces of about `grain`.
template <class F>
MINIDL_INLINE void parallel_chunks(int64_t count, int64_t grain, const F& f) {
  int64_t chunks = max<int64_t>(1, ceil_div(count, max<int64_t>(1, grain)));
  parallel_for(chunks, [&](int64_t i) { f(count * i / chunks, count * (i + 1) / chunks); });
}

// Memory of a kernel or of one task, 64-byte aligned, uninitialised, with room for one vector of overrun.
template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t count)
      : data_(static_cast<T*>(memory::scratch(static_cast<size_t>(count) * sizeof(T) + BYTES))) {}
  ~Scratch() { memory::release(data_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  operator T*() const { return data_; }
  T* get() const { return data_; }

 private:
  T* data_;
};

}  // namespace minidl::MINIDL_ISA
