// Convolution as a matrix product without its matrix of patches, K = (taps, input channels). Tiles are output pixels x
// output channels, or output channels x output pixels; either way pixels are read where they lie.
//
// Filters are packed first (or kept so by the caller). A task is a block of pixels of all or some channels. Its part of
// the images is copied with zeros around it, a stride's phases apart, so that it lies in L2; where several tasks see
// the same, once for all of them. A task runs through K in slices and writes its sums channel by channel, with the
// bias.
//
// Source: Chetlur et al. 2014, arXiv:1410.0759 (implicit GEMM); Georganas et al. 2018, arXiv:1808.05567 (direct
// blocking).
#include "kernels/cpu/conv/direct.h"

#include "kernels/cpu/conv/direct_image.h"
#include "kernels/cpu/epilogue.h"
#include "kernels/cpu/phases.h"

namespace minidl::MINIDL_ISA {
namespace {

// Filters, and how they are packed: [group][sliver of NR outputs][tap][input][NR], the last sliver filled up with 0.
struct Filters {
  const float* weight;
  int64_t groups, inputs, outputs, taps;
  int64_t group_step, output_step, input_step;  // of the weight; taps follow each other
  int64_t slivers() const { return ceil_div(outputs, NR<float>); }
  int64_t sliver_size() const { return taps * inputs * NR<float>; }
  int64_t size() const { return groups * slivers() * sliver_size(); }

  // dst [tap][apart][NR], at 0 the first of the inputs [from, to).
  void pack_sliver(int64_t group, int64_t sliver, int64_t from, int64_t to, int64_t apart, float* dst) const {
    const int64_t first = sliver * NR<float>, channels = to - from;
    const int filters = static_cast<int>(min<int64_t>(NR<float>, outputs - first));
    const float* src = weight + group * group_step + first * output_step + from * input_step;
    if (taps == 1) return pack(src, output_step, input_step, filters, channels, dst, NR<float>);
    const int64_t together = input_step == taps ? channels : 1;  // filters that follow each other
    for (int64_t channel = 0; channel < channels; channel += together, src += together * input_step) {
      int64_t of = channel, tap = 0;  // of element k
      for (int64_t k = 0; k < together * taps; k += W) {
        const int n = static_cast<int>(min<int64_t>(W, together * taps - k));
        int64_t to_row[W];
        for (int i = 0; i < n; i++) {
          to_row[i] = (tap * apart + of) * NR<float>;
          if (++tap == taps) tap = 0, of++;
        }
        for (int64_t f = 0; f < NR<float>; f += W) {
          vf t[W];
          for (int i = 0; i < W; i++) {
            const float* filter = src + (f + i) * output_step + k;
            t[i] = f + i < filters ? load_n(filter, n) : vf{};
            if (f + i < filters) __builtin_prefetch(filter + 32);
          }
          transpose<float>(t);
          for (int i = 0; i < n; i++) store(dst + to_row[i] + f, t[i]);
        }
      }
    }
  }
  void pack_all(float* dst) const {
    constexpr int64_t CHANNELS = 64;  // of a task
    const int64_t parts = ceil_div(inputs, CHANNELS);
    parallel_for(groups * slivers() * parts, [&](int64_t t) {
      const int64_t from = t % parts * CHANNELS, sliver = t / parts;  // (of all groups)
      pack_sliver(sliver / slivers(), sliver % slivers(), from, min(inputs, from + CHANNELS), inputs,
                  dst + sliver * sliver_size() + from * NR<float>);
    });
  }
};

class Direct {
 public:
  // packed: the filters by pack_all, or null: each task packs what it reads.
  Direct(const Correlation& c, const Filters& filters, const float* packed)
      : c_(c),
        filters_(filters),
        packed_(packed),
        slivers_(filters.slivers()),
        slices_(ceil_div(c.inputs, max<int64_t>(1, KC / c.taps()))),
        blocks_(blocks(c)),
        by_filters_(by_filters()),
        in_place_(in_place()),
        phased_(!in_place_ && (by_filters_ || (c.taps() == 1 && c.rows.stride * c.columns.stride > 1))),
        room_(largest_view()),
        shared_(all() < TASKS / 2 && slivers_ > 1 && !in_place_),
        together_(shared_ ? min(all(), max<int64_t>(1, L2 / room_)) : all()),
        cuts_(all() < TASKS / 2 ? min(slivers_, ceil_div(TASKS, together_)) : 1) {}

