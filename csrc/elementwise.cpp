#include "csrc/arrays.h"
#include "kernels/cpu/elementwise/unary.h"

namespace minidl {

void bind_elementwise(py::module_& m) {
  py::dict unary;
#define X(name) unary[#name] = static_cast<int>(Unary::name);
  MINIDL_EACH_UNARY(X)
#undef X
  m.attr("UNARY") = unary;
  m.def("unary_forward", [functions = static_cast<int>(unary.size())](int function, py::handle x, py::handle y, float a,
                                                                      float b, float c) {
    Checked check("elementwise.cpu");
    check.require(0 <= function && function < functions, "function", "one of UNARY");
    UnaryForward p;
    p.function = static_cast<Unary>(function);
    p.x = check.packed<float>("x", x, x);
    p.y = check.packed_output<float>("y", y, x);
    p.size = check.size("x", x), p.a = a, p.b = b, p.c = c;
    launch(unary_forward, p);
  });
  m.def("unary_backward", [functions = static_cast<int>(unary.size())](int function, py::handle g, py::handle saved,
                                                                       py::handle gx, float a, float b, float c) {
    Checked check("elementwise.cpu");
    check.require(0 <= function && function < functions, "function", "one of UNARY");
    UnaryBackward p;
    p.function = static_cast<Unary>(function);
    p.g = check.packed<float>("g", g, saved);
    p.saved = check.packed<float>("saved", saved, saved);
    p.gx = check.packed_output<float>("gx", gx, saved);
    p.size = check.size("saved", saved), p.a = a, p.b = b, p.c = c;
    launch(unary_backward, p);
  });
}

}  // namespace minidl
