// Convolution as a matrix product without its matrix of patches: rows = output pixels, columns = output channels, K =
// (input channels, taps). The broadcast operand is read straight from the image, at row[pixel] + offset[k].
//
// A task is a block of pixels of all or some channels. It puts zeros around its part of the image (which then lies in
// L2), runs through K in slices, and writes its tiles back channel by channel, with the bias.
//
// Source: Chetlur et al. 2014, arXiv:1410.0759 (implicit GEMM); Georganas et al. 2018, arXiv:1808.05567 (direct
// blocking).
#include "kernels/cpu/conv/direct.h"

#include "kernels/cpu/conv/direct_image.h"

namespace minidl::MINIDL_ISA {
namespace {

// One axis of a correlation. Tap t, which is element `weight_first + t * weight_step` of the filter's axis, of window p
// is element start + p * stride + t * tap_step of the image; its sum is element out_first + p * out_step of the result.
struct Seen {
  int64_t size, taps, tap_step, stride, start, count, weight_first, weight_step, out_first, out_step, out_size;
  int64_t lowest() const { return start + min<int64_t>(0, (taps - 1) * tap_step); }
  int64_t reach() const { return (taps - 1) * (tap_step < 0 ? -tap_step : tap_step) + 1; }
  bool dense() const { return out_step == 1 && count == out_size; }
};

struct Correlation {
  const float *image, *weight, *bias;  // (n, groups * inputs, ...), filters, (groups * outputs) or null
  float* out;                          // (n, groups * outputs, ...)
  int64_t n, groups, inputs, outputs;
  int64_t group_step, output_step, input_step, row_step;  // in the filters
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

class Direct {
 public:
  explicit Direct(const Correlation& c)
      : c_(c),
        slivers_(ceil_div(c.outputs, NR<float>)),
        slices_(ceil_div(c.inputs, max<int64_t>(1, KC / c.taps()))),
        blocks_(c.n, c.rows.count, c.columns.count, pixels_of_block(c)),
        in_place_(Window{c.rows.lowest(), c.columns.lowest(), (c.rows.count - 1) * c.rows.stride + c.rows.reach(),
                         (c.columns.count - 1) * c.columns.stride + c.columns.reach()}
                      .within(c.rows.size, c.columns.size)),
        cuts_(min(slivers_, ceil_div(8, blocks_.count() * c.groups))) {}

  void run() {
    const int64_t tasks = c_.groups * blocks_.count() * cuts_;
    const int64_t K = c_.inputs * c_.taps(), width = slivers_ * NR<float>;
    const bool pack_first = blocks_.count() > 1;
    Scratch<float> packed(pack_first ? c_.groups * K * width : 0);
    if (pack_first) {
      parallel_for(c_.groups * slices_ * slivers_, [&](int64_t t) {
        int64_t sliver = t % slivers_, slice = t / slivers_ % slices_, group = t / slivers_ / slices_;
        pack_filters(group, slice, sliver, packed + group * K * width + filters_at(slice, sliver));
      });
    }
    parallel_for(tasks, [&](int64_t t) {
      int64_t cut = t % cuts_, block = t / cuts_ % blocks_.count(), group = t / cuts_ / blocks_.count();
      work(group, Block(blocks_, block), slivers_ * cut / cuts_, slivers_ * (cut + 1) / cuts_,
           pack_first ? packed + group * K * width : nullptr);
    });
  }

 private:
  // So many that a task's image and sums stay in L2, and that there are some tasks.
  static int64_t pixels_of_block(const Correlation& c) {
    int64_t strides = c.rows.stride * c.columns.stride, all = c.n * c.rows.count * c.columns.count;
    int64_t fits = 131072 / (c.outputs + c.inputs * min<int64_t>(strides, c.taps()) * 5 / 4);
    return max<int64_t>(1, min(max<int64_t>(168, min<int64_t>(fits, 1008)), max<int64_t>(56, all / 8)));
  }
  int64_t first_input(int64_t slice) const { return c_.inputs * slice / slices_; }
  int64_t slice_length(int64_t slice) const { return (first_input(slice + 1) - first_input(slice)) * c_.taps(); }
  int64_t filters_at(int64_t slice, int64_t sliver) const {
    return NR<float> * (first_input(slice) * c_.taps() * slivers_ + sliver * slice_length(slice));
  }

