// Where the windows of a convolution or a pooling lie on one axis. Plain C++: bindings fill it, kernels read it.
#pragma once
#include <cstdint>

namespace minidl {

// `count` windows of `kernel` taps on `size` elements: tap k of window p is element p * stride + k * dilation - before.
struct Windows {
  int64_t size, kernel, stride, dilation, before, count;

  int64_t reach() const { return (kernel - 1) * dilation / stride; }  // of the last tap, in windows
  int64_t at(int64_t window, int64_t tap) const { return window * stride + tap * dilation - before; }
  // [first, end) of the taps of a window that are on the axis.
  int64_t first_tap(int64_t window) const {
    int64_t outside = before - window * stride;
    return outside > 0 ? (outside + dilation - 1) / dilation : 0;
  }
  int64_t end_tap(int64_t window) const {
    int64_t room = size + before - window * stride;
    int64_t taps = room > 0 ? (room + dilation - 1) / dilation : 0;
    return taps < kernel ? taps : kernel;
  }
};

}  // namespace minidl
