// What a direct convolution sees of its images: axes, blocks of pixels, and copies with zeros around them.
#pragma once
#include "kernels/cpu/conv/direct_tile.h"

namespace minidl::MINIDL_ISA {

inline int64_t gcd(int64_t a, int64_t b) { return b ? gcd(b, a % b) : a < 0 ? -a : a; }

// One axis of a correlation. Tap t, which is element `weight_first + t * weight_step` of the filter's axis, of window p
// is element start + p * stride + t * tap_step of the image; its sum is element out_first + p * out_step of the result.
//
// Taps whose places differ by whole strides see one phase of the image: the elements that are `stride` apart. In its
// phase tap t of window p is element p + shift(t), so a convolution with a stride is one without, on phases. (Steps are
// negative at stride 1 only.)
struct Seen {
  int64_t size, taps, tap_step, stride, start, count, weight_first, weight_step, out_first, out_step, out_size;
  bool holds(int64_t i) const { return i >= 0 && i < size; }
  bool dense() const { return out_step == 1 && count == out_size; }
  bool plain() const { return taps == 1 && stride == 1 && start == 0 && count == size; }
  int64_t phases() const { return min(taps, stride / gcd(stride, tap_step)); }
  int64_t shift(int64_t tap) const { return tap * tap_step / stride; }
  int64_t low() const { return min<int64_t>(0, shift(taps - 1)); }
  int64_t reach() const { return max(shift(taps - 1), -shift(taps - 1)); }
  int64_t element(int64_t phase, int64_t i) const { return start + phase * tap_step % stride + i * stride; }
  // Of the taps of all windows, the part that is on the image.
  double seen() const {
    int64_t on = 0;
    for (int64_t p = 0; p < count; p++)
      for (int64_t t = 0; t < taps; t++) on += holds(start + p * stride + t * tap_step);
    return static_cast<double>(on) / static_cast<double>(count * taps);
  }
};

struct Correlation {
  const float *image, *bias;  // (n, groups * inputs, ...), (groups * outputs / spread) or null
  float* out;                 // (n, groups * outputs / spread, ...)
  int64_t n, groups, inputs, outputs;
  int64_t filter_row;  // taps of a filter's row
  Seen rows, columns;
  Finish finish;                                // of results that lie as they follow each other
  int64_t spread_rows = 1, spread_columns = 1;  // so many outputs, neighbours, are a square of pixels of one channel
  int64_t taps() const { return rows.taps * columns.taps; }
  int64_t phases() const { return rows.phases() * columns.phases(); }
  int64_t spread() const { return spread_rows * spread_columns; }
};

// How pixels are cut into blocks: several whole images, or rows of one, or parts of rows.
struct Blocks {
  int64_t n, rows, columns;      // of all
  int64_t images, bands, parts;  // groups of images, cuts of an image's rows, cuts of a row
  int64_t unit;                  // rows that stay together: whole vectors of pixels, where that is a few rows
  Blocks(int64_t n, int64_t rows, int64_t columns, int64_t pixels) : n(n), rows(rows), columns(columns) {
    images = rows * columns >= pixels ? n : ceil_div(n, max<int64_t>(1, pixels / (rows * columns)));
    parts = columns > 2 * pixels ? ceil_div(columns, pixels) : columns > 256 ? ceil_div(columns, 128) : 1;
    bands = images < n ? 1 : min(rows, max<int64_t>(1, (rows * ceil_div(columns, parts) + pixels / 2) / pixels));
    unit = W / gcd(columns, W);
    if (unit * bands > rows) unit = 1;
  }
  int64_t count() const { return images * bands * parts; }
  int64_t row(int64_t band) const { return band == bands ? rows : rows / unit * band / bands * unit; }
  int64_t column(int64_t part) const {  // whole tiles of pixels
    return part == parts ? columns : columns / NR<float> * part / parts * NR<float>;
  }
};

struct Block {
  int64_t image, images, row, rows, column, columns;
  Block(const Blocks& b, int64_t i) {
    int64_t part = i % b.parts, band = i / b.parts % b.bands, group = i / b.parts / b.bands;
    image = b.n * group / b.images, images = b.n * (group + 1) / b.images - image;
    row = b.row(band), rows = b.row(band + 1) - row;
    column = b.column(part), columns = b.column(part + 1) - column;
  }
  int64_t pixels() const { return images * rows * columns; }
  int64_t pixel(int64_t m, int64_t* y, int64_t* x) const {  // gives the image
    *x = column + m % columns, *y = row + m / columns % rows;
    return image + m / columns / rows;
  }
};

// Neighbours along an axis that see the same taps: the others lie outside of the image.
struct Range {
  int64_t first, end, tap, end_tap;
};

class Ranges {
 public:
  Ranges(const Seen& a, int64_t first, int64_t length) : ranges_(length) {
    for (int64_t p = first; p < first + length; p++) {
      int64_t at = a.start + p * a.stride, tap = 0, end = a.taps;
      while (tap < end && !a.holds(at + tap * a.tap_step)) tap++;
      while (tap < end && !a.holds(at + (end - 1) * a.tap_step)) end--;
      if (count && ranges_[count - 1].tap == tap && ranges_[count - 1].end_tap == end) {
        ranges_[count - 1].end = p + 1;
      } else {
        ranges_[count++] = {p, p + 1, tap, end};
      }
    }
  }
  const Range& operator[](int64_t i) const { return ranges_[i]; }
  int64_t count = 0;