  // dst [k][NR]: the filters of a sliver of output channels over a slice of K.
  void pack_filters(int64_t group, int64_t slice, int64_t sliver, float* dst) const {
    const int64_t first = sliver * NR<float>;
    const int rows = static_cast<int>(min<int64_t>(NR<float>, c_.outputs - first));
    const Seen &y = c_.rows, &x = c_.columns;
    const float* src =
        c_.weight + group * c_.group_step + first * c_.output_step + y.weight_first * c_.row_step + x.weight_first;
    const bool in_order = x.weight_step == 1 && y.weight_step * c_.row_step == x.taps;
    if (c_.taps() == 1 || (in_order && c_.input_step == c_.taps())) {
      int64_t step = c_.taps() == 1 ? c_.input_step : 1;
      return pack(src + first_input(slice) * c_.input_step, c_.output_step, step, rows, slice_length(slice), dst,
                  NR<float>);
    }
    for (int64_t i = first_input(slice); i < first_input(slice + 1); i++)
      for (int64_t t = 0; t < y.taps; t++, dst += x.taps * NR<float>) {
        const float* at = src + i * c_.input_step + t * y.weight_step * c_.row_step;
        pack(at, c_.output_step, x.weight_step, rows, x.taps, dst, NR<float>);
      }
  }

  Window window(const Block& b) const {
    return {c_.rows.lowest() + b.row * c_.rows.stride, c_.columns.lowest() + b.column * c_.columns.stride,
            (b.rows - 1) * c_.rows.stride + c_.rows.reach(), (b.columns - 1) * c_.columns.stride + c_.columns.reach()};
  }

  void work(int64_t group, const Block& b, int64_t from, int64_t to, const float* packed) const {
    const Seen &y = c_.rows, &x = c_.columns;
    const Window w = window(b);
    const int64_t planes = c_.groups * c_.inputs, size = y.size * x.size;
    const float* image = c_.image + (b.image * planes + group * c_.inputs) * size;
    int64_t pitch = x.size, plane = size, per_image = planes * size;
    Scratch<float> copy(in_place_ ? 0 : b.images * c_.inputs * w.plane());
    if (in_place_) {
      image += w.top * pitch + w.left;
    } else {
      for (int64_t i = 0; i < b.images; i++)
        copy_window(image + i * per_image, c_.inputs, y.size, x.size, w, copy + i * c_.inputs * w.plane());
      image = copy, pitch = w.width, plane = w.plane(), per_image = c_.inputs * plane;
    }
    const int64_t pixels = b.pixels(), ld = (to - from) * NR<float>;
    Scratch<int64_t> row(pixels), offset(c_.inputs * c_.taps());
    for (int64_t m = 0; m < pixels; m++)
      row[m] =
          m / b.columns / b.rows * per_image + m / b.columns % b.rows * y.stride * pitch + m % b.columns * x.stride;
    int64_t* o = offset;
    for (int64_t i = 0; i < c_.inputs; i++)
      for (int64_t t = 0; t < y.taps; t++)
        for (int64_t s = 0; s < x.taps; s++)
          *o++ = i * plane + (y.start - y.lowest() + t * y.tap_step) * pitch + (x.start - x.lowest()) + s * x.tap_step;
    Scratch<float> sums(pixels * ld), own(packed ? 0 : max_slice() * NR<float>);
    const Panels panels(pixels);
    for (int64_t slice = 0; slice < slices_; slice++)
      for (int64_t sliver = from; sliver < to; sliver++) {
        if (!packed) pack_filters(group, slice, sliver, own);
        const float* filters = packed ? packed + filters_at(slice, sliver) : own;
        for (int64_t p = 0; p < panels.count; p++)
          gathering(panels.height(p), c_.outputs - sliver * NR<float>)(
              slice_length(slice), image, offset + first_input(slice) * c_.taps(), row + panels.start(p), filters,
              sums + panels.start(p) * ld + (sliver - from) * NR<float>, ld, slice > 0);
      }
    write(group, b, from * NR<float>, min(c_.outputs, to * NR<float>), sums, ld);
  }
  int64_t max_slice() const { return ceil_div(c_.inputs, slices_) * c_.taps(); }

