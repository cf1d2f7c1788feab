// A cell's mean of samples is a product of means along each axis: sums over few rows, then over few columns.
#include <cmath>

#include "kernels/cpu/rows.h"
#include "kernels/cpu/vision/vision.h"

namespace minidl::MINIDL_ISA {
namespace {

// For each cell of an axis: `reach` weights of the elements from `first` on.
struct Axis {
  int64_t reach;
  Scratch<int64_t> first;
  Scratch<float> weight;

  static int64_t samples(double size, int64_t cells, int64_t ratio) {
    return ratio > 0 ? ratio : max<int64_t>(1, static_cast<int64_t>(std::ceil(size / static_cast<double>(cells))));
  }
  static int64_t reached(double size, int64_t cells, int64_t length) {
    return min<int64_t>(length, static_cast<int64_t>(size / static_cast<double>(cells)) + 4);
  }
  Axis(double low, double size, int64_t cells, int64_t length, int64_t ratio)
      : reach(reached(size, cells, length)), first(cells), weight(cells * reach) {
    const int64_t count = samples(size, cells, ratio);
    const double cell = size / static_cast<double>(cells), step = cell / static_cast<double>(count);
    for (int64_t c = 0; c < cells; c++) {
      const double start = low + cell * static_cast<double>(c);
      const double begin = std::floor(max(0., min(start, static_cast<double>(length - 1))));
      first[c] = min(static_cast<int64_t>(begin), length - reach);
      float* w = weight + c * reach;
      std::memset(w, 0, sizeof(float) * static_cast<size_t>(reach));
      for (int64_t s = 0; s < count; s++) {
        double at = start + step * (static_cast<double>(s) + .5);
        if (at < -1 || at > static_cast<double>(length)) continue;
        at = max(0., min(at, static_cast<double>(length - 1)));
        const int64_t below = static_cast<int64_t>(at);
        const double part = at - static_cast<double>(below);
        w[below - first[c]] += static_cast<float>((1 - part) / static_cast<double>(count));
        if (part > 0) w[below + 1 - first[c]] += static_cast<float>(part / static_cast<double>(count));
      }
    }
  }
};

struct Region {
  int64_t image;
  Axis rows, columns;
  static double edge(const RoiAlign& p, float at) { return static_cast<double>(at) * p.scale - (p.aligned ? .5 : 0.); }
  static double size(const RoiAlign& p, float low, float high) {
    return max(edge(p, high) - edge(p, low), p.aligned ? 0. : 1.);
  }
  Region(const RoiAlign& p, const float* b)
      : image(static_cast<int64_t>(b[0])),
        rows(edge(p, b[2]), size(p, b[2], b[4]), p.p, p.height, p.sampling_ratio),
        columns(edge(p, b[1]), size(p, b[1], b[3]), p.q, p.width, p.sampling_ratio) {}
};

}  // namespace

void roi_align_forward(const RoiAlign& p) {
  parallel_for(p.boxes_count, [&](int64_t b) {
    const Region region(p, p.boxes + 5 * b);
    const Axis &rows = region.rows, &columns = region.columns;
    const int64_t left = columns.first[0], width = columns.first[p.q - 1] + columns.reach - left;
    Scratch<float> line(width);
    for (int64_t c = 0; c < p.channels; c++) {
      const float* x = p.x + (region.image * p.channels + c) * p.height * p.width + left;
      float* y = p.y + (b * p.channels + c) * p.p * p.q;
      for (int64_t i = 0; i < p.p; i++) {
        for_vectors(width, [&](int64_t j, int64_t lanes) {
          vf sum{};
          for (int64_t r = 0; r < rows.reach; r++)
            sum += load_n(x + (rows.first[i] + r) * p.width + j, lanes) * rows.weight[i * rows.reach + r];
          store_n(line + j, sum, lanes);
        });
        for (int64_t j = 0; j < p.q; j++) {
          float sum = 0;
          for (int64_t r = 0; r < columns.reach; r++)
            sum += line[columns.first[j] - left + r] * columns.weight[j * columns.reach + r];
          y[i * p.q + j] = sum;
        }
      }
    }
  });
}

// Each channel of an image takes its boxes in order: no two tasks add to one element.
void roi_align_backward(const RoiAlign& p) {
  const int64_t pieces = min<int64_t>(p.channels, 16);
  std::memset(p.gx, 0, sizeof(float) * static_cast<size_t>(p.images * p.channels * p.height * p.width));
  parallel_for(p.images * pieces, [&](int64_t task) {
    const int64_t image = task / pieces, piece = task % pieces;
    for (int64_t b = 0; b < p.boxes_count; b++) {
      if (static_cast<int64_t>(p.boxes[5 * b]) != image) continue;
      const Region region(p, p.boxes + 5 * b);
      const Axis &rows = region.rows, &columns = region.columns;
      const int64_t left = columns.first[0], width = columns.first[p.q - 1] + columns.reach - left;
      Scratch<float> line(width);
      for (int64_t c = p.channels * piece / pieces; c < p.channels * (piece + 1) / pieces; c++) {
        const float* g = p.g + (b * p.channels + c) * p.p * p.q;
        float* gx = p.gx + (image * p.channels + c) * p.height * p.width + left;
        for (int64_t i = 0; i < p.p; i++) {
          std::memset(line, 0, sizeof(float) * static_cast<size_t>(width));
          for (int64_t j = 0; j < p.q; j++)
            for (int64_t r = 0; r < columns.reach; r++)
              line[columns.first[j] - left + r] += g[i * p.q + j] * columns.weight[j * columns.reach + r];
          for (int64_t r = 0; r < rows.reach; r++) {
            float* to = gx + (rows.first[i] + r) * p.width;
            const float weight = rows.weight[i * rows.reach + r];
            if (weight == 0) continue;
            for_vectors(width, [&](int64_t j, int64_t lanes) {
              store_n(to + j, load_n(to + j, lanes) + load_n(line + j, lanes) * weight, lanes);
            });
          }
        }
      }
    }
  });
}

}  // namespace minidl::MINIDL_ISA
