// Statistics of channels over a batch, and affine maps of channels, whatever a channel's length.
//
// x is (batch, channels, length). Long channels are taken slice by slice. Short ones (a few elements in a sample; one
// in x (batch, channels)) are columns of a matrix with a row for each sample, of which blocks of rows are taken one by
// one.
#pragma once
#include "kernels/cpu/norm/moments.h"

namespace minidl::MINIDL_ISA {

struct Layout {
  int64_t batch, channels, length;
  int64_t row() const { return channels * length; }
  int64_t size() const { return batch * row(); }
  int64_t count() const { return batch * length; }  // of a channel's elements
  bool is_short() const { return length < 12; }
  bool streamed() const { return size() * 4 >= STREAMED; }
};

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

// -- long channels --------------------------------------------------------------------------------------------------

// y = map of x (and g) in the slices [first, end) of one channel.
template <bool HAS_G>
MINIDL_INLINE void map_channel(float* y, const float* x, const float* g, const Layout& at, int64_t c, int64_t first,
                               int64_t end, const ChannelMap& m) {
  const vf mean = splatf(m.mean), scale = splatf(m.scale), share = splatf(m.share), bias = splatf(m.bias);
  for (int64_t b = first; b < end; b++) {
    const int64_t from = (b * at.channels + c) * at.length;
    write_row(y + from, at.length, at.streamed(), [&](int64_t i, int64_t lanes) {
      vf of_g = HAS_G ? load_n(g + from + i, lanes) : vf{};
      return mapped<HAS_G>(load_n(x + from + i, lanes), of_g, mean, scale, share, bias);
    });
  }
}

// Into how many parts of the batch each channel is cut: one where there are channels enough, and one stays in L2 or in
// its core's share of L3 until it is read again.
MINIDL_INLINE int64_t parts_of(const Layout& at) {
  int64_t for_cores = ceil_div(16, at.channels), for_cache = ceil_div(at.count(), 1 << 20);
  return max<int64_t>(1, min(at.batch, max(for_cores, for_cache)));
}

// f(number of the part, channel, first and end of its slices). Tasks have some channels side by side: threads must not
// write into the same cache lines.
template <class F>
MINIDL_INLINE void for_parts(const Layout& at, const F& f) {
  const int64_t parts = parts_of(at), together = ceil_div(1024, at.length);
  const int64_t groups = ceil_div(at.channels, together);
  parallel_for(groups * parts, [&](int64_t task) {
    const int64_t group = task / parts, part = task % parts;
    for (int64_t c = group * together; c < min(at.channels, (group + 1) * together); c++)
      f(c * parts + part, c, at.batch * part / parts, at.batch * (part + 1) / parts);
    stream_fence();
  });
}

// -- short channels ---------------------------------------------------------------------------------------------------

// Blocks of rows that stay in L2 while they are looked at twice.
MINIDL_INLINE int64_t rows_of_block(const Layout& at) {
  return max<int64_t>(16, min<int64_t>(256, 65536 / at.row())) & ~int64_t(3);
}
MINIDL_INLINE int64_t blocks_of(const Layout& at) { return ceil_div(at.batch, rows_of_block(at)); }

// f(block, first row, end)
template <class F>
MINIDL_INLINE void for_blocks(const Layout& at, const F& f) {
  const int64_t rows = rows_of_block(at);
  parallel_for(blocks_of(at), [&](int64_t block) {
    f(block, block * rows, min(at.batch, (block + 1) * rows));
    stream_fence();
  });
}

// out[i] = factor * sum of f(offset of the row, i, lanes) over rows [first, end): four at a time.
template <class F>
MINIDL_INLINE void sum_rows(float* out, const Layout& at, int64_t first, int64_t end, float factor, const F& f) {
  const int64_t n = at.row();
  std::memset(out, 0, static_cast<size_t>(n) * sizeof(float));
  for (int64_t b = first; b < end; b += 4)
    for_vectors(n, [&](int64_t i, int64_t lanes) {
      vf sum = f(b * n, i, lanes);
      if (b + 1 < end) sum += f((b + 1) * n, i, lanes);
      if (b + 2 < end) sum += f((b + 2) * n, i, lanes);
      if (b + 3 < end) sum += f((b + 3) * n, i, lanes);
      store_n(out + i, load_n(out + i, lanes) + sum, lanes);
    });
  if (factor != 1)
    for_vectors(n, [&](int64_t i, int64_t lanes) { store_n(out + i, load_n(out + i, lanes) * factor, lanes); });
}

// For channels [first, end): sum over all blocks of f(block, column, lanes), then over the columns of a channel, into
// doubles.
template <class F>
MINIDL_INLINE void join_blocks(double* sums, const Layout& at, int64_t first, int64_t end, const F& f) {
  const int64_t blocks = blocks_of(at);
  for (int64_t c = first; c < end; c++) sums[c] = 0;
  for (int64_t i = first * at.length; i < end * at.length; i += W) {
    const int64_t lanes = min<int64_t>(W, end * at.length - i);
    vf sum{};
    for (int64_t block = 0; block < blocks; block++) sum += f(block, i, lanes);
    for (int64_t l = 0; l < lanes; l++) sums[(i + l) / at.length] += sum[l];
  }
}

// The maps of channels, for each column.
class ColumnMaps {
 public:
  explicit ColumnMaps(const Layout& at) : at_(at), n_(round_up(at.row(), W)), maps_(4 * n_) {}
  void set(int64_t c, const ChannelMap& m) const {
    for (int64_t i = c * at_.length; i < (c + 1) * at_.length; i++)
      maps_[i] = m.mean, maps_[n_ + i] = m.scale, maps_[2 * n_ + i] = m.share, maps_[3 * n_ + i] = m.bias;
  }
  template <bool HAS_G>
  MINIDL_INLINE void apply(float* y, const float* x, const float* g) const {
    for_blocks(at_, [&](int64_t, int64_t first, int64_t end) {
      for (int64_t b = first; b < end; b++) {
        const int64_t from = b * at_.row();
        write_row(y + from, at_.row(), at_.streamed(), [&](int64_t i, int64_t lanes) {
          vf of_g = HAS_G ? load_n(g + from + i, lanes) : vf{};
          const float* map = maps_ + i;
          return mapped<HAS_G>(load_n(x + from + i, lanes), of_g, load_n(map, lanes), load_n(map + n_, lanes),
                               load_n(map + 2 * n_, lanes), load_n(map + 3 * n_, lanes));
        });
      }
    });
  }

 private:
  const Layout& at_;
  int64_t n_;
  Scratch<float> maps_;
};

}  // namespace minidl::MINIDL_ISA
