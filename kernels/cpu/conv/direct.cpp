// Convolution as a matrix product without its matrix of patches: rows = output pixels, columns = output channels, K =
// (input channels, taps). The broadcast operand is read straight from the image, at row[pixel] + offset[k].
//
// A task is a block of pixels of all or some channels. It puts zeros around its part of the image (which then lies in
// L2), runs through K in slices, and writes its tiles back channel by channel, with the bias.
//
// Source: Chetlur et al. 2014, arXiv:1410.0759 (implicit GEMM); Georganas et al. 2018, arXiv:1808.05567 (direct
// blocking).
#include "kernels/cpu/conv/direct.h"

#include "kernels/cpu/conv/direct_tile.h"

namespace minidl::MINIDL_ISA {
namespace {

// One axis of a correlation. Tap t, which is element `weight_first + t * weight_step` of the filter's axis, of window p
// is element start + p * stride + t * tap_step of the image; its sum is element out_first + p * out_step of the result.
struct Seen {
  int64_t size, taps, tap_step, stride, start, count, weight_first, weight_step, out_first, out_step, out_size;
  bool holds(int64_t i) const { return i >= 0 && i < size; }
  bool dense() const { return out_step == 1 && count == out_size; }
};

struct Correlation {
  const float *image, *weight, *bias;  // (n, groups * inputs, ...), filters, (groups * outputs) or null
  float* out;                          // (n, groups * outputs, ...)
  int64_t n, groups, inputs, outputs;
  int64_t group_step, output_step, input_step, row_step, filter_size;  // of the filters
  Seen rows, columns;
  int64_t taps() const { return rows.taps * columns.taps; }
};

// How pixels are cut into blocks: several whole images, or rows of one, or parts of rows.
struct Blocks {
  int64_t n, rows, columns;      // of all
  int64_t images, bands, parts;  // groups of images, cuts of an image's rows, cuts of a row
  Blocks(int64_t n, int64_t rows, int64_t columns, int64_t pixels) : n(n), rows(rows), columns(columns) {
    images = rows * columns >= pixels ? n : ceil_div(n, max<int64_t>(1, pixels / (rows * columns)));
    parts = columns > 2 * pixels ? ceil_div(columns, pixels) : columns > 256 ? ceil_div(columns, 128) : 1;
    bands = images < n ? 1 : min(rows, max<int64_t>(1, (rows * ceil_div(columns, parts) + pixels / 2) / pixels));
  }
  int64_t count() const { return images * bands * parts; }
};

struct Block {
  int64_t image, images, row, rows, column, columns;
  Block(const Blocks& b, int64_t i) {
    int64_t part = i % b.parts, band = i / b.parts % b.bands, group = i / b.parts / b.bands;
    image = b.n * group / b.images, images = b.n * (group + 1) / b.images - image;
    row = b.rows * band / b.bands, rows = b.rows * (band + 1) / b.bands - row;
    column = b.columns * part / b.parts, columns = b.columns * (part + 1) / b.parts - column;
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

class Direct {
 public:
  explicit Direct(const Correlation c)
      : c_(c),
        slivers_(ceil_div(c.outputs, NR<float>)),
        slices_(ceil_div(c.inputs, max<int64_t>(1, KC / c.taps()))),
        along_channels_(c.inputs >= 8),
        by_filters_(by_filters(c)),
        blocks_(c.n, c.rows.count, c.columns.count, pixels_of_block(c)),
        cuts_(min(slivers_, ceil_div(8, blocks_.count() * c.groups))) {}

  void run() {
    const int64_t K = c_.inputs * c_.taps(), width = slivers_ * NR<float>;
    const bool pack_first = blocks_.count() > 1;
    Scratch<float> packed(pack_first ? c_.groups * K * width : 0);
    if (pack_first) {
      parallel_for(c_.groups * slices_ * slivers_, [&](int64_t t) {
        int64_t sliver = t % slivers_, slice = t / slivers_ % slices_, group = t / slivers_ / slices_;
        pack_filters(group, slice, sliver, packed + group * K * width + filters_at(slice, sliver));
      });
    }
    parallel_for(c_.groups * blocks_.count() * cuts_, [&](int64_t t) {
      int64_t cut = t % cuts_, block = t / cuts_ % blocks_.count(), group = t / cuts_ / blocks_.count();
      const Block b(blocks_, block);
      const float* filters = pack_first ? packed + group * K * width : nullptr;
      (this->*(by_filters_ ? &Direct::work_by_filters : &Direct::work_by_pixels))(
          group, b, slivers_ * cut / cuts_, slivers_ * (cut + 1) / cuts_, filters);
    });
  }

 private:
  // So many that a task's image and sums stay in L2, and that there are some tasks.
  static int64_t pixels_of_block(const Correlation& c) {
    int64_t strides = c.rows.stride * c.columns.stride, all = c.n * c.rows.count * c.columns.count;
    int64_t fits = 131072 / (c.outputs + c.inputs * min<int64_t>(strides, c.taps()) * 5 / 4);
    return max<int64_t>(1, min(max<int64_t>(168, min<int64_t>(fits, 1008)), max<int64_t>(56, all / 4)));
  }
  // Tiles of pixels x channels waste lanes on few channels and have to be transposed; tiles of channels x pixels run
  // over the zeros between rows. Costs are of a pixel, in multiply-adds.
  static bool by_filters(const Correlation& c) {
    if (c.rows.stride > 1 || c.columns.stride > 1) return false;
    const int64_t K = c.inputs * c.taps(), columns = c.columns.count;
    const int64_t pitch = columns + (c.columns.taps - 1) * abs(c.columns.tap_step);
    const int64_t span = (c.rows.count - 1) * pitch + columns, pixels = c.rows.count * columns;
    const int64_t by_pixels = K * round_up(c.outputs, W) + 10 * c.outputs;
    const int64_t by_filter = K * max<int64_t>(c.outputs, 3) * round_up(span, W) / pixels + 3 * c.outputs;
    return by_filter < by_pixels;
  }
  static int64_t abs(int64_t i) { return i < 0 ? -i : i; }
  int64_t first_input(int64_t slice) const { return c_.inputs * slice / slices_; }
  int64_t inputs(int64_t slice) const { return first_input(slice + 1) - first_input(slice); }
  int64_t filters_at(int64_t slice, int64_t sliver) const {
    return NR<float> * c_.taps() * (first_input(slice) * slivers_ + sliver * inputs(slice));
  }

  // dst [tap][channel][NR], or [channel][tap][NR]: the filters of a sliver of output channels over a slice of K.
  void pack_filters(int64_t group, int64_t slice, int64_t sliver, float* dst) const {
    const int64_t first = sliver * NR<float>, channels = inputs(slice), size = c_.filter_size;
    const int filters = static_cast<int>(min<int64_t>(NR<float>, c_.outputs - first));
    const float* src = c_.weight + group * c_.group_step + first * c_.output_step + first_input(slice) * c_.input_step;
    if (size == 1 && c_.output_step == 1) return pack(src, 1, c_.input_step, filters, channels, dst, NR<float>);
    const Seen &y = c_.rows, &x = c_.columns;
    Scratch<int64_t> tap_at(size);  // which tap an element of a filter is, or -1
    for (int64_t i = 0; i < size; i++) tap_at[i] = -1;
    for (int64_t t = 0; t < c_.taps(); t++)
      tap_at[(y.weight_first + t / x.taps * y.weight_step) * c_.row_step + x.weight_first +
             t % x.taps * x.weight_step] = t;
    const int64_t together = c_.input_step == size ? channels : 1;  // filters that follow each other
    for (int64_t channel = 0; channel < channels; channel += together, src += together * c_.input_step) {
      int64_t of = channel, at = 0;  // of element k: its channel, its place in the filter
      for (int64_t k = 0; k < together * size; k += W) {
        const int n = static_cast<int>(min<int64_t>(W, together * size - k));
        int64_t to[W];
        for (int i = 0; i < n; i++) {
          const int64_t tap = tap_at[at];
          to[i] = tap < 0 ? -1 : (along_channels_ ? tap * channels + of : of * c_.taps() + tap) * NR<float>;
          if (++at == size) at = 0, of++;
        }
        for (int64_t f = 0; f < NR<float>; f += W) {
          vf t[W];
          for (int i = 0; i < W; i++) {
            const float* filter = src + (f + i) * c_.output_step + k;
            t[i] = f + i < filters ? load_n(filter, n) : vf{};
            if (f + i < filters) __builtin_prefetch(filter + 32);
          }
          transpose<float>(t);
          for (int i = 0; i < n; i++)
            if (to[i] >= 0) store(dst + to[i] + f, t[i]);
        }
      }
    }
  }

  void work_by_pixels(int64_t group, const Block& b, int64_t from, int64_t to, const float* packed) const {
    const Seen &y = c_.rows, &x = c_.columns;
    const int64_t size = y.size * x.size, planes = c_.groups * c_.inputs, ld = (to - from) * NR<float>;
    const Ranges ys(y, b.row, b.rows), xs(x, b.column, b.columns);
    const Window w = window(b);  // copied: from there on it lies in L2
    const int64_t plane = w.plane();
    Scratch<float> image(b.images * c_.inputs * plane);
    for (int64_t n = 0; n < b.images; n++)
      copy_window(c_.image + ((b.image + n) * planes + group * c_.inputs) * size, c_.inputs, y.size, x.size, w,
                  image + n * c_.inputs * plane);
    Scratch<int64_t> row(b.pixels()), place(b.pixels());
    int64_t m = 0;
    for (int64_t i = 0; i < ys.count; i++)  // pixels that see the same taps come together
      for (int64_t j = 0; j < xs.count; j++)
        for (int64_t n = 0; n < b.images; n++)
          for (int64_t py = ys[i].first; py < ys[i].end; py++)
            for (int64_t px = xs[j].first; px < xs[j].end; px++, m++) {
              row[m] = n * c_.inputs * plane + (y.start + py * y.stride - w.top) * w.width + x.start + px * x.stride -
                       w.left;
              place[m] = ((n * b.rows + py - b.row) * b.columns + px - b.column) * ld;
            }
    Scratch<float> sums(b.pixels() * ld), own(packed ? 0 : ceil_div(c_.inputs, slices_) * c_.taps() * NR<float>);
    Scratch<Segment> segments(along_channels_ ? c_.taps() : c_.inputs * y.taps);
    for (int64_t slice = 0; slice < slices_; slice++)
      for (int64_t sliver = from; sliver < to; sliver++) {
        if (!packed) pack_filters(group, slice, sliver, own);
        const float* filters = packed ? packed + filters_at(slice, sliver) : own;
        const float* of_slice = image + first_input(slice) * plane;
        m = 0;
        for (int64_t i = 0; i < ys.count; i++)
          for (int64_t j = 0; j < xs.count; j++) {
            int64_t count = segments_of(ys[i], xs[j], inputs(slice), w.width, plane, segments);
            const Panels panels(b.images * (ys[i].end - ys[i].first) * (xs[j].end - xs[j].first));
            for (int64_t p = 0; p < panels.count; p++)
              segments_kernel(panels.height(p), c_.outputs - sliver * NR<float>)(
                  count, segments, along_channels_ ? plane : x.tap_step, of_slice, row + m + panels.start(p), filters,
                  sums + (sliver - from) * NR<float>, place + m + panels.start(p), slice > 0);
            m += panels.rows;
          }
      }
    write(group, b, from * NR<float>, min(c_.outputs, to * NR<float>), sums, ld);
  }

  // Tiles of filters x pixels, which run through rows of the image and the zeros between them.
  void work_by_filters(int64_t group, const Block& b, int64_t from, int64_t to, const float* packed) const {
    const Seen &y = c_.rows, &x = c_.columns;
    const int64_t size = y.size * x.size, planes = c_.groups * c_.inputs;
    const int64_t below = min<int64_t>(0, (y.taps - 1) * y.tap_step), left = min<int64_t>(0, (x.taps - 1) * x.tap_step);
    const Window w{y.start + b.row + below, x.start + b.column + left, b.rows + (y.taps - 1) * abs(y.tap_step),
                   b.columns + (x.taps - 1) * abs(x.tap_step)};
    const int64_t plane = w.plane(), span = (b.rows - 1) * w.width + b.columns, ld = b.images * round_up(span, W) + W;
    const int64_t first = from * NR<float>, end = min(c_.outputs, to * NR<float>);
    Scratch<float> image(b.images * c_.inputs * plane + NR<float>), sums((end - first) * ld);
    Scratch<float> own(packed ? 0 : ceil_div(c_.inputs, slices_) * c_.taps() * NR<float>);
    Scratch<Segment> segments(along_channels_ ? c_.taps() : c_.inputs * y.taps);
    for (int64_t n = 0; n < b.images; n++)
      copy_window(c_.image + ((b.image + n) * planes + group * c_.inputs) * size, c_.inputs, y.size, x.size, w,
                  image + n * c_.inputs * plane);
    for (int64_t slice = 0; slice < slices_; slice++)
      for (int64_t sliver = from; sliver < to; sliver++) {
        if (!packed) pack_filters(group, slice, sliver, own);
        const float* filters = packed ? packed + filters_at(slice, sliver) : own;
        const int64_t count =
            segments_of({0, 1, 0, y.taps}, {0, 1, 0, x.taps}, inputs(slice), w.width, plane, segments);
        const Panels panels(min<int64_t>(NR<float>, end - sliver * NR<float>));
        for (int64_t p = 0; p < panels.count; p++)
          for (int64_t n = 0; n < b.images; n++)
            for (int64_t m = 0; m < span; m += NR<float>)
              pixels_kernel(panels.height(p), span - m)(
                  count, segments, along_channels_ ? plane : x.tap_step,
                  image + (n * c_.inputs + first_input(slice)) * plane - below * w.width - left + m,
                  filters + panels.start(p),
                  sums + (sliver * NR<float> - first + panels.start(p)) * ld + n * round_up(span, W) + m, ld,
                  slice > 0);
      }
    for (int64_t channel = first; channel < end; channel++) {
      const vf bias = splatf(c_.bias ? c_.bias[group * c_.outputs + channel] : 0.f);
      for (int64_t line = 0; line < b.images * b.rows; line++) {
        const int64_t n = line / b.rows, row = line % b.rows;
        const float* src = sums + (channel - first) * ld + n * round_up(span, W) + row * w.width;
        float* out = c_.out + (((b.image + n) * c_.groups + group) * c_.outputs + channel) * y.out_size * x.out_size +
                     (y.out_first + (b.row + row) * y.out_step) * x.out_size + x.out_first + b.column * x.out_step;
        if (x.out_step == 1) {
          for (int64_t i = 0; i < b.columns; i += W) store_n(out + i, load(src + i) + bias, b.columns - i);
        } else {
          for (int64_t i = 0; i < b.columns; i++) out[i * x.out_step] = src[i] + bias[0];
        }
      }
    }
  }

  // What a block sees of the images.
  Window window(const Block& b) const {
    auto seen = [](const Seen& a, int64_t first, int64_t length, int64_t* from) {
      const int64_t at = a.start + first * a.stride, reach = (a.taps - 1) * a.tap_step;
      *from = max<int64_t>(0, min(a.size - 1, at + min<int64_t>(0, reach)));
      return min(a.size, at + (length - 1) * a.stride + max<int64_t>(0, reach) + 1) - *from;
    };
    Window w;
    w.height = max<int64_t>(1, seen(c_.rows, b.row, b.rows, &w.top));
    w.width = max<int64_t>(1, seen(c_.columns, b.column, b.columns, &w.left));
    return w;
  }

  // Taps that are on the image. With many channels K runs along those, else along a row of taps.
  int64_t segments_of(const Range& ys, const Range& xs, int64_t channels, int64_t pitch, int64_t plane,
                      Segment* segment) const {
    const Seen &y = c_.rows, &x = c_.columns;
    int64_t count = 0;
    if (along_channels_) {
      for (int64_t t = ys.tap; t < ys.end_tap; t++)
        for (int64_t s = xs.tap; s < xs.end_tap; s++)
          segment[count++] = {t * y.tap_step * pitch + s * x.tap_step, (t * x.taps + s) * channels, channels};
    } else if (xs.end_tap > xs.tap) {
      for (int64_t i = 0; i < channels; i++)
        for (int64_t t = ys.tap; t < ys.end_tap; t++)
          segment[count++] = {i * plane + t * y.tap_step * pitch + xs.tap * x.tap_step,
                              (i * y.taps + t) * x.taps + xs.tap, xs.end_tap - xs.tap};
    }
    return count;
  }

  // Transposes sums [pixel][channel] into the result, W pixels of W channels at a time, along the pixels.
  void write(int64_t group, const Block& b, int64_t from, int64_t to, const float* sums, int64_t ld) const {
    const Seen &y = c_.rows, &x = c_.columns;
    const int64_t size = y.out_size * x.out_size;
    const bool runs_on = x.dense() && y.dense() && b.columns == x.count;  // from row to row
    const int64_t run = runs_on ? b.rows * b.columns : b.columns, runs = b.pixels() / run;
    for (int64_t channel = from; channel < to; channel += W) {
      const int64_t channels = min<int64_t>(W, to - channel);
      const vf bias = c_.bias ? load_n(c_.bias + group * c_.outputs + channel, channels) : vf{};
      for (int64_t r = 0; r < runs; r++) {
        int64_t py, px, image = b.pixel(r * run, &py, &px);
        float* out = c_.out + ((image * c_.groups + group) * c_.outputs + channel) * size +
                     (y.out_first + py * y.out_step) * x.out_size + x.out_first + px * x.out_step;
        for (int64_t m = 0; m < run; m += W) {
          const int64_t pixels = min<int64_t>(W, run - m);
          const float* src = sums + (r * run + m) * ld + channel - from;
          vf t[W];
          for (int i = 0; i < W; i++) t[i] = i < pixels ? load(src + i * ld) + bias : vf{};
          transpose<float>(t);
          for (int i = 0; i < channels; i++) {
            float* to_pixel = out + i * size + m * x.out_step;
            if (x.out_step == 1) {
              store_n(to_pixel, t[i], pixels);
            } else {
              for (int j = 0; j < pixels; j++) to_pixel[j * x.out_step] = t[i][j];
            }
          }
        }
      }
    }
  }

  const Correlation c_;
  int64_t slivers_, slices_;  // NR output channels each; about KC taps each, whole channels
  bool along_channels_;       // the innermost loop's way through K
  bool by_filters_;           // rows of tiles are filters, columns pixels
  Blocks blocks_;
  int64_t cuts_;  // of the output channels, where there are few blocks
};

Seen forward_axis(const ConvAxis& a) {
  return {a.size, a.kernel, a.dilation, a.stride, a.start, a.count, 0, 1, 0, 1, a.count};
}

int64_t gcd(int64_t a, int64_t b) { return b ? gcd(b, a % b) : a; }

// Elements of an image that are `stride` apart meet the same taps, first, first + every, ...: a phase. Its sums over
// windows are a correlation of the results' gradient with those taps in reverse, without overlaps to add up or zeros to
// multiply by.
struct Phases {
  int64_t every, step, count;
  explicit Phases(const ConvAxis& a)
      : every(a.stride / gcd(a.stride, a.dilation)),
        step(a.dilation / gcd(a.stride, a.dilation)),
        count(min(every, a.kernel)) {}
  Seen operator()(const ConvAxis& a, int64_t first) const {
    int64_t at = a.start + first * a.dilation, phase = (at % a.stride + a.stride) % a.stride,
            base = (at - phase) / a.stride;
    return {a.count, (a.kernel - 1 - first) / every + 1,
            -step,   1,
            -base,   ceil_div(max<int64_t>(0, a.size - phase), a.stride),
            first,   every,
            phase,   a.stride,
            a.size};
  }
  bool cover(const ConvAxis& a) const {
    int64_t seen = 0;
    for (int64_t first = 0; first < count; first++) seen += (*this)(a, first).count > 0;
    return seen >= min(a.stride, a.size);
  }
};

// Elements that no window sees.
void fill(const ConvBackwardInput& p) {
  const ConvShape& s = p.shape;
  const int64_t channels = s.groups * s.inputs, size = s.rows.size * s.columns.size;
  parallel_chunks(s.n * channels, 65536 / size, [&](int64_t first, int64_t end) {
    for (int64_t i = first; i < end; i++) {
      vf value = splatf(p.bias ? p.bias[i % channels] : 0.f);
      for (int64_t j = 0; j < size; j += W) store_n(p.gx + i * size + j, value, size - j);
    }
  });
}

}  // namespace

void conv_forward(const ConvForward& p) {
  const ConvShape s = flattened(p.shape);
  const int64_t taps = s.rows.kernel * s.columns.kernel;
  Direct(Correlation{.image = p.x,
                     .weight = p.weight,
                     .bias = p.bias,
                     .out = p.y,
                     .n = s.n,
                     .groups = s.groups,
                     .inputs = s.inputs,
                     .outputs = s.outputs,
                     .group_step = s.outputs * s.inputs * taps,
                     .output_step = s.inputs * taps,
                     .input_step = taps,
                     .row_step = s.columns.kernel,
                     .filter_size = taps,
                     .rows = forward_axis(s.rows),
                     .columns = forward_axis(s.columns)})
      .run();
}

void conv_backward_input(const ConvBackwardInput& p) {
  const ConvShape s = flattened(p.shape);
  const int64_t taps = s.rows.kernel * s.columns.kernel;
  const Phases rows(s.rows), columns(s.columns);
  if (!rows.cover(s.rows) || !columns.cover(s.columns)) fill(p);
  for (int64_t i = 0; i < rows.count; i++)
    for (int64_t j = 0; j < columns.count; j++) {
      Correlation c{.image = p.g,
                    .weight = p.weight,
                    .bias = p.bias,
                    .out = p.gx,
                    .n = s.n,
                    .groups = s.groups,
                    .inputs = s.outputs,
                    .outputs = s.inputs,
                    .group_step = s.outputs * s.inputs * taps,
                    .output_step = taps,
                    .input_step = s.inputs * taps,
                    .row_step = s.columns.kernel,
                    .filter_size = taps,
                    .rows = rows(s.rows, i),
                    .columns = columns(s.columns, j)};
      if (c.rows.count > 0 && c.columns.count > 0) Direct(c).run();
    }
}

}  // namespace minidl::MINIDL_ISA
