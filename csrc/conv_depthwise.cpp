#include "csrc/arrays.h"
#include "csrc/finish.h"
#include "csrc/windows.h"
#include "kernels/cpu/conv/depthwise.h"

namespace minidl {
namespace {

// From images and filters, or gradients in their places.
DepthwiseShape shape_of(const Checked& check, py::handle images, py::handle filters, py::handle rows,
                        py::handle columns) {
  auto [n, channels, h, w] = check.shape<4>("images", images);
  auto [count, one, r, s] = check.shape<4>("weight", filters);
  check.require(n > 0 && channels > 0 && count > 0 && count % channels == 0 && one == 1, "weight",
                "filters of one channel each");
  DepthwiseShape shape{n, channels, count / channels, windows_of(check, "rows", h, rows),
                       windows_of(check, "columns", w, columns)};
  check.require(r == shape.rows.kernel && s == shape.columns.kernel, "weight", "filters as large as the windows");
  return shape;
}

}  // namespace

void bind_conv_depthwise(py::module_& m) {
  m.def("depthwise_forward", [](py::handle x, py::handle weight, py::handle bias, py::handle y, py::handle rows,
                                py::handle columns, py::handle residual, int activation) {
    Checked check("conv2d_depthwise.cpu");
    DepthwiseForward p{};
    const DepthwiseShape& s = p.shape = shape_of(check, x, weight, rows, columns);
    const int64_t filters = s.channels * s.multiplier;
    p.x = check.input<float>("x", x, {s.n, s.channels, s.rows.size, s.columns.size});
    p.weight = check.input<float>("weight", weight, {filters, 1, s.rows.kernel, s.columns.kernel});
    p.bias = check.optional<float>("bias", bias, {filters});
    p.y = check.output<float>("y", y, {s.n, filters, s.rows.count, s.columns.count});
    p.finish = finish_of(check, y, residual, activation);
    launch(depthwise_forward, p);
  });
  m.def("depthwise_backward_input",
        [](py::handle g, py::handle weight, py::handle gx, py::handle rows, py::handle columns) {
          Checked check("conv2d_depthwise.cpu");
          DepthwiseBackwardInput p{};
          const DepthwiseShape& s = p.shape = shape_of(check, gx, weight, rows, columns);
          const int64_t filters = s.channels * s.multiplier;
          p.g = check.input<float>("g", g, {s.n, filters, s.rows.count, s.columns.count});
          p.weight = check.input<float>("weight", weight, {filters, 1, s.rows.kernel, s.columns.kernel});
          p.gx = check.output<float>("gx", gx, {s.n, s.channels, s.rows.size, s.columns.size});
          launch(depthwise_backward_input, p);
        });
  m.def("depthwise_backward_weight",
        [](py::handle g, py::handle x, py::handle gweight, py::handle rows, py::handle columns) {
          Checked check("conv2d_depthwise.cpu");
          DepthwiseBackwardWeight p{};
          const DepthwiseShape& s = p.shape = shape_of(check, x, gweight, rows, columns);
          const int64_t filters = s.channels * s.multiplier;
          p.g = check.input<float>("g", g, {s.n, filters, s.rows.count, s.columns.count});
          p.x = check.input<float>("x", x, {s.n, s.channels, s.rows.size, s.columns.size});
          p.gweight = check.output<float>("gweight", gweight, {filters, 1, s.rows.kernel, s.columns.kernel});
          launch(depthwise_backward_weight, p);
        });
}

}  // namespace minidl