  // Transposes sums [pixel][channel] into the result, W pixels of W channels at a time.
  void write(int64_t group, const Block& b, int64_t from, int64_t to, const float* sums, int64_t ld) const {
    const Seen &y = c_.rows, &x = c_.columns;
    const int64_t size = y.out_size * x.out_size;
    const bool runs_on = x.dense() && y.dense() && b.columns == x.count;  // from row to row
    const int64_t run = runs_on ? b.rows * b.columns : b.columns;
    for (int64_t m = 0; m < b.pixels();) {
      int64_t py, px, image = b.pixel(m, &py, &px);
      int64_t pixels = min<int64_t>(W, run - m % run);
      float* out = c_.out + (image * c_.groups + group) * c_.outputs * size +
                   (y.out_first + py * y.out_step) * x.out_size + x.out_first + px * x.out_step;
      for (int64_t channel = from; channel < to; channel += W) {
        vf t[W];
        vf bias = c_.bias ? load_n(c_.bias + group * c_.outputs + channel, to - channel) : vf{};
        for (int i = 0; i < W; i++) t[i] = i < pixels ? load(sums + (m + i) * ld + channel - from) + bias : vf{};
        transpose<float>(t);
        for (int i = 0; i < min<int64_t>(W, to - channel); i++) {
          float* to_channel = out + (channel + i) * size;
          if (x.out_step == 1) {
            store_n(to_channel, t[i], pixels);
          } else {
            for (int j = 0; j < pixels; j++) to_channel[j * x.out_step] = t[i][j];
          }
        }
      }
      m += pixels;
    }
  }

  const Correlation& c_;
  int64_t slivers_, slices_;  // NR output channels each; about KC taps each, whole channels
  Blocks blocks_;
  bool in_place_;  // no zeros are needed around the image
  int64_t cuts_;   // of the output channels, where there are few blocks
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
  bool cover(const ConvAxis& a) const { return count >= min(a.stride, a.size); }
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
  const ConvShape& s = p.shape;
  const int64_t taps = s.rows.kernel * s.columns.kernel;
  Correlation c{p.x,
                p.weight,
                p.bias,
                p.y,
                s.n,
                s.groups,
                s.inputs,
                s.outputs,
                s.outputs * s.inputs * taps,
                s.inputs * taps,
                taps,
                s.columns.kernel,
                forward_axis(s.rows),
                forward_axis(s.columns)};
  Direct(c).run();
}

void conv_backward_input(const ConvBackwardInput& p) {
  const ConvShape& s = p.shape;
  const int64_t taps = s.rows.kernel * s.columns.kernel;
  const Phases rows(s.rows), columns(s.columns);
  if (!rows.cover(s.rows) || !columns.cover(s.columns)) fill(p);
  for (int64_t i = 0; i < rows.count; i++)
    for (int64_t j = 0; j < columns.count; j++) {
      Correlation c{p.g,
                    p.weight,
                    p.bias,
                    p.gx,
                    s.n,
                    s.groups,
                    s.outputs,
                    s.inputs,
                    s.outputs * s.inputs * taps,
                    taps,
                    s.inputs * taps,
                    s.columns.kernel,
                    rows(s.rows, i),
                    columns(s.columns, j)};
      if (c.rows.count > 0 && c.columns.count > 0) Direct(c).run();
    }
}

}  // namespace minidl::MINIDL_ISA
