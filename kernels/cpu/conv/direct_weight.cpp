// The gradients of a convolution's filters and bias.
//
// Filters: a matrix product over all pixels of all images: rows = taps of input channels, read from the image in place;
// columns = output channels, the gradient's planes transposed to [pixel][channel]. Images go through in groups that fit
// the caches. Where there are few filters the pixels are cut, too, and the parts' sums added up in order.
#include "kernels/cpu/conv/direct.h"

#include "kernels/cpu/conv/direct_image.h"

namespace minidl::MINIDL_ISA {
namespace {

constexpr int64_t ROUND = 2 << 20;  // floats that are prepared at a time, if that is not less than an image

class WeightGradient {
 public:
  explicit WeightGradient(const ConvBackwardWeight& p)
      : p_(p),
        s_(p.shape),
        taps_(s_.rows.kernel * s_.columns.kernel),
        K_(s_.inputs * taps_),
        slivers_(ceil_div(s_.outputs, NR<float>)),
        pixels_(s_.rows.count * s_.columns.count),
        window_{s_.rows.start, s_.columns.start, reach(s_.rows), reach(s_.columns)},
        in_place_(window_.within(s_.rows.size, s_.columns.size)),
        panels_(K_) {
    const int64_t prepared =
        (in_place_ ? 0 : s_.groups * s_.inputs * window_.plane()) + s_.groups * slivers_ * NR<float> * pixels_;
    images_ = min(s_.n, max<int64_t>(1, ROUND / max<int64_t>(1, prepared)));
    cuts_ = min(panels_.count, max<int64_t>(ceil_div(8, s_.groups * slivers_), panels_.count / 16));
    parts_ = max<int64_t>(1, min(ceil_div(8, s_.groups * slivers_ * cuts_), images_ * pixels_ / (4 * KC)));
  }

  void run() {
    const int64_t planes = s_.groups * s_.inputs, size = s_.rows.size * s_.columns.size;
    const int64_t sum_size = s_.groups * slivers_ * K_ * NR<float>;
    Scratch<int64_t> row(K_), offset(images_ * pixels_);
    const int64_t pitch = in_place_ ? s_.columns.size : window_.width, plane = in_place_ ? size : window_.plane();
    tables(row, offset, pitch, plane);
    Scratch<float> copies(in_place_ ? 0 : images_ * planes * plane),
        packed(images_ * pixels_ * s_.groups * slivers_ * NR<float>);
    Scratch<float> sums(parts_ * sum_size);
    for (int64_t first = 0; first < s_.n; first += images_) {
      const int64_t images = min(images_, s_.n - first);
      const float* x = p_.x + first * planes * size;
      prepare(first, images, x, copies, packed);
      const float* image = in_place_ ? x + window_.top * pitch + window_.left : copies.get();
      parallel_for(s_.groups * slivers_ * cuts_ * parts_, [&](int64_t t) {
        int64_t part = t % parts_, cut = t / parts_ % cuts_, sliver = t / parts_ / cuts_;  // (of all groups)
        float* c = sums + part * sum_size + sliver * K_ * NR<float>;
        work(image + sliver / slivers_ * s_.inputs * plane, row, offset, packed + sliver * images * pixels_ * NR<float>,
             images * pixels_ * part / parts_, images * pixels_ * (part + 1) / parts_, cut, sliver % slivers_, c,
             first > 0);
      });
    }
    finish(sums, sum_size);
  }

 private:
  static int64_t reach(const ConvAxis& a) { return (a.count - 1) * a.stride + (a.kernel - 1) * a.dilation + 1; }

  void tables(int64_t* row, int64_t* offset, int64_t pitch, int64_t plane) const {
    for (int64_t i = 0; i < s_.inputs; i++)
      for (int64_t t = 0; t < s_.rows.kernel; t++)
        for (int64_t s = 0; s < s_.columns.kernel; s++)
          *row++ = i * plane + t * s_.rows.dilation * pitch + s * s_.columns.dilation;
    for (int64_t i = 0; i < images_; i++)
      for (int64_t y = 0; y < s_.rows.count; y++)
        for (int64_t x = 0; x < s_.columns.count; x++)
          *offset++ = i * s_.groups * s_.inputs * plane + y * s_.rows.stride * pitch + x * s_.columns.stride;
  }

  // Zeros around the images; the gradient as [sliver][image][pixel][NR].
  void prepare(int64_t first, int64_t images, const float* x, float* copies, float* packed) const {
    const int64_t planes = s_.groups * s_.inputs, size = s_.rows.size * s_.columns.size;
    parallel_for(images * s_.groups * slivers_, [&](int64_t t) {
      int64_t image = t % images, sliver = t / images % slivers_, group = t / images / slivers_, o = sliver * NR<float>;
      const float* g = p_.g + ((first + image) * s_.groups + group) * s_.outputs * pixels_ + o * pixels_;
      pack(g, pixels_, 1, static_cast<int>(min<int64_t>(NR<float>, s_.outputs - o)), pixels_,
           packed + t * pixels_ * NR<float>, NR<float>);
    });
    if (in_place_) return;
    parallel_chunks(images * planes, 16384 / window_.plane(), [&](int64_t from, int64_t to) {
      copy_window(x + from * size, to - from, s_.rows.size, s_.columns.size, window_, copies + from * window_.plane());
    });
  }

  void work(const float* image, const int64_t* row, const int64_t* offset, const float* packed, int64_t from,
            int64_t to, int64_t cut, int64_t sliver, float* c, bool accumulate) const {
    const int64_t slices = ceil_div(to - from, KC);
    for (int64_t slice = 0; slice < slices; slice++, accumulate = true) {
      int64_t k = from + (to - from) * slice / slices, kc = from + (to - from) * (slice + 1) / slices - k;
      for (int64_t p = panels_.count * cut / cuts_; p < panels_.count * (cut + 1) / cuts_; p++)
        gathering(panels_.height(p), s_.outputs - sliver * NR<float>)(
            kc, image, offset + k, row + panels_.start(p), packed + k * NR<float>, c + panels_.start(p) * NR<float>,
            NR<float>, accumulate);
    }
  }

  // Adds up the parts, and transposes [sliver][k][NR] to filters.
  void finish(const float* sums, int64_t sum_size) const {
    const int64_t per_sliver = NR<float> / W;
    parallel_for(s_.groups * slivers_ * per_sliver, [&](int64_t t) {
      const int64_t sliver = t / per_sliver % slivers_, group = t / per_sliver / slivers_, lane = t % per_sliver * W;
      const int64_t o = sliver * NR<float> + lane, filters = min<int64_t>(W, s_.outputs - o);
      const float* src = sums + (group * slivers_ + sliver) * K_ * NR<float> + lane;
      for (int64_t k = 0; k < K_; k += W) {
        vf r[W];
        for (int64_t i = 0; i < W; i++) {
          r[i] = vf{};
          for (int64_t part = 0; part < parts_ && k + i < K_; part++)
            r[i] += load(src + part * sum_size + (k + i) * NR<float>);
        }
        transpose<float>(r);
        for (int64_t i = 0; i < filters; i++) store_n(p_.gweight + (group * s_.outputs + o + i) * K_ + k, r[i], K_ - k);
      }
    });
  }

  const ConvBackwardWeight& p_;
  const ConvShape& s_;
  int64_t taps_, K_, slivers_, pixels_;
  Window window_;
  bool in_place_;
  Panels panels_;                  // of taps
  int64_t images_, cuts_, parts_;  // prepared at a time; of the panels and of the pixels among tasks
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
