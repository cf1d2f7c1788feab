#include "csrc/arrays.h"
#include "csrc/finish.h"
#include "csrc/windows.h"
#include "kernels/cpu/conv/winograd.h"

namespace minidl {

void bind_conv_winograd(py::module_& m) {
  m.def("winograd_size", &winograd_size);
  m.def("winograd_filters", [](py::handle weight, bool turned, int64_t m, py::handle filters) {
    Checked check("conv2d_winograd.cpu");
    auto [o, i, r, s] = check.shape<4>("weight", weight);
    check.require(o > 0 && i > 0 && r == 3 && s == 3, "weight", "filters of 3 by 3");
    check.require(m == 2 || m == 4, "m", "2 or 4");
    WinogradFilters p{nullptr, nullptr, m, turned ? i : o, turned ? o : i, turned};
    p.weight = check.input<float>("weight", weight, {o, i, r, s});
    p.filters = check.output<float>("filters", filters, {winograd_size(m, p.outputs, p.inputs)});
    launch(winograd_filters, p);
  });
  m.def("winograd", [](py::handle x, py::handle filters, py::handle bias, py::handle y, int64_t m, int64_t before_rows,
                       int64_t before_columns, py::handle residual, int activation) {
    Checked check("conv2d_winograd.cpu");
    auto [n, inputs, h, w] = check.shape<4>("x", x);
    auto [same, outputs, q, r] = check.shape<4>("y", y);
    check.require(n > 0 && inputs > 0 && outputs > 0 && h > 0 && w > 0 && q > 0 && r > 0 && same == n, "y",
                  "as many images as x");
    check.require(before_rows >= 0 && before_columns >= 0, "before", "numbers from 0 on");
    check.require(m == 2 || m == 4, "m", "2 or 4");
    Winograd p{};
    p.m = m, p.n = n, p.inputs = inputs, p.outputs = outputs;
    p.rows = {h, 3, 1, 1, before_rows, q}, p.columns = {w, 3, 1, 1, before_columns, r};
    p.x = check.input<float>("x", x, {n, inputs, h, w});
    p.filters = check.input<float>("filters", filters, {winograd_size(m, outputs, inputs)});
    p.bias = check.optional<float>("bias", bias, {outputs});
    p.y = check.output<float>("y", y, {n, outputs, q, r});
    p.finish = finish_of(check, y, residual, activation);
    launch(winograd, p);
  });
  m.def("winograd_weight",
        [](py::handle g, py::handle x, py::handle gweight, int64_t before_rows, int64_t before_columns) {
          Checked check("conv2d_winograd.cpu");
          auto [n, inputs, h, w] = check.shape<4>("x", x);
          auto [same, outputs, q, r] = check.shape<4>("g", g);
          check.require(n > 0 && inputs > 0 && outputs > 0 && h > 0 && w > 0 && q > 0 && r > 0 && same == n, "g",
                        "as many images as x");
          check.require(before_rows >= 0 && before_columns >= 0, "before", "numbers from 0 on");
          WinogradWeight p{};
          p.n = n, p.inputs = inputs, p.outputs = outputs;
          p.rows = {h, 3, 1, 1, before_rows, q}, p.columns = {w, 3, 1, 1, before_columns, r};
          p.g = check.input<float>("g", g, {n, outputs, q, r});
          p.x = check.input<float>("x", x, {n, inputs, h, w});
          p.gweight = check.output<float>("gweight", gweight, {outputs, inputs, 3, 3});
          launch(winograd_weight, p);
        });
}

}  // namespace minidl
