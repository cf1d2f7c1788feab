#include "kernels/cpu/vision/vision.h"
#include "csrc/arrays.h"

namespace minidl {
namespace {

void check_index(const Checked& check, const int64_t* index, int64_t count, int64_t size) {
  bool fits = true;
  for (int64_t i = 0; i < count; i++) fits &= index[i] >= 0 && index[i] < size;
  check.require(fits, "index", "elements of x's axis");
}

RoiAlign roi_params(const Checked& check, py::handle boxes, py::handle image, py::handle grid, double scale,
                    int64_t sampling_ratio, bool aligned) {
  RoiAlign p{};
  auto [n, c, h, w] = check.shape<4>("x", image);
  auto [b, channels, rows, columns] = check.shape<4>("y", grid);
  check.require(c > 0 && h > 0 && w > 0 && rows > 0 && columns > 0 && channels == c, "x", "no empty axis");
  p.boxes = check.input<float>("boxes", boxes, {b, 5});
  for (int64_t i = 0; i < b; i++)
    check.require(p.boxes[5 * i] >= 0 && p.boxes[5 * i] < static_cast<float>(n), "boxes", "numbers of images");
  p.boxes_count = b, p.images = n, p.channels = c, p.height = h, p.width = w, p.p = rows, p.q = columns;
  p.scale = scale, p.sampling_ratio = sampling_ratio, p.aligned = aligned;
  return p;
}

}  // namespace

void bind_vision(py::module_& m) {
  m.def("resize", [](py::handle x, py::handle index, py::handle weight, py::handle y) {
    Checked check("resize.cpu");
    auto [outer, size, inner] = check.shape<3>("x", x);
    auto [taps, count] = check.shape<2>("index", index);
    Resize p{check.input<float>("x", x, {outer, size, inner}),
             check.input<int64_t>("index", index, {taps, count}),
             check.optional<float>("weight", weight, {taps, count}),
             check.output<float>("y", y, {outer, count, inner}),
             outer,
             size,
             inner,
             count,
             taps};
    check.require(size > 0 && inner > 0 && count > 0 && taps > 0, "x", "no empty axis");
    check.require(p.weight || taps == 1, "weight", "weights of several taps");
    check_index(check, p.index, taps * count, size);
    launch(resize, p);
  });
  m.def("roi_align_forward",
        [](py::handle x, py::handle boxes, py::handle y, double scale, int64_t sampling_ratio, bool aligned) {
          Checked check("roi_align.cpu");
          RoiAlign p = roi_params(check, boxes, x, y, scale, sampling_ratio, aligned);
          p.x = check.input<float>("x", x, {p.images, p.channels, p.height, p.width});
          p.y = check.output<float>("y", y, {p.boxes_count, p.channels, p.p, p.q});
          launch(roi_align_forward, p);
        });
  m.def("roi_align_backward",
        [](py::handle g, py::handle boxes, py::handle gx, double scale, int64_t sampling_ratio, bool aligned) {
          Checked check("roi_align.cpu");
          RoiAlign p = roi_params(check, boxes, gx, g, scale, sampling_ratio, aligned);
          p.g = check.input<float>("g", g, {p.boxes_count, p.channels, p.p, p.q});
          p.gx = check.output<float>("gx", gx, {p.images, p.channels, p.height, p.width});
          launch(roi_align_backward, p);
        });
  m.def("nms", [](py::handle edges, py::handle keep, double threshold) {
    Checked check("nms.cpu");
    auto [four, n] = check.shape<2>("edges", edges);
    Nms p{check.input<float>("edges", edges, {4, n}), check.output<bool>("keep", keep, {n}), n, threshold};
    launch(nms, p);
  });
}

}  // namespace minidl