 private:
  Scratch<Range> ranges_;
};

// dst[i] = row[at + i * stride] for i < n; 0 where the row has nothing.
inline void copy_strided(const float* row, int64_t size, int64_t at, int64_t stride, int64_t n, float* dst) {
  const int64_t low = at < 0 ? min(n, ceil_div(-at, stride)) : 0;
  const int64_t high = at < size ? max(low, min(n, ceil_div(size - at, stride))) : low;
  const float* src = row + at;
  for (int64_t i = 0; i < low; i += W) store_n(dst + i, vf{}, low - i);
  if (stride == 1) {
    for (int64_t i = low; i < high; i += W) store_n(dst + i, load_n(src + i, high - i), high - i);
  } else if (stride == 2) {
    for (int64_t i = low; i < high; i += W) {
      const int64_t left = 2 * (high - i) - 1;
      vf even = even_lanes(load_n(src + 2 * i, left), load_n(src + 2 * i + W, left - W), LanesOf<vf>{});
      store_n(dst + i, even, high - i);
    }
  } else {
    for (int64_t i = low; i < high; i++) dst[i] = src[i * stride];
  }
  for (int64_t i = high; i < n; i += W) store_n(dst + i, vf{}, n - i);
}

// Where the pixels that a block sees lie. Phased: copied as [phase][input][image][height][width], with zeros around
// them. Else a part of the images as they are, [input][image][height][width], copied or in place.
struct View {
  const Correlation& c;
  const Block b;
  bool phased, in_place;
  int64_t top, left, height, width;
  int64_t plane, image;  // from an input to the next, from an image to the next

  View(const Correlation& c, const Block& b, bool phased, bool in_place)
      : c(c), b(b), phased(phased), in_place(in_place) {
    const Seen &y = c.rows, &x = c.columns;
    if (phased) {
      top = y.low(), height = b.rows + y.reach(), left = x.low(), width = b.columns + x.reach();
    } else if (in_place) {
      top = left = 0, height = y.size, width = x.size;
    } else {
      clip(y, b.row, b.rows, &top, &height), clip(x, b.column, b.columns, &left, &width);
    }
    image = (in_place ? c.groups * c.inputs : 1) * height * width;
    // An odd number of cache lines, so that planes do not fall on each other in L1.
    plane = in_place ? height * width : (ceil_div(b.images * image, 16) | 1) * 16;
  }
  int64_t phases() const { return phased ? c.phases() : 1; }
  int64_t floats() const { return in_place ? 0 : phases() * c.inputs * plane; }
  // Where a window's first tap would be, on images without an end; and what is added to it for another tap.
  int64_t window(int64_t n, int64_t py, int64_t px) const {
    const Seen &y = c.rows, &x = c.columns;
    const int64_t row = phased ? py - b.row : y.start + py * y.stride - top;
    return (n - b.image) * image + row * width + (phased ? px - b.column : x.start + px * x.stride - left);
  }
  int64_t tap(int64_t t, int64_t s) const {
    const Seen &y = c.rows, &x = c.columns;
    if (!phased) return t * y.tap_step * width + s * x.tap_step;
    const int64_t phase = t % y.phases() * x.phases() + s % x.phases();
    return phase * c.inputs * plane + (y.shift(t) - top) * width + x.shift(s) - left;
  }
  const float* of_image(int64_t group) const { return c.image + (b.image * c.groups + group) * c.inputs * plane; }

  // Inputs [from, to) of a group.
  void copy(int64_t group, int64_t from, int64_t to, float* dst) const {
    const Seen &y = c.rows, &x = c.columns;
    for (int64_t phase = 0; phase < phases(); phase++) {
      const int64_t row = phased ? y.element(phase / x.phases(), b.row + top) : top;
      const int64_t column = phased ? x.element(phase % x.phases(), b.column + left) : left;
      for (int64_t i = from; i < to; i++)
        for (int64_t n = 0; n < b.images; n++)
          copy_plane(c.image + (((b.image + n) * c.groups + group) * c.inputs + i) * y.size * x.size, row,
                     phased ? y.stride : 1, column, phased ? x.stride : 1,
                     dst + (phase * c.inputs + i) * plane + n * image);
    }
  }

 private:
  static void clip(const Seen& a, int64_t first, int64_t length, int64_t* from, int64_t* extent) {
    const int64_t at = a.start + first * a.stride, reach = (a.taps - 1) * a.tap_step;
    *from = max<int64_t>(0, min(a.size - 1, at + min<int64_t>(0, reach)));
    *extent = max<int64_t>(1, min(a.size, at + (length - 1) * a.stride + max<int64_t>(0, reach) + 1) - *from);
  }
  void copy_plane(const float* src, int64_t row, int64_t row_step, int64_t column, int64_t step, float* dst) const {
    const Seen &y = c.rows, &x = c.columns;
    const bool whole = row_step == 1 && step == 1 && column == 0 && width == x.size;
    if (whole && row >= 0 && row + height <= y.size)
      return copy_strided(src + row * width, height * width, 0, 1, height * width, dst);
    for (int64_t h = 0; h < height; h++, row += row_step, dst += width)
      if (y.holds(row))
        copy_strided(src + row * x.size, x.size, column, step, width, dst);
      else
        copy_strided(src, 0, 0, 1, width, dst);
  }
};

}  // namespace minidl::MINIDL_ISA
