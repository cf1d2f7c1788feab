// Statistics of channels over a batch, and affine maps of channels, whatever a channel's length.
//
// x is (batch, channels, length). Long channels are taken slice by slice; of short ones (a few elements in a sample,
// one in x (batch, channels)) each column of a block of channels is summed, and a channel's columns then come together.
#pragma once
#include "kernels/cpu/norm/moments.h"

namespace minidl::MINIDL_ISA {

struct Layout {
  int64_t batch, channels, length;
  int64_t row() const { return channels * length; }
  int64_t size() const { return batch * row(); }
  bool is_short() const { return length < 12; }
};

constexpr int64_t COLUMNS = 64;  // of a block of short channels: whole channels
constexpr int VECTORS = COLUMNS / W;

// What an element of a channel becomes: (x - mean) * scale + g * share + bias. (Forward has no g.)
struct ChannelMap {
  float mean, scale, share, bias;
};

template <bool HAS_G>
MINIDL_INLINE vf mapped(vf x, vf g, vf mean, vf scale, vf share, vf bias) {
  vf y = (x - mean) * scale + bias;
  if constexpr (HAS_G) y += g * share;
  return y;
}

// y = map of x (and g) in the slices [first, end) of one long channel.
template <bool HAS_G>
MINIDL_INLINE void map_channel(float* y, const float* x, const float* g, const Layout& at, int64_t c, int64_t first,
                               int64_t end, const ChannelMap& m) {
  const bool streamed = at.size() * 4 >= STREAMED;
  const vf mean = splatf(m.mean), scale = splatf(m.scale), share = splatf(m.share), bias = splatf(m.bias);
  for (int64_t b = first; b < end; b++) {
    const int64_t from = (b * at.channels + c) * at.length;
    write_row(y + from, at.length, streamed, [&](int64_t i, int64_t lanes) {
      return mapped<HAS_G>(load_n(x + from + i, lanes), HAS_G ? load_n(g + from + i, lanes) : vf{}, mean, scale, share,
                           bias);
    });
  }
}

// The same for a block of short channels from c on.
template <bool HAS_G>
MINIDL_INLINE void map_block(float* y, const float* x, const float* g, const Layout& at, int64_t c, int64_t channels,
                             const ChannelMap* maps) {
  alignas(64) float mean[COLUMNS], scale[COLUMNS], share[COLUMNS], bias[COLUMNS];
  const int64_t columns = channels * at.length;
  for (int64_t i = 0; i < columns; i++) {
    const ChannelMap& m = maps[i / at.length];
    mean[i] = m.mean, scale[i] = m.scale, share[i] = m.share, bias[i] = m.bias;
  }
  for (int64_t b = 0; b < at.batch; b++) {
    const int64_t from = b * at.row() + c * at.length;
    for_vectors(columns, [&](int64_t i, int64_t lanes) {
      vf of_g = HAS_G ? load_n(g + from + i, lanes) : vf{};
      vf v = mapped<HAS_G>(load_n(x + from + i, lanes), of_g, load(mean + i), load(scale + i), load(share + i),
                           load(bias + i));
      store_n(y + from + i, v, lanes);
    });
  }
}

// Adds up f(row offset, column, lanes) over the batch, for each column of a block: in vectors for some rows, then in
// doubles.
template <class F>
MINIDL_INLINE void sum_columns(const Layout& at, int64_t columns, double* sums, const F& f) {
  for (int64_t i = 0; i < columns; i++) sums[i] = 0;
  for (int64_t start = 0; start < at.batch; start += 64) {
    vf of[VECTORS] = {};
    for (int64_t b = start; b < min(start + 64, at.batch); b++) {
      if (columns == COLUMNS) {
        MINIDL_UNROLL
        for (int v = 0; v < VECTORS; v++)
          of[v] += f(b * at.row(), static_cast<int64_t>(v * W), static_cast<int64_t>(W));
      } else {
        for (int v = 0; v * W < columns; v++) of[v] += f(b * at.row(), static_cast<int64_t>(v * W), columns - v * W);
      }
    }
    alignas(64) float lanes[COLUMNS];
    for (int v = 0; v < VECTORS; v++) store(lanes + v * W, of[v]);
    for (int64_t i = 0; i < columns; i++) sums[i] += lanes[i];
  }
}

// A double for each column becomes one for each channel.
MINIDL_INLINE void join_columns(double* sums, int64_t channels, int64_t length) {
  for (int64_t c = 0; c < channels; c++) {
    double all = 0;
    for (int64_t l = 0; l < length; l++) all += sums[c * length + l];
    sums[c] = all;
  }
}

// Into how many parts of the batch each long channel is cut: one where there are channels enough, and one stays in L2
// or in its core's share of L3 until it is read again.
MINIDL_INLINE int64_t parts_of(const Layout& at) {
  int64_t for_cores = ceil_div(16, at.channels), for_cache = ceil_div(at.batch * at.length, 1 << 20);
  return max<int64_t>(1, min(at.batch, max(for_cores, for_cache)));
}
template <class F>
MINIDL_INLINE void for_parts(const Layout& at, const F& f) {
  const int64_t parts = parts_of(at);
  parallel_for(at.channels * parts, [&](int64_t task) {
    int64_t c = task / parts, part = task % parts;
    f(task, c, at.batch * part / parts, at.batch * (part + 1) / parts);
    stream_fence();
  });
}
template <class F>
MINIDL_INLINE void for_blocks(const Layout& at, const F& f) {
  const int64_t each = COLUMNS / at.length;
  parallel_for(ceil_div(at.channels, each),
               [&](int64_t task) { f(task * each, min(each, at.channels - task * each)); });
}

}  // namespace minidl::MINIDL_ISA