  static Blocks blocks(const Correlation& c) { return {c.n, c.rows.count, c.columns.count, pixels_of_block(c)}; }

  void run() const {
    Scratch<float> images(shared_ ? together_ * room_ : 0);
    for (int64_t first = 0; first < all(); first += together_) {
      const int64_t count = min(together_, all() - first);
      if (shared_) {
        constexpr int64_t INPUTS = 32;  // of a task
        const int64_t parts = ceil_div(c_.inputs, INPUTS);
        parallel_for(count * parts, [&](int64_t t) {
          const int64_t block = first + t / parts, from = t % parts * INPUTS;
          view(block).copy(group(block), from, min(c_.inputs, from + INPUTS), images + t / parts * room_);
        });
      }
      parallel_for(count * cuts_, [&](int64_t t) {
        const int64_t cut = t % cuts_, block = first + t / cuts_;
        const View v = view(block);
        Scratch<float> own(shared_ ? 0 : v.floats());
        if (!shared_ && !in_place_) v.copy(group(block), 0, c_.inputs, own);
        const float* image = in_place_ ? v.of_image(group(block)) : shared_ ? images + t / cuts_ * room_ : own.get();
        (this->*(by_filters_ ? &Direct::work_by_filters : &Direct::work_by_pixels))(
            group(block), v, image, slivers_ * cut / cuts_, slivers_ * (cut + 1) / cuts_);
      });
    }
  }

 private:
  static constexpr int64_t TASKS = 16;      // that keep the threads busy, at least
  static constexpr int64_t L2 = 128 << 10;  // floats

  int64_t all() const { return c_.groups * blocks_.count(); }
  int64_t group(int64_t block) const { return block / blocks_.count(); }
  View view(int64_t block) const { return {c_, Block(blocks_, block % blocks_.count()), phased_, in_place_}; }
  int64_t largest_view() const {
    int64_t floats = 0;
    for (int64_t i = 0; i < blocks_.count() && all() < TASKS; i++) floats = max(floats, view(i).floats());
    return max<int64_t>(1, floats);
  }

  // So many that a slice of the images stays in L2, and that there are some tasks.
  static int64_t pixels_of_block(const Correlation& c) {
    const int64_t fits = L2 / (c.inputs * c.phases() * 5 / 4 + 1), all = c.n * c.rows.count * c.columns.count;
    return max<int64_t>(
        168, min<int64_t>(min<int64_t>(fits, 1008), all * min<int64_t>(4, ceil_div(c.outputs, NR<float>)) / TASKS));
  }
  // Tiles of pixels x channels waste lanes on few channels and have to be transposed; tiles of channels x pixels run
  // over the zeros between rows, where those are not whole vectors, and multiply by the zeros around the images. Costs
  // are of a pixel, in multiply-adds, as fit the times of all layers of four networks (bench/cases_conv.py).
  bool by_filters() const {
    const View v(c_, Block(blocks_, 0), true, false);
    const bool straight = is_straight(v);
    const double waste = straight ? 1 : static_cast<double>(round_up(span(v), W)) / static_cast<double>(v.b.pixels());
    const double K = static_cast<double>(c_.inputs * c_.taps()), outputs = static_cast<double>(c_.outputs);
    const double by_pixels = K * c_.rows.seen() * c_.columns.seen() * static_cast<double>(round_up(c_.outputs, W));
    return K * waste * max(outputs, 3.) + (straight ? 0 : 3) * outputs < 1.1 * by_pixels + 16 * outputs;
  }
  // May pixels be read where they lie? By vectors: if all are whole (the last block's are only if those of others are)
  // and planes do not fall on each other in L1.
  bool in_place() const {
    if (!c_.rows.plain() || !c_.columns.plain()) return false;
    const View last(c_, Block(blocks_, blocks_.count() - 1), false, true);
    return !by_filters_ || (is_straight(last) && last.plane % 256 != 0);
  }
  // Do tiles of filters x pixels go straight into the results? Rows are whole vectors and all of K is one slice.
  bool is_straight(const View& view) const {
    return slices_ == 1 && c_.spread() == 1 && c_.columns.out_step == 1 && run_of(view) % W == 0;
  }
  // Floats from the first pixel of a block to the last one, the zeros between them included.
  int64_t span(const View& view) const {
    const Block& b = view.b;
    return view.window(b.image + b.images - 1, b.row + b.rows - 1, b.column + b.columns - 1) + 1;
  }
  int64_t first_input(int64_t slice) const { return c_.inputs * slice / slices_; }
  int64_t inputs(int64_t slice) const { return first_input(slice + 1) - first_input(slice); }
  int64_t filter_tap(int64_t t, int64_t s) const {
    const Seen &y = c_.rows, &x = c_.columns;
    return (y.weight_first + t * y.weight_step) * c_.filter_row + x.weight_first + s * x.weight_step;
  }

