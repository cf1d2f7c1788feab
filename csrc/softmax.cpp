#include "kernels/cpu/softmax/softmax.h"
#include "csrc/arrays.h"
#include "kernels/cpu/softmax/cross_entropy.h"

namespace minidl {
namespace {

// The sizes of x (outer, count, inner), none of them 0.
std::array<int64_t, 3> sizes_of(const Checked& check, py::handle x) {
  auto sizes = check.shape<3>("x", x);
  check.require(sizes[0] > 0 && sizes[1] > 0 && sizes[2] > 0, "x", "at least one element");
  return sizes;
}

const int64_t* labels_of(const Checked& check, py::handle labels, int64_t outer, int64_t classes, int64_t inner) {
  const int64_t* of = check.input<int64_t>("labels", labels, {outer, inner});
  bool fit = true;
  for (int64_t i = 0; i < outer * inner; i++) fit &= of[i] >= 0 && of[i] < classes;
  check.require(fit, "labels", "classes of the scores");
  return of;
}

void bind_labels(py::module_& m) {
  m.def("label_loss", [](py::handle x, py::handle labels, py::handle weight, py::handle top, py::handle total,
                         py::handle nll, py::handle nll_of_all) {
    Checked check("label_loss.cpu");
    auto [outer, classes, inner] = sizes_of(check, x);
    LabelLoss p;
    p.x = check.input<float>("x", x, {outer, classes, inner});
    p.labels = labels_of(check, labels, outer, classes, inner);
    p.weight = check.optional<float>("weight", weight, {classes});
    p.top = check.output<float>("top", top, {outer, inner});
    p.total = check.output<float>("total", total, {outer, inner});
    p.nll = check.output<float>("nll", nll, {outer, inner});
    p.nll_of_all = check.optional_output<float>("nll_of_all", nll_of_all, {outer, inner});
    p.outer = outer, p.classes = classes, p.inner = inner;
    launch(label_loss, p);
  });
  m.def("label_gradient", [](py::handle x, py::handle labels, py::handle weight, py::handle top, py::handle scale,
                             py::handle own, py::handle spread, py::handle gx) {
    Checked check("label_gradient.cpu");
    auto [outer, classes, inner] = sizes_of(check, x);
    LabelGradient p;
    p.x = check.input<float>("x", x, {outer, classes, inner});
    p.labels = labels_of(check, labels, outer, classes, inner);
    p.weight = check.optional<float>("weight", weight, {classes});
    p.top = check.input<float>("top", top, {outer, inner});
    p.scale = check.input<float>("scale", scale, {outer, inner});
    p.own = check.input<float>("own", own, {outer, inner});
    p.spread = check.optional<float>("spread", spread, {outer, inner});
    p.gx = check.output<float>("gx", gx, {outer, classes, inner});
    p.outer = outer, p.classes = classes, p.inner = inner;
    launch(label_gradient, p);
  });
}

void bind_soft_targets(py::module_& m) {
  m.def("soft_loss", [](py::handle x, py::handle target, py::handle weight, py::handle top, py::handle total,
                        py::handle mass, py::handle nll, float kept, float share) {
    Checked check("soft_loss.cpu");
    auto [outer, classes, inner] = sizes_of(check, x);
    SoftLoss p;
    p.x = check.input<float>("x", x, {outer, classes, inner});
    p.target = check.input<float>("target", target, {outer, classes, inner});
    p.weight = check.optional<float>("weight", weight, {classes});
    p.top = check.output<float>("top", top, {outer, inner});
    p.total = check.output<float>("total", total, {outer, inner});
    p.mass = check.output<float>("mass", mass, {outer, inner});
    p.nll = check.output<float>("nll", nll, {outer, inner});
    p.outer = outer, p.classes = classes, p.inner = inner, p.kept = kept, p.share = share;
    launch(soft_loss, p);
  });
  m.def("soft_gradient", [](py::handle x, py::handle target, py::handle weight, py::handle top, py::handle scale,
                            py::handle own, py::handle gx, float kept, float share) {
    Checked check("soft_gradient.cpu");
    auto [outer, classes, inner] = sizes_of(check, x);
    SoftGradient p;
    p.x = check.input<float>("x", x, {outer, classes, inner});
    p.target = check.input<float>("target", target, {outer, classes, inner});
    p.weight = check.optional<float>("weight", weight, {classes});
    p.top = check.input<float>("top", top, {outer, inner});
    p.scale = check.input<float>("scale", scale, {outer, inner});
    p.own = check.input<float>("own", own, {outer, inner});
    p.gx = check.output<float>("gx", gx, {outer, classes, inner});
    p.outer = outer, p.classes = classes, p.inner = inner, p.kept = kept, p.share = share;
    launch(soft_gradient, p);
  });
}

}  // namespace

void bind_softmax(py::module_& m) {
  m.def("softmax", [](py::handle x, py::handle y, bool log) {
    Checked check("softmax.cpu");
    auto [outer, count, inner] = sizes_of(check, x);
    Softmax p;
    p.x = check.input<float>("x", x, {outer, count, inner});
    p.y = check.output<float>("y", y, {outer, count, inner});
    p.outer = outer, p.count = count, p.inner = inner, p.log = log;
    launch(softmax, p);
  });
  m.def("softmax_backward", [](py::handle g, py::handle y, py::handle gx, bool log) {
    Checked check("softmax.cpu");
    auto [outer, count, inner] = sizes_of(check, y);
    SoftmaxBackward p;
    p.g = check.input<float>("g", g, {outer, count, inner});
    p.y = check.input<float>("y", y, {outer, count, inner});
    p.gx = check.output<float>("gx", gx, {outer, count, inner});
    p.outer = outer, p.count = count, p.inner = inner, p.log = log;
    launch(softmax_backward, p);
  });
  bind_labels(m);
  bind_soft_targets(m);
}

}  // namespace minidl
