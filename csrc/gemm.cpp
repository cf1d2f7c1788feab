#include "csrc/arrays.h"
#include "kernels/cpu/gemm/matmul.h"

namespace minidl {
namespace {

// Axes of the batch from the last one on; those that go on from their neighbour's memory in both arrays are one.
template <class T>
void launch_matmul(py::handle a, py::handle b, py::handle c, void (*kernel)(const MatmulOf<T>&)) {
  Checked check("matmul.cpu");
  MatmulOf<T> p;
  auto shape_a = check.shape<2>("a", a);
  auto shape_b = check.shape<2>("b", b);
  std::array<int64_t, 2> strides_a, strides_b;
  p.M = shape_a[0], p.K = shape_a[1], p.N = shape_b[1];
  p.a = check.strided<T, 2>("a", a, {p.M, p.K}, strides_a);
  p.b = check.strided<T, 2>("b", b, {p.K, p.N}, strides_b);
  p.c = check.output<T>("c", c, {p.M, p.N});
  p.ars = strides_a[0], p.acs = strides_a[1], p.brs = strides_b[0], p.bcs = strides_b[1];
  p.axes = 0;
  launch(kernel, p);
}

}  // namespace

void bind_gemm(py::module_& m) {
  m.def("matmul", [](py::handle a, py::handle b, py::handle c) {
    if (Checked("matmul.cpu").is("c", c, NPY_FLOAT64)) return launch_matmul<double>(a, b, c, matmul_double);
    launch_matmul<float>(a, b, c, matmul);
  });
}

}  // namespace minidl
