// Number types, and functions on float32, without any header: nvcc and NVRTC compile the same text.
#pragma once

namespace minidl {

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i64 = long long;

struct float16 {
  u16 bits;
};
struct bfloat16 {
  u16 bits;
};
struct tf32 {  // a float that tensor cores take with the first 10 bits of its fraction
  float value;
};

constexpr float LOG2_E = 1.4426950408889634f;

__device__ inline float infinity() { return __int_as_float(0x7f800000); }

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(tf32 x) { return x.value; }
__device__ inline float to_float(bfloat16 x) { return __uint_as_float(static_cast<u32>(x.bits) << 16); }
__device__ inline float to_float(float16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}

template <class T>
__device__ T from_float(float x);
template <>
__device__ inline float from_float(float x) {
  return x;
}
template <>
__device__ inline tf32 from_float(float x) {
  return {x};
}
template <>
__device__ inline float16 from_float(float x) {
  float16 y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
template <>
__device__ inline bfloat16 from_float(float x) {
  bfloat16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}

// Two half numbers in a word, the first in its lower half.
template <class T>
__device__ u32 packed(float low, float high);
template <>
__device__ inline u32 packed<float16>(float low, float high) {
  u32 word;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}
template <>
__device__ inline u32 packed<bfloat16>(float low, float high) {
  u32 word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}

__device__ inline float exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// 1 / (1 + exp(-x)): 0 where the exponential overflows.
__device__ inline float sigmoid(float x) { return 1.f / (1.f + expf(-x)); }

__device__ inline int at_least(int x, int low) { return x < low ? low : x; }
__device__ inline int at_most(int x, int high) { return x > high ? high : x; }
__host__ __device__ constexpr int ceil_div(int total, int block) { return (total + block - 1) / block; }

// Elements of a row whose end is filled with zeros, so that the next one begins at a multiple of 8.
__device__ inline int padded(int count) { return (count + 7) / 8 * 8; }

// x, of which the compiler knows no more: what is computed from it is computed anew, rather than kept in registers.
__device__ inline int forgotten(int x) {
  asm volatile("" : "+r"(x));
  return x;
}
__device__ inline u32 forgotten(u32 x) {
  asm volatile("" : "+r"(x));
  return x;
}
__device__ inline i64 forgotten(i64 x) {
  asm volatile("" : "+l"(x));
  return x;
}

// What is left of a block of `size` rows or columns that begins at `first`.
__device__ inline int left_of(int total, int first, int size) { return at_least(at_most(total - first, size), 0); }

}  // namespace minidl