  // A sliver's filters over a slice of K: tap t of the slice's input i is row t * apart(slice) + i.
  const float* slice_of_filters(int64_t group, int64_t sliver, int64_t slice, float* own) const {
    const int64_t from = first_input(slice);
    if (packed_) return packed_ + (group * slivers_ + sliver) * filters_.sliver_size() + from * NR<float>;
    filters_.pack_sliver(group, sliver, from, first_input(slice + 1), apart(slice), own);
    return own;
  }
  int64_t apart(int64_t slice) const { return packed_ ? c_.inputs : inputs(slice); }
  int64_t own_size() const { return packed_ ? 0 : ceil_div(c_.inputs, slices_) * filters_.taps * NR<float>; }

  void work_by_pixels(int64_t group, const View& view, const float* image, int64_t from, int64_t to) const {
    const Seen &y = c_.rows, &x = c_.columns;
    const Block& b = view.b;
    const int64_t ld = (slices_ > 1 ? to - from : 1) * NR<float>;
    const Ranges ys(y, b.row, b.rows), xs(x, b.column, b.columns);
    Scratch<int64_t> row(b.pixels()), place(b.pixels());
    int64_t m = 0;
    for (int64_t i = 0; i < ys.count; i++)  // pixels that see the same taps come together
      for (int64_t j = 0; j < xs.count; j++)
        for (int64_t n = b.image; n < b.image + b.images; n++)
          for (int64_t py = ys[i].first; py < ys[i].end; py++)
            for (int64_t px = xs[j].first; px < xs[j].end; px++, m++) {
              row[m] = view.window(n, py, px);
              place[m] = (((n - b.image) * b.rows + py - b.row) * b.columns + px - b.column) * ld;
            }
    Scratch<float> sums(b.pixels() * ld), own(own_size());
    Scratch<Segment> segments(c_.taps());
    for (int64_t slice = 0; slice < slices_; slice++)
      for (int64_t sliver = from; sliver < to; sliver++) {
        const float* filters = slice_of_filters(group, sliver, slice, own);
        float* of_sliver = sums + (slices_ > 1 ? (sliver - from) * NR<float> : 0);
        m = 0;
        for (int64_t i = 0; i < ys.count; i++)
          for (int64_t j = 0; j < xs.count; j++) {
            int64_t count = 0;
            for (int64_t t = ys[i].tap; t < ys[i].end_tap; t++)
              for (int64_t s = xs[j].tap; s < xs[j].end_tap; s++)
                segments[count++] = {view.tap(t, s), filter_tap(t, s) * apart(slice), inputs(slice)};
            const Panels panels(b.images * (ys[i].end - ys[i].first) * (xs[j].end - xs[j].first));
            for (int64_t p = 0; p < panels.count; p++)
              segments_kernel(panels.height(p), c_.outputs - sliver * NR<float>)(
                  count, segments, view.plane, image + first_input(slice) * view.plane, row + m + panels.start(p),
                  filters, of_sliver, place + m + panels.start(p), slice > 0);
            m += panels.rows;
          }
        if (slice + 1 == slices_) {
          write_pixels(group, b, sliver, of_sliver, ld);
          finish_sliver(group, b, sliver);
        }
      }
  }

