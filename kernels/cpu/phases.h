// Rows as windows see them: padded, and with a stride s cut into s phases (columns 0, s, 2s, ...; 1, s + 1, ...), so
// that what one tap of a window sees at neighbouring outputs lies side by side, at any stride.
#pragma once
#include "kernels/cpu/simd.h"
#include "kernels/cpu/windows.h"

namespace minidl::MINIDL_ISA {

struct Phases {
  const Windows w;
  const int64_t pitch;  // floats from a phase to the next; whole vectors of outputs may be read

  explicit Phases(const Windows& w)
      : w(w), pitch(max(round_up(w.count, W) + w.reach(), (w.size + w.before) / w.stride + 1) + W) {}
  int64_t floats() const { return pitch * w.stride; }
  // Where tap k of window 0 lies; that of window p is p floats behind it.
  int64_t tap(int64_t k) const { return k * w.dilation % w.stride * pitch + k * w.dilation / w.stride; }

  void clear(float* to, float value) const {
    for (int64_t i = 0; i < floats(); i++) to[i] = value;
  }
  // Lays out a row; what lies around it is left as `clear` made it.
  MINIDL_INLINE void fill(const float* row, float* to) const {
    const int64_t n = w.size, before = w.before;
    if (w.stride == 1) {
      for (int64_t i = 0; i < n; i += W) store_n(to + before + i, load_n(row + i, n - i), n - i);
    } else if (w.stride == 2) {
      float* even = to + (before & 1) * pitch + before / 2;
      float* odd = to + (~before & 1) * pitch + (before + 1) / 2;
      for (int64_t i = 0; 2 * i < n; i += W) {
        vf a = load_n(row + 2 * i, n - 2 * i), b = load_n(row + 2 * i + W, n - 2 * i - W);
        store_n(even + i, even_lanes(a, b, LanesOf<vf>{}), (n + 1) / 2 - i);
        store_n(odd + i, odd_lanes(a, b, LanesOf<vf>{}), n / 2 - i);
      }
    } else {
      for (int64_t phase = 0; phase < w.stride; phase++) {
        float* line = to + (before + phase) % w.stride * pitch + (before + phase) / w.stride;
        for (int64_t i = 0; i * w.stride + phase < n; i++) line[i] = row[i * w.stride + phase];
      }
    }
  }
};

// Stores W outputs of each of `stride` neighbouring columns interleaved, the first `room` floats of them: the way back.
template <class F>
MINIDL_INLINE void store_interleaved(float* to, int64_t stride, int64_t room, const F& column) {
  if (stride == 1) {
    store_n(to, column(0), room);
  } else if (stride == 2) {
    vf low, high;
    zip(column(0), column(1), low, high, LanesOf<vf>{});
    store_n(to, low, room);
    store_n(to + W, high, room - W);
  } else {
    for (int64_t b = 0; b < min(stride, room); b++) {
      vf v = column(b);
      for (int64_t t = 0; t < W && t * stride + b < room; t++) to[t * stride + b] = v[t];
    }
  }
}

}  // namespace minidl::MINIDL_ISA
