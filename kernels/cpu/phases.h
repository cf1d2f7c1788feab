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
  // Lays out a row; what lies around it is left as `clear` made it. ZeroPadded: that is 0, so whole vectors may be
  // stored.
  template <bool ZeroPadded>
  MINIDL_INLINE void fill(const float* row, float* to) const {
    const int64_t n = w.size, before = w.before;
    auto put = [](float* p, vf v, int64_t lanes) { ZeroPadded ? store(p, v) : store_n(p, v, lanes); };
    if (w.stride == 1) {
      int64_t i = 0;
      for (; i + W <= n; i += W) store(to + before + i, load(row + i));
      if (i < n) put(to + before + i, load_n(row + i, n - i), n - i);
    } else if (w.stride == 2) {
      float* even = to + (before & 1) * pitch + before / 2;
      float* odd = to + (~before & 1) * pitch + (before + 1) / 2;
      auto halves = [&](int64_t i, vf a, vf b) {
        put(even + i, even_lanes(a, b, LanesOf<vf>{}), (n + 1) / 2 - i);
        put(odd + i, odd_lanes(a, b, LanesOf<vf>{}), n / 2 - i);
      };
      int64_t i = 0;
      for (; 2 * i + 2 * W <= n; i += W) halves(i, load(row + 2 * i), load(row + 2 * i + W));
      if (2 * i < n) halves(i, load_n(row + 2 * i, n - 2 * i), load_n(row + 2 * i + W, n - 2 * i - W));
    } else if (w.stride == 4 && ZeroPadded) {
      for (int64_t i = 0; 4 * i < n; i += W) {
        const float* from = row + 4 * i;
        const int64_t room = n - 4 * i;
        vf a = load_n(from, room), b = load_n(from + W, room - W), c = load_n(from + 2 * W, room - 2 * W);
        vf d = load_n(from + 3 * W, room - 3 * W);
        vf even[2] = {even_lanes(a, b, LanesOf<vf>{}), even_lanes(c, d, LanesOf<vf>{})};
        vf odd[2] = {odd_lanes(a, b, LanesOf<vf>{}), odd_lanes(c, d, LanesOf<vf>{})};
        auto line = [&](int64_t phase) { return to + (before + phase) % 4 * pitch + (before + phase) / 4 + i; };
        store(line(0), even_lanes(even[0], even[1], LanesOf<vf>{}));
        store(line(1), even_lanes(odd[0], odd[1], LanesOf<vf>{}));
        store(line(2), odd_lanes(even[0], even[1], LanesOf<vf>{}));
        store(line(3), odd_lanes(odd[0], odd[1], LanesOf<vf>{}));
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
