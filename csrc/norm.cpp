#include "csrc/arrays.h"
#include "kernels/cpu/norm/layer_norm.h"

namespace minidl {

void bind_norm(py::module_& m) {
  m.def("layer_norm_forward", [](py::handle x, py::handle weight, py::handle bias, py::handle y, py::handle mean,
                                 py::handle rstd, float eps) {
    Checked check("layer_norm.cpu");
    auto [rows, columns] = check.shape<2>("x", x);
    LayerNormForward p;
    p.x = check.input<float>("x", x, {rows, columns});
    p.weight = check.optional<float>("weight", weight, {columns});
    p.bias = check.optional<float>("bias", bias, {columns});
    p.y = check.output<float>("y", y, {rows, columns});
    p.mean = check.output<float>("mean", mean, {rows});
    p.rstd = check.output<float>("rstd", rstd, {rows});
    p.rows = rows, p.columns = columns, p.eps = eps;
    launch(layer_norm_forward, p);
  });
  m.def("layer_norm_backward", [](py::handle g, py::handle x, py::handle weight, py::handle mean, py::handle rstd,
                                  py::handle gx, py::handle gweight, py::handle gbias) {
    Checked check("layer_norm.cpu");
    auto [rows, columns] = check.shape<2>("x", x);
    LayerNormBackward p;
    p.g = check.input<float>("g", g, {rows, columns});
    p.x = check.input<float>("x", x, {rows, columns});
    p.weight = check.optional<float>("weight", weight, {columns});
    p.mean = check.input<float>("mean", mean, {rows});
    p.rstd = check.input<float>("rstd", rstd, {rows});
    p.gx = check.output<float>("gx", gx, {rows, columns});
    p.gweight = check.optional_output<float>("gweight", gweight, {columns});
    p.gbias = check.optional_output<float>("gbias", gbias, {columns});
    p.rows = rows, p.columns = columns;
    launch(layer_norm_backward, p);
  });
}

}  // namespace minidl
