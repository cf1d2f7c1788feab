// What is done to each element of a product when its sum is complete, while it is in cache.
#pragma once
#include "kernels/cpu/conv/finish.h"
#include "kernels/cpu/gemm/activation.h"
#include "kernels/cpu/math.h"

namespace minidl::MINIDL_ISA {

// NaN stays NaN. Of float64 there is none but relu: kernels refuse the others.
template <class T>
MINIDL_INLINE vec<T> activated(vec<T> x, Activation activation) {
  if constexpr (std::is_same_v<T, float>) {
    switch (activation) {
      case Activation::none:
        return x;
      case Activation::relu:
        return at_least(x, 0.f);
      case Activation::gelu:
        return x * (verf(x * .707106781f) + 1.f) * .5f;
      case Activation::gelu_tanh:
        return x * (vtanh((x * x * .044715f + 1.f) * x * .797884561f) + 1.f) * .5f;
      case Activation::silu:
        return x * vsigmoid(x);
    }
  }
  return activation == Activation::relu ? (x < 0 ? vec<T>{} : x) : x;
}

template <Activation A>
void finish_as(const float* residual, float* y, int64_t count) {
  for (int64_t i = 0; i < count; i += W) {
    vf v = load_n(y + i, count - i);
    if (residual) v += load_n(residual + i, count - i);
    store_n(y + i, activated<float>(v, A), count - i);
  }
}

// A convolution's results [at, at + count).
inline void finish(const Finish& f, float* y, int64_t at, int64_t count) {
  const float* residual = f.residual ? f.residual + at : nullptr;
  switch (f.activation) {
    case Activation::none:
      return residual ? finish_as<Activation::none>(residual, y + at, count) : void();
    case Activation::relu:
      return finish_as<Activation::relu>(residual, y + at, count);
    case Activation::gelu:
      return finish_as<Activation::gelu>(residual, y + at, count);
    case Activation::gelu_tanh:
      return finish_as<Activation::gelu_tanh>(residual, y + at, count);
    case Activation::silu:
      return finish_as<Activation::silu>(residual, y + at, count);
  }
}

// x * scale + bias, then the activation, then + residual: each is left out where it is null or none.
template <class T>
struct Epilogue {
  const T* scale = nullptr;  // [N]
  const T* bias = nullptr;   // [N]
  Activation activation = Activation::none;
  const T* residual = nullptr;  // [M, N], rows ld_residual apart
  int64_t ld_residual = 0;

  bool any() const { return scale || bias || residual || activation != Activation::none; }
  Epilogue columns_from(int64_t n) const {
    Epilogue e = *this;
    if (scale) e.scale += n;
    if (bias) e.bias += n;
    if (residual) e.residual += n;
    return e;
  }
  MINIDL_INLINE vec<T> operator()(vec<T> x, int64_t m, int64_t n, int64_t lanes) const {
    if (scale) x *= load_n(scale + n, lanes);
    if (bias) x += load_n(bias + n, lanes);
    if (activation != Activation::none) x = activated<T>(x, activation);
    if (residual) x += load_n(residual + m * ld_residual + n, lanes);
    return x;
  }
  // To C[m + rows, n + columns], which begins at c.
  void apply(T* c, int64_t ldc, int64_t m, int64_t rows, int64_t n, int64_t columns) const {
    for (int64_t i = 0; i < rows; i++)
      for (int64_t j = 0; j < columns; j += LANES<T>) {
        T* p = c + i * ldc + j;
        store_n(p, (*this)(load_n(p, columns - j), m + i, n + j, columns - j), columns - j);
      }
  }
};

}  // namespace minidl::MINIDL_ISA
