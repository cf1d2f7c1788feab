// The gradients of a convolution's filters and bias.
//
// Filters: a matrix product over all pixels of all images: rows = taps of input channels, read from the image in place;
// columns = output channels, the gradient's planes transposed to [pixel][channel]. Images go through in groups that fit
// the caches. Where there are few filters the pixels are cut, too, and the parts' sums added up in order.
#include "kernels/cpu/conv/direct.h"

#include "kernels/cpu/conv/direct_tile.h"

namespace minidl::MINIDL_ISA {
namespace {

constexpr int64_t ROUND = 2 << 20;  // floats that are prepared at a time, if that is not less than an image

class WeightGradient {
 public:
  explicit WeightGradient(const ConvBackwardWeight& p) : p_(p), s_(flattened(p.shape)) {
    exchanged_ =
        s_.rows.size == 1 && s_.columns.kernel == 1 && s_.rows.kernel == 1 && s_.columns.count == s_.columns.size;
    if (exchanged_) p_ = {p.x, p.g, p.gweight, p.shape}, s_.inputs = p.shape.outputs, s_.outputs = p.shape.inputs;
    taps_ = s_.rows.kernel * s_.columns.kernel;
    slivers_ = ceil_div(s_.outputs, NR<float>);
    pixels_ = s_.rows.count * s_.columns.count;
    const int64_t size = s_.rows.size * s_.columns.size;
    by_tap_ = s_.inputs >= MR / 2 || taps_ == 1;
    window_ = by_tap_ ? Window{0, 0, s_.rows.size, s_.columns.size}
                      : Window{s_.rows.start, s_.columns.start, reach(s_.rows), reach(s_.columns)};
    const bool fall_on_each_other = size % 256 == 0 && s_.inputs > 1;  // in L1
    in_place_ = by_tap_ ? !fall_on_each_other : window_.within(s_.rows.size, s_.columns.size);
    pitch_ = in_place_ ? s_.columns.size : window_.width;
    plane_ = in_place_ ? size : window_.plane();
    panels_ = Panels(by_tap_ ? s_.inputs : s_.inputs * taps_);
    all_ = panels_.count * (by_tap_ ? taps_ : 1);
    const int64_t prepared = s_.groups * ((in_place_ ? 0 : s_.inputs * plane_) + slivers_ * NR<float> * pixels_);
    images_ = min(s_.n, max<int64_t>(1, ROUND / prepared));
    cuts_ = min(all_, max<int64_t>(ceil_div(8, s_.groups * slivers_), all_ / 16));
    parts_ = max<int64_t>(1, min(ceil_div(8, s_.groups * slivers_ * cuts_), images_ * pixels_ / (4 * KC)));
    at_once_ = exchanged_ && parts_ == 1 && s_.outputs % NR<float> == 0;
  }

  void run() {
    const int64_t planes = s_.groups * s_.inputs, size = s_.rows.size * s_.columns.size;
    const int64_t K = s_.inputs * taps_, sum_size = s_.groups * slivers_ * K * NR<float>;
    Scratch<float> copies(in_place_ ? 0 : images_ * planes * plane_);
    Scratch<float> packed(images_ * pixels_ * s_.groups * slivers_ * NR<float>), sums(at_once_ ? 0 : parts_ * sum_size);
    for (int64_t first = 0; first < s_.n; first += images_) {
      const int64_t images = min(images_, s_.n - first);
      const float* x = p_.x + first * planes * size;
      prepare(first, images, x, copies, packed);
      const float* image = !in_place_ ? copies.get() : by_tap_ ? x : x + window_.top * pitch_ + window_.left;
      parallel_for(s_.groups * slivers_ * cuts_ * parts_, [&](int64_t t) {
        int64_t part = t % parts_, cut = t / parts_ % cuts_, sliver = t / parts_ / cuts_;  // (of all groups)
        work(image + sliver / slivers_ * s_.inputs * plane_, packed + sliver * images * pixels_ * NR<float>,
             images * pixels_ * part / parts_, images * pixels_ * (part + 1) / parts_, cut, sliver % slivers_,
             at_once_ ? p_.gweight + sliver / slivers_ * s_.inputs * s_.outputs + sliver % slivers_ * NR<float>
                      : sums + part * sum_size + sliver * K * NR<float>,
             first > 0);
      });
    }
    if (!at_once_) finish(sums, sum_size);
  }

