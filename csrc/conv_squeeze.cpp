#include "csrc/arrays.h"
#include "kernels/cpu/conv/squeeze.h"

#include <iterator>

namespace minidl {

void bind_conv_squeeze(py::module_& m) {
  m.def("squeeze_excite", [](py::handle x, py::handle reduce, py::handle bias1, py::handle expand, py::handle bias2,
                             int activation, py::handle means, py::handle sums, py::handle gates, py::handle y) {
    Checked check("squeeze_excite.cpu");
    auto [n, channels, pixels] = check.shape<3>("x", x);
    auto [inner, inputs] = check.shape<2>("reduce", reduce);
    check.require(n > 0 && channels > 0 && pixels > 0 && inner > 0 && inputs == channels, "reduce",
                  "a row of all channels for each inner one");
    check.require(activation >= 0 && activation < static_cast<int>(std::size(activation_names)), "activation",
                  "a code");
    SqueezeExcite p{};
    p.n = n, p.channels = channels, p.inner = inner, p.pixels = pixels;
    p.x = check.input<float>("x", x, {n, channels, pixels});
    p.reduce = check.input<float>("reduce", reduce, {inner, channels});
    p.bias1 = check.optional<float>("bias1", bias1, {inner});
    p.expand = check.input<float>("expand", expand, {channels, inner});
    p.bias2 = check.optional<float>("bias2", bias2, {channels});
    p.means = check.output<float>("means", means, {n, channels});
    p.sums = check.output<float>("sums", sums, {n, inner});
    p.gates = check.output<float>("gates", gates, {n, channels});
    p.y = check.output<float>("y", y, {n, channels, pixels});
    p.activation = static_cast<Activation>(activation);
    launch(squeeze_excite, p);
  });
  m.def("plane_dots", [](py::handle a, py::handle b, py::handle dots) {
    Checked check("squeeze_excite.cpu");
    auto [planes, pixels] = check.shape<2>("a", a);
    check.require(planes > 0 && pixels > 0, "a", "planes");
    launch(plane_dots,
           PlaneDots{check.input<float>("a", a, {planes, pixels}), check.input<float>("b", b, {planes, pixels}),
                     check.output<float>("dots", dots, {planes}), planes, pixels});
  });
  m.def("plane_scale", [](py::handle x, py::handle scale, py::handle shift, py::handle y) {
    Checked check("squeeze_excite.cpu");
    auto [planes, pixels] = check.shape<2>("x", x);
    check.require(planes > 0 && pixels > 0, "x", "planes");
    launch(plane_scale,
           PlaneScale{check.input<float>("x", x, {planes, pixels}), check.input<float>("scale", scale, {planes}),
                      check.input<float>("shift", shift, {planes}), check.output<float>("y", y, {planes, pixels}),
                      planes, pixels});
  });
}

}  // namespace minidl
