#include "csrc/arrays.h"
#include "kernels/cpu/elementwise/copy.h"
#include "kernels/cpu/elementwise/unary.h"

namespace minidl {

namespace {

// y = x, whatever x's strides; false: its axes are too many, or its type is not of 4 bytes.
bool copy_array(py::handle y, py::handle x) {
  Checked check("copy.cpu");
  Copy p{};
  PyArrayObject *to = check.array("y", y), *from = check.array("x", x);
  check.require(PyArray_ISWRITEABLE(to) && PyArray_IS_C_CONTIGUOUS(to) && PyArray_TYPE(to) == PyArray_TYPE(from) &&
                    PyArray_SAMESHAPE(to, from) && PyArray_ISNOTSWAPPED(from) && PyArray_ISNOTSWAPPED(to),
                "y", "a contiguous array of x's shape and dtype that may be written");
  if (PyArray_ITEMSIZE(from) != 4 || !PyArray_ISALIGNED(from) || !PyArray_SIZE(from)) return false;
  for (int i = 0; i < PyArray_NDIM(from); i++)
    if (PyArray_STRIDE(from, i) % 4 || !p.add(PyArray_DIM(from, i), PyArray_STRIDE(from, i) / 4)) return false;
  p.x = static_cast<const uint32_t*>(PyArray_DATA(from));
  p.y = static_cast<uint32_t*>(PyArray_DATA(to));
  launch(copy, p);
  return true;
}

}  // namespace

void bind_elementwise(py::module_& m) {
  m.def("copy", &copy_array);
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
