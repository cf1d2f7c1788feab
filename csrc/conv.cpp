#include "csrc/arrays.h"
#include "csrc/finish.h"

#include "kernels/cpu/conv/direct.h"

#include <pybind11/stl.h>

#include <algorithm>

namespace minidl {
namespace {

// An axis as Python hands it over: (size, kernel, stride, dilation, start, count).
using Axis = std::array<int64_t, 6>;

ConvAxis axis(const Checked& check, const Axis& a) {
  auto [size, kernel, stride, dilation, start, count] = a;
  check.require(size > 0 && kernel > 0 && stride > 0 && dilation > 0 && count > 0, "axes", "positive numbers");
  return {size, kernel, stride, dilation, start, count};
}

ConvShape shape(const Checked& check, py::handle weight, int64_t n, int64_t groups, const Axis& rows,
                const Axis& columns) {
  auto [filters, inputs, r, s] = check.shape<4>("weight", weight);
  ConvShape found{n, groups, inputs, filters / std::max<int64_t>(1, groups), axis(check, rows), axis(check, columns)};
  check.require(n > 0 && inputs > 0 && groups > 0 && filters > 0 && filters % groups == 0, "weight",
                "filters for the groups");
  check.require(r == found.rows.kernel && s == found.columns.kernel, "weight", "filters as large as the axes say");
  return found;
}

}  // namespace

void bind_conv_depthwise(py::module_&);
void bind_conv_squeeze(py::module_&);
void bind_conv_winograd(py::module_&);

void bind_conv(py::module_& m) {
  bind_conv_depthwise(m);
  bind_conv_squeeze(m);
  bind_conv_winograd(m);
  py::list names;
  for (const char* name : activation_names) names.append(name);
  m.attr("activations") = names;
  // How many floats, and the filters as `forward` or `backward_input` takes them beside the weight.
  m.def("packed_size", [](py::handle weight, bool backward, int64_t groups, Axis rows, Axis columns) {
    return conv_packed_size(shape(Checked("conv2d.cpu"), weight, 1, groups, rows, columns), backward);
  });
  m.def("pack", [](py::handle weight, bool backward, py::handle packed, int64_t groups, Axis rows, Axis columns) {
    Checked check("conv2d.cpu");
    ConvPack p{};
    const ConvShape& s = p.shape = shape(check, weight, 1, groups, rows, columns);
    p.backward = backward;
    p.weight = check.input<float>("weight", weight, {groups * s.outputs, s.inputs, s.rows.kernel, s.columns.kernel});
    p.packed = check.output<float>("packed", packed, {conv_packed_size(s, backward)});
    launch(conv_pack, p);
  });
  m.def("forward", [](py::handle x, py::handle weight, py::handle packed, py::handle bias, py::handle y, int64_t groups,
                      Axis rows, Axis columns, py::handle residual, int activation) {
    Checked check("conv2d.cpu");
    ConvForward p;
    ConvShape& s = p.shape = shape(check, weight, check.shape<4>("x", x)[0], groups, rows, columns);
    p.x = check.input<float>("x", x, {s.n, groups * s.inputs, s.rows.size, s.columns.size});
    p.weight = check.input<float>("weight", weight, {groups * s.outputs, s.inputs, s.rows.kernel, s.columns.kernel});
    p.packed = check.optional<float>("packed", packed, {conv_packed_size(s, false)});
    p.bias = check.optional<float>("bias", bias, {groups * s.outputs});
    p.y = check.output<float>("y", y, {s.n, groups * s.outputs, s.rows.count, s.columns.count});
    p.finish = finish_of(check, y, residual, activation);
    launch(conv_forward, p);
  });
  m.def("backward_input", [](py::handle g, py::handle weight, py::handle packed, py::handle bias, py::handle gx,
                             int64_t groups, Axis rows, Axis columns) {
    Checked check("conv2d.cpu");
    ConvBackwardInput p;
    ConvShape& s = p.shape = shape(check, weight, check.shape<4>("g", g)[0], groups, rows, columns);
    p.g = check.input<float>("g", g, {s.n, groups * s.outputs, s.rows.count, s.columns.count});
    p.weight = check.input<float>("weight", weight, {groups * s.outputs, s.inputs, s.rows.kernel, s.columns.kernel});
    p.packed = check.optional<float>("packed", packed, {conv_packed_size(s, true)});
    p.bias = check.optional<float>("bias", bias, {groups * s.inputs});
    p.gx = check.output<float>("gx", gx, {s.n, groups * s.inputs, s.rows.size, s.columns.size});
    launch(conv_backward_input, p);
  });
  m.def("backward_weight", [](py::handle g, py::handle x, py::handle gweight, int64_t groups, Axis rows, Axis columns) {
    Checked check("conv2d.cpu");
    ConvBackwardWeight p;
    ConvShape& s = p.shape = shape(check, gweight, check.shape<4>("x", x)[0], groups, rows, columns);
    p.g = check.input<float>("g", g, {s.n, groups * s.outputs, s.rows.count, s.columns.count});
    p.x = check.input<float>("x", x, {s.n, groups * s.inputs, s.rows.size, s.columns.size});
    p.gweight =
        check.output<float>("gweight", gweight, {groups * s.outputs, s.inputs, s.rows.kernel, s.columns.kernel});
    launch(conv_backward_weight, p);
  });
  m.def("backward_bias", [](py::handle g, py::handle gbias) {
    Checked check("conv2d.cpu");
    ConvBackwardBias p;
    auto [n, channels, pixels] = check.shape<3>("g", g);
    p.n = n, p.channels = channels, p.pixels = pixels;
    p.g = check.input<float>("g", g, {n, channels, pixels});
    p.gbias = check.output<float>("gbias", gbias, {channels});
    launch(conv_backward_bias, p);
  });
}

}  // namespace minidl