  // Tiles of filters x pixels, which run through rows of the image and the zeros between them.
  void work_by_filters(int64_t group, const View& view, const float* image, int64_t from, int64_t to) const {
    if (is_straight(view)) return straight_into_results(group, view, image, from, to);
    const int64_t end = span(view);
    const int64_t ld = round_up(end, W), deepest = ceil_div(c_.inputs, slices_) * c_.taps();
    Scratch<float> sums((slices_ > 1 ? to - from : 1) * NR<float> * ld), own(own_size());
    Scratch<Segment> segments(c_.taps());
    Scratch<int64_t> offsets(deepest + AHEAD);
    for (int64_t slice = 0; slice < slices_; slice++) {
      const int64_t count = taps_of(view, slice, segments, offsets);
      for (int64_t sliver = from; sliver < to; sliver++) {
        const float* filters = slice_of_filters(group, sliver, slice, own);
        float* of_sliver = sums + (slices_ > 1 ? (sliver - from) * NR<float> * ld : 0);
        const Panels panels(min<int64_t>(NR<float>, c_.outputs - sliver * NR<float>));
        for (int64_t m = 0; m < end; m += NR<float>)
          for (int64_t p = 0; p < panels.count; p++)
            pixels_kernel(panels.height(p), end - m)(count, segments, offsets, image + m, filters + panels.start(p),
                                                     of_sliver + panels.start(p) * ld + m, ld, slice > 0, nullptr);
        if (slice + 1 == slices_) {
          write_filters(group, view, sliver, of_sliver, ld);
          finish_sliver(group, view.b, sliver);
        }
      }
    }
  }

  void straight_into_results(int64_t group, const View& view, const float* image, int64_t from, int64_t to) const {
    const Block& b = view.b;
    const int64_t run = run_of(view), rows = b.rows * b.columns / run, plane = c_.rows.out_size * c_.columns.out_size;
    Scratch<float> own(own_size());
    Scratch<Segment> segments(c_.taps());
    Scratch<int64_t> offsets(c_.inputs * c_.taps() + AHEAD);
    const int64_t count = taps_of(view, 0, segments, offsets);
    for (int64_t sliver = from; sliver < to; sliver++) {
      const float* filters = slice_of_filters(group, sliver, 0, own);
      const int64_t first = sliver * NR<float>;
      const Panels panels(min<int64_t>(NR<float>, c_.outputs - first));
      const float* bias = c_.bias ? c_.bias + group * c_.outputs + first : nullptr;
      float* out = c_.out + of_output(group, first);
      for (int64_t n = b.image; n < b.image + b.images; n++)
        for (int64_t row = b.row; row < b.row + rows; row++) {
          const float* src = image + view.window(n, row, b.column);
          float* to_row = out + of_pixel(n, row, b.column);
          for (int64_t m = 0; m < run; m += NR<float>)
            for (int64_t p = 0; p < panels.count; p++)
              pixels_kernel(panels.height(p), run - m)(count, segments, offsets, src + m, filters + panels.start(p),
                                                       to_row + panels.start(p) * plane + m, plane, false,
                                                       bias ? bias + panels.start(p) : nullptr);
        }
      finish_sliver(group, b, sliver);
    }
  }

  // K of a slice as offsets into the image, and as runs of rows of the filters.
  int64_t taps_of(const View& view, int64_t slice, Segment* segments, int64_t* offsets) const {
    const int64_t length = inputs(slice);
    int64_t count = 0, k = 0;
    for (int64_t t = 0; t < c_.rows.taps; t++)
      for (int64_t s = 0; s < c_.columns.taps; s++) {
        const int64_t first = filter_tap(t, s) * apart(slice), at = view.tap(t, s) + first_input(slice) * view.plane;
        if (count && segments[count - 1].first + segments[count - 1].length == first) {
          segments[count - 1].length += length;
        } else {
          segments[count++] = {k, first, length};
        }
        for (int64_t i = 0; i < length; i++) offsets[k++] = at + i * view.plane;
      }
    for (int64_t i = 0; i < AHEAD; i++) offsets[k + i] = offsets[k - 1];
    return count;
  }

  // Where the result of an output at a pixel is: the sum of these; that of the next pixel is out_step further.
  int64_t of_output(int64_t group, int64_t output) const {
    const int64_t channel = group * (c_.outputs / c_.spread()) + output / c_.spread();
    const int64_t row = c_.rows.out_first + output / c_.spread_columns % c_.spread_rows;
    return (channel * c_.rows.out_size + row) * c_.columns.out_size + c_.columns.out_first + output % c_.spread_columns;
  }
  int64_t of_pixel(int64_t image, int64_t py, int64_t px) const {
    const int64_t channels = c_.groups * (c_.outputs / c_.spread());
    return (image * channels * c_.rows.out_size + py * c_.rows.out_step) * c_.columns.out_size +
           px * c_.columns.out_step;
  }
  float bias_of(int64_t group, int64_t output) const {
    return c_.bias ? c_.bias[(group * c_.outputs + output) / c_.spread()] : 0.f;
  }
  // W pixels of neighbouring outputs, `column(0)` ...; `pixels` of them count.
  template <class F>
  void store_pixels(float* to, int64_t pixels, const F& column) const {
    const int64_t step = c_.columns.out_step;
    if (c_.spread_columns == step) return store_interleaved(to, step, pixels * step, column);
    const vf v = column(0);
    for (int64_t i = 0; i < min<int64_t>(W, pixels); i++) to[i * step] = v[i];
  }