 private:
  static int64_t reach(const ConvAxis& a) { return (a.count - 1) * a.stride + (a.kernel - 1) * a.dilation + 1; }

  // Zeros around the images where needed; the gradient as [sliver][image][pixel][NR].
  void prepare(int64_t first, int64_t images, const float* x, float* copies, float* packed) const {
    const int64_t planes = s_.groups * s_.inputs, size = s_.rows.size * s_.columns.size;
    const int64_t pieces = ceil_div(pixels_, 2048);
    parallel_for(images * s_.groups * slivers_ * pieces, [&](int64_t t) {
      const int64_t image = t / pieces % images, sliver = t / pieces / images % slivers_;
      const int64_t group = t / pieces / images / slivers_, o = sliver * NR<float>;
      const int64_t from = pixels_ * (t % pieces) / pieces, to = pixels_ * (t % pieces + 1) / pieces;
      const float* g = p_.g + (((first + image) * s_.groups + group) * s_.outputs + o) * pixels_ + from;
      pack(g, pixels_, 1, static_cast<int>(min<int64_t>(NR<float>, s_.outputs - o)), to - from,
           packed + (t / pieces * pixels_ + from) * NR<float>, NR<float>);
    });
    if (in_place_) return;
    parallel_chunks(images * planes, 16384 / window_.plane(), [&](int64_t from, int64_t to) {
      copy_window(x + from * size, to - from, s_.rows.size, s_.columns.size, window_, copies + from * plane_);
    });
  }

  // Some panels over the pixels [from, to) of the images, in slices of K.
  void work(const float* image, const float* packed, int64_t from, int64_t to, int64_t cut, int64_t sliver, float* c,
            bool accumulate) const {
    const int64_t slices = ceil_div(to - from, KC);
    Scratch<int64_t> row(panels_.rows), place(panels_.rows);
    for (int64_t i = 0; i < panels_.rows; i++) {
      const int64_t tap = by_tap_ ? 0 : i % taps_, y = tap / s_.columns.kernel, x = tap % s_.columns.kernel;
      row[i] = (by_tap_ ? i : i / taps_) * plane_ + y * s_.rows.dilation * pitch_ + x * s_.columns.dilation;
      place[i] = at_once_ ? i * s_.outputs : (by_tap_ ? i * taps_ : i) * NR<float>;
    }
    Scratch<Segment> segments(ceil_div(to - from, slices) / s_.columns.count + 2);
    for (int64_t slice = 0; slice < slices; slice++, accumulate = true) {
      const int64_t k = from + (to - from) * slice / slices, end = from + (to - from) * (slice + 1) / slices;
      int64_t of_tap = -1, count = 0;
      for (int64_t p = all_ * cut / cuts_; p < all_ * (cut + 1) / cuts_; p++) {
        const int64_t tap = p / panels_.count, panel = p % panels_.count;
        if (tap != of_tap) count = segments_of(of_tap = tap, k, end, segments);
        segments_kernel(panels_.height(panel), s_.outputs - sliver * NR<float>)(
            count, segments, s_.columns.stride, image, row + panels_.start(panel), packed, c + tap * NR<float>,
            place + panels_.start(panel), accumulate);
      }
    }
  }

