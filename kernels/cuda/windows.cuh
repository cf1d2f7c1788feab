// What a convolution's kernels are told of windows, taps and strides, as of minidl/kernels/gpu/conv.py.
#pragma once
#include "activation.cuh"

namespace minidl {

struct Windows {
  int count, p, q;  // N p q of them
  int height, width, channels, outputs, taps, taps_w;
  int start_h, start_w, stride_h, stride_w, dilation_h, dilation_w;

  __device__ int depth() const { return taps * channels; }
};

#define WINDOWS                                                                                                   \
  int windows, int p, int q, int height, int width, int channels, int outputs, int taps, int taps_w, int start_h, \
      int start_w, int stride_h, int stride_w, int dilation_h, int dilation_w
#define AS_WINDOWS                                                             \
  {windows, p,       q,       height,   width,    channels,   outputs,   taps, \
   taps_w,  start_h, start_w, stride_h, stride_w, dilation_h, dilation_w}

// Where results of a correlation go, and what they become.
template <class T>
struct Outputs {
  T* y;
  const T *scale, *shift;         // of each output, or null
  i64 start, image, line, place;  // window (n, i, j) goes to element start + ...
  int activation;

  __device__ float finished(float sum, int output) const {
    if (scale != nullptr) sum *= to_float(scale[output]);
    if (shift != nullptr) sum += to_float(shift[output]);
    return bend(sum, activation);
  }
  __device__ T* at(int n, int i, int j) const { return y + start + n * image + i * line + j * place; }
};

}  // namespace minidl