  // Sums [channel][pixel] of a sliver.
  void write_filters(int64_t group, const View& view, int64_t sliver, const float* sums, int64_t ld) const {
    const Block& b = view.b;
    const int64_t columns = run_of(view), rows = b.rows * b.columns / columns;
    const int64_t first = sliver * NR<float>, end = min(c_.outputs, first + NR<float>);
    for (int64_t output = first; output < end; output += c_.spread_columns) {
      const vf bias = splatf(bias_of(group, output));
      float* out = c_.out + of_output(group, output);
      for (int64_t n = b.image; n < b.image + b.images; n++)
        for (int64_t row = b.row; row < b.row + rows; row++) {
          const float* src = sums + (output - first) * ld + view.window(n, row, b.column);
          float* to = out + of_pixel(n, row, b.column);
          for (int64_t i = 0; i < columns; i += W)
            store_pixels(to + i * c_.columns.out_step, columns - i,
                         [&](int64_t s) { return load(src + s * ld + i) + bias; });
        }
    }
  }

  // Sums [pixel][channel] of a sliver, transposed W pixels of W channels at a time.
  void write_pixels(int64_t group, const Block& b, int64_t sliver, const float* sums, int64_t ld) const {
    const int64_t run = runs_from_row_to_row(b) ? b.rows * b.columns : b.columns, runs = b.pixels() / run;
    const int64_t first = sliver * NR<float>, end = min(c_.outputs, first + NR<float>);
    for (int64_t output = first; output < end; output += W) {
      const int64_t outputs = min<int64_t>(W, end - output);
      vf bias{};
      int64_t out[W];
      for (int64_t i = 0; i < outputs; i++) {
        bias[i] = bias_of(group, output + i);
        out[i] = of_output(group, output + i);
      }
      for (int64_t r = 0; r < runs; r++) {
        int64_t py, px, image = b.pixel(r * run, &py, &px);
        float* to = c_.out + of_pixel(image, py, px);
        for (int64_t m = 0; m < run; m += W) {
          const int64_t pixels = min<int64_t>(W, run - m);
          const float* src = sums + (r * run + m) * ld + output - first;
          vf t[W];
          for (int i = 0; i < W; i++) t[i] = i < pixels ? load(src + i * ld) + bias : vf{};
          transpose<float>(t);
          for (int64_t i = 0; i < outputs; i += c_.spread_columns)
            store_pixels(to + out[i] + m * c_.columns.out_step, pixels, [&](int64_t s) { return t[i + s]; });
        }
      }
    }
  }
  void finish_sliver(int64_t group, const Block& b, int64_t sliver) const {
    if (!c_.finish.residual && c_.finish.activation == Activation::none) return;
    const int64_t run = runs_from_row_to_row(b) ? b.rows * b.columns : b.columns, runs = b.pixels() / run;
    const int64_t first = sliver * NR<float>, end = min(c_.outputs, first + NR<float>);
    for (int64_t output = first; output < end; output++)
      for (int64_t r = 0; r < runs; r++) {
        int64_t py, px, image = b.pixel(r * run, &py, &px);
        finish(c_.finish, c_.out, of_output(group, output) + of_pixel(image, py, px), run);
      }
  }
  // Results that follow each other where their windows do.
  int64_t run_of(const View& view) const {
    return runs_from_row_to_row(view.b) && view.width == view.b.columns ? view.b.rows * view.b.columns : view.b.columns;
  }
  bool runs_from_row_to_row(const Block& b) const {  // the results of a channel
    return c_.columns.dense() && c_.rows.dense() && b.columns == c_.columns.count;
  }