  // The rows of pixels in [from, to) where a tap is on the image; by all taps, of copies: all rows.
  int64_t segments_of(int64_t tap, int64_t from, int64_t to, Segment* segment) const {
    const ConvAxis &y = s_.rows, &x = s_.columns;
    const int64_t top = by_tap_ ? y.start + tap / x.kernel * y.dilation : 0;
    const int64_t left = by_tap_ ? x.start + tap % x.kernel * x.dilation : 0;
    int64_t low = 0, high = x.count, count = 0;
    while (by_tap_ && low < high && left + low * x.stride < 0) low++;
    while (by_tap_ && low < high && left + (high - 1) * x.stride >= x.size) high--;
    for (int64_t line = from / x.count; line * x.count < to; line++) {
      const int64_t n = line / y.count, at = top + line % y.count * y.stride;
      const int64_t first = max(low, from - line * x.count), end = min(high, to - line * x.count);
      if (first >= end || (by_tap_ && (at < 0 || at >= y.size))) continue;
      segment[count++] = {(n * s_.groups * s_.inputs) * plane_ + at * pitch_ + left + first * x.stride,
                          line * x.count + first, end - first};
    }
    return count;
  }

  // Adds up the parts, and transposes sums [sliver][channel][tap][NR] to filters.
  void finish(const float* sums, int64_t sum_size) const {
    const int64_t per_sliver = NR<float> / W, K = s_.inputs * taps_;
    parallel_for(s_.groups * slivers_ * per_sliver, [&](int64_t t) {
      const int64_t sliver = t / per_sliver % slivers_, group = t / per_sliver / slivers_, lane = t % per_sliver * W;
      const int64_t o = sliver * NR<float> + lane, filters = min<int64_t>(W, s_.outputs - o);
      const float* src = sums + (group * slivers_ + sliver) * K * NR<float> + lane;
      for (int64_t k = 0; exchanged_ && k < K; k++) {
        vf total{};
        for (int64_t part = 0; part < parts_; part++) total += load(src + part * sum_size + k * NR<float>);
        store_n(p_.gweight + (group * K + k) * s_.outputs + o, total, filters);
      }
      for (int64_t k = 0; !exchanged_ && k < K; k += W) {
        vf r[W];
        for (int64_t i = 0; i < W; i++) {
          r[i] = vf{};
          for (int64_t part = 0; part < parts_ && k + i < K; part++)
            r[i] += load(src + part * sum_size + (k + i) * NR<float>);
        }
        transpose<float>(r);
        for (int64_t i = 0; i < filters; i++) store_n(p_.gweight + (group * s_.outputs + o + i) * K + k, r[i], K - k);
      }
    });
  }

  ConvBackwardWeight p_;
  ConvShape s_;
  bool exchanged_;           // one tap: rows are output channels, columns input channels, as in the filters
  bool by_tap_;              // panels of channels, tap by tap; otherwise of channels' taps, all alike
  bool in_place_, at_once_;  // images are not copied; sums are made in the result
  int64_t taps_, slivers_, pixels_;
  Window window_;
  int64_t pitch_, plane_;  // of images, or their copies
  Panels panels_{0};
  int64_t all_, images_, cuts_,
      parts_;  // panels of all taps; prepared at a time; cuts of panels, of pixels among tasks
};

}  // namespace

void conv_backward_weight(const ConvBackwardWeight& p) { WeightGradient(p).run(); }

void conv_backward_bias(const ConvBackwardBias& p) {
  parallel_chunks(p.channels, 65536 / max<int64_t>(1, p.n * p.pixels), [&](int64_t first, int64_t end) {
    for (int64_t c = first; c < end; c++) {
      double total = 0;
      for (int64_t i = 0; i < p.n; i++) {
        const float* g = p.g + (i * p.channels + c) * p.pixels;
        for (int64_t from = 0; from < p.pixels; from += 4096) {  // (short chains of float32, added in float64)
          const int64_t n = min<int64_t>(4096, p.pixels - from);
          vf chain[4] = {};
          int64_t j = 0;
          for (; j + 4 * W <= n; j += 4 * W)
            for (int k = 0; k < 4; k++) chain[k] += load(g + from + j + k * W);
          for (; j < n; j += W) chain[0] += load_n(g + from + j, n - j);
          total += sum((chain[0] + chain[1]) + (chain[2] + chain[3]));
        }
      }
      p.gbias[c] = static_cast<float>(total);
    }
  });
}

}  // namespace minidl::MINIDL_ISA
