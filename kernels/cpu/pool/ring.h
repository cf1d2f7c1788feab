// What both directions of every pooling share.
#pragma once
#include "kernels/cpu/phases.h"

namespace minidl::MINIDL_ISA {

constexpr int64_t POOL_GRAIN = 32768;  // elements of x of one task

// Which rows are held in so many slots: rows that are nearer to each other than that do not displace each other.
class Ring {
 public:
  explicit Ring(int64_t slots) : slots_(slots), held_(slots) {
    for (int64_t i = 0; i < slots; i++) held_[i] = -1;
  }
  int64_t slot(int64_t row) const { return row % slots_; }
  bool missing(int64_t row) {  // true once: the caller then fills the slot
    int64_t& held = held_[slot(row)];
    return held != row && (held = row, true);
  }

 private:
  int64_t slots_;
  Scratch<int64_t> held_;
};

// f(window, tap) for every tap that sees element i of an axis, windows in order.
template <class F>
MINIDL_INLINE void for_windows_seeing(const Windows& w, int64_t i, const F& f) {
  const int64_t at = i + w.before, last = min(w.count - 1, at / w.stride);
  const int64_t room = at - (w.kernel - 1) * w.dilation;
  for (int64_t window = room > 0 ? ceil_div(room, w.stride) : 0; window <= last; window++)
    if ((at - window * w.stride) % w.dilation == 0) f(window, (at - window * w.stride) / w.dilation);
}

// Which taps see a column, by its phase.
class Gather {
 public:
  explicit Gather(const Windows& w) : w_(w), start_(w.stride + 1), tap_(w.kernel), window_(w.kernel) {
    int64_t n = 0;
    for (int64_t b = 0; b < w.stride; b++) {
      start_[b] = n;
      for (int64_t k = 0; k < w.kernel; k++)
        if (const int64_t at = b + w.before - k * w.dilation; at % w.stride == 0) {
          tap_[n] = k;
          window_[n++] = at / w.stride;
        }
    }
    start_[w.stride] = n;
  }

  // A row of gx: f(window, k, total) adds what tap k gets from W windows, from `window` on (which may lie up to reach()
  // before the first one, or up to 2 W behind the last one: rows have zeros there).
  template <class F>
  MINIDL_INLINE void row(float* gx, const F& f) const {
    for (int64_t x = 0, i = 0; x < w_.size; x += w_.stride * W, i += W)
      store_interleaved(gx + x, w_.stride, w_.size - x, [&](int64_t b) {
        vf total{};
        for (int64_t n = start_[b]; n < start_[b + 1]; n++) f(i + window_[n], tap_[n], total);
        return total;
      });
  }

 private:
  const Windows w_;
  Scratch<int64_t> start_, tap_, window_;
};

// Floats of a row of g with zeros around it, whose window 0 is at `margin`.
MINIDL_INLINE int64_t margin(const Windows& w) { return w.reach(); }
MINIDL_INLINE int64_t padded_row(const Windows& w) {
  return margin(w) + max(w.count, ceil_div(w.size + w.before, w.stride)) + 2 * W;
}

}  // namespace minidl::MINIDL_ISA