  const Correlation c_;
  const Filters filters_;
  const float* packed_;
  int64_t slivers_, slices_;  // NR output channels each; about KC taps each, whole channels
  Blocks blocks_;
  bool by_filters_;          // rows of tiles are filters, columns pixels
  bool in_place_, phased_;   // how images are seen
  int64_t room_;             // floats of a block's copy, where there are few
  bool shared_;              // there are few blocks: channels are cut, too, and see the same copy
  int64_t together_, cuts_;  // blocks that are copied at a time; cuts of the output channels
};

Seen forward_axis(const ConvAxis& a) {
  return {a.size, a.kernel, a.dilation, a.stride, a.start, a.count, 0, 1, 0, 1, a.count};
}

// Elements of an image that are `stride` apart meet the same taps, first, first + every, ...
// (a residue). Its sums over
// windows are a correlation of the results' gradient with those taps in reverse, without overlaps to add up or zeros to
// multiply by.
struct Residues {
  int64_t every, step, count;
  explicit Residues(const ConvAxis& a)
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

// Windows that lie side by side and leave nothing out: an element of the image meets one tap.
bool side_by_side(const ConvAxis& a) {
  return a.kernel == a.stride && (a.dilation == 1 || a.kernel == 1) && a.start == 0 && a.count * a.stride == a.size;
}
bool spreads(const ConvShape& s) {
  return side_by_side(s.rows) && side_by_side(s.columns) && 4 % s.columns.kernel == 0;
}

Filters forward_filters(const ConvShape& s, const float* weight) {
  const int64_t taps = s.rows.kernel * s.columns.kernel;
  return {weight, s.groups, s.inputs, s.outputs, taps, s.outputs * s.inputs * taps, s.inputs * taps, taps};
}
Filters backward_filters(const ConvShape& s, const float* weight) {
  const int64_t taps = s.rows.kernel * s.columns.kernel, of_output = s.inputs * taps;
  if (spreads(s)) return {weight, s.groups, s.outputs, of_output, 1, s.outputs * of_output, 1, of_output};
  return {weight, s.groups, s.outputs, s.inputs, taps, s.outputs * of_output, taps, of_output};
}

// Runs correlations with the same filters.
void correlate(const Correlation* c, int64_t count, const Filters& filters, const float* packed) {
  const bool pack_first = !packed && (count > 1 || Direct::blocks(c[0]).count() > 1);
  Scratch<float> own(pack_first ? filters.size() : 0);
  if (pack_first) filters.pack_all(own);
  for (int64_t i = 0; i < count; i++) Direct(c[i], filters, pack_first ? own.get() : packed).run();
}

}  // namespace

void conv_pack(const ConvPack& p) {
  const ConvShape s = flattened(p.shape);
  (p.backward ? backward_filters(s, p.weight) : forward_filters(s, p.weight)).pack_all(p.packed);
}

void conv_forward(const ConvForward& p) {
  const ConvShape s = flattened(p.shape);
  const Correlation c{.image = p.x,
                      .bias = p.bias,
                      .out = p.y,
                      .n = s.n,
                      .groups = s.groups,
                      .inputs = s.inputs,
                      .outputs = s.outputs,
                      .filter_row = s.columns.kernel,
                      .rows = forward_axis(s.rows),
                      .columns = forward_axis(s.columns),
                      .finish = p.finish};
  correlate(&c, 1, forward_filters(s, p.weight), p.packed);
}

void conv_backward_input(const ConvBackwardInput& p) {
  const ConvShape s = flattened(p.shape);
  const Filters filters = backward_filters(s, p.weight);
  Correlation c{.image = p.g,
                .bias = p.bias,
                .out = p.gx,
                .n = s.n,
                .groups = s.groups,
                .inputs = s.outputs,
                .outputs = filters.outputs,
                .filter_row = s.columns.kernel,
                .rows = {},
                .columns = {},
                .finish = {}};
  if (spreads(s)) {
    auto axis = [](const ConvAxis& a) { return Seen{a.count, 1, 1, 1, 0, a.count, 0, 1, 0, a.stride, a.size}; };
    c.rows = axis(s.rows), c.columns = axis(s.columns);
    c.spread_rows = s.rows.stride, c.spread_columns = s.columns.stride;
    return correlate(&c, 1, filters, p.packed);
  }
  const Residues rows(s.rows), columns(s.columns);
  if (!rows.cover(s.rows) || !columns.cover(s.columns)) fill(p);
  Scratch<Correlation> all(rows.count * columns.count);
  int64_t count = 0;
  for (int64_t i = 0; i < rows.count; i++)
    for (int64_t j = 0; j < columns.count; j++) {
      c.rows = rows(s.rows, i), c.columns = columns(s.columns, j);
      if (c.rows.count > 0 && c.columns.count > 0) all[count++] = c;
    }
  correlate(all, count, filters, p.packed);
}

}  // namespace minidl::MINIDL_ISA
