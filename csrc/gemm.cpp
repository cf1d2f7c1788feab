#include "csrc/arrays.h"
#include "kernels/cpu/gemm/matmul.h"

namespace minidl {
namespace {

bool aligned(py::handle array) {
  return array.is_none() ||
         (PyArray_Check(array.ptr()) && PyArray_ISALIGNED(reinterpret_cast<PyArrayObject*>(array.ptr())) &&
          PyArray_ISNOTSWAPPED(reinterpret_cast<PyArrayObject*>(array.ptr())));
}

// With the interpreter free for other threads, unless handing it over would take as long as the product.
template <class T, class Out>
void launch_product(void (*kernel)(const MatmulOf<T, Out>&), const MatmulOf<T, Out>& p) {
  constexpr double BRIEF = 1 << 18;  // multiply-adds: 2 us
  if (p.axes == 0 && static_cast<double>(p.M) * static_cast<double>(p.N) * static_cast<double>(p.K) <= BRIEF)
    kernel(p);
  else
    launch(kernel, p);
}

// The batch's axes of one operand, aligned with those of c: stride 0 where it has none, or one element.
void broadcast(const Checked& check, const char* name, const Checked::Layout& of, const Checked::Layout& c,
               int64_t* strides) {
  for (int axis = 0; axis < c.axes - 2; axis++) {
    int own = axis - (c.axes - of.axes);
    bool spread = own < 0 || of.sizes[own] == 1;
    check.require(spread || of.sizes[own] == c.sizes[axis], name, "leading axes that broadcast to those of c");
    strides[axis] = spread ? 0 : of.strides[own];
  }
}

template <class T, class Out>
void launch_matmul(py::handle a, py::handle b, py::handle c, void (*kernel)(const MatmulOf<T, Out>&)) {
  Checked check("matmul.cpu");
  Checked::Layout la, lb, lc;
  MatmulOf<T, Out> p{};
  p.a = check.strided<T>("a", a, la);
  p.b = check.strided<T>("b", b, lb);
  p.c = check.packed_output<Out>("c", c, c);
  check.strided<Out>("c", c, lc);
  check.require(la.axes >= 2 && la.axes <= lc.axes, "a", "2 axes or more, but no more than c");
  check.require(lb.axes >= 2 && lb.axes <= lc.axes, "b", "2 axes or more, but no more than c");
  check.require(lc.axes - 2 <= MAX_BATCH_AXES, "c", "16 leading axes at most");
  p.M = la.sizes[la.axes - 2], p.ars = la.strides[la.axes - 2], p.K = la.sizes[la.axes - 1],
  p.acs = la.strides[la.axes - 1];
  p.N = lb.sizes[lb.axes - 1], p.bcs = lb.strides[lb.axes - 1], p.brs = lb.strides[lb.axes - 2];
  check.require(lb.sizes[lb.axes - 2] == p.K, "b", "as many rows as a has columns");
  check.require(lc.sizes[lc.axes - 2] == p.M && lc.sizes[lc.axes - 1] == p.N, "c", "(..., M, N)");
  check.require(PyArray_IS_C_CONTIGUOUS(check.array("c", c)), "c", "a C-contiguous array");
  p.axes = lc.axes - 2;
  for (int axis = 0; axis < p.axes; axis++) p.sizes[axis] = lc.sizes[axis];
  broadcast(check, "a", la, lc, p.a_strides);
  broadcast(check, "b", lb, lc, p.b_strides);
  // Rows of a that go on through an axis which b lacks: one product of more rows.
  while (p.axes && !p.b_strides[p.axes - 1] && p.a_strides[p.axes - 1] == p.M * p.ars) p.M *= p.sizes[--p.axes];
  launch_product(kernel, p);
}

template <class T>
void launch_linear(py::handle x, py::handle weight, py::handle packed, py::handle scale, py::handle bias,
                   py::handle residual, int activation, py::handle y, void (*kernel)(const MatmulOf<T>&)) {
  Checked check("linear.cpu");
  auto [rows, inputs] = check.shape<2>("x", x);
  auto [outputs, columns] = check.shape<2>("weight", weight);
  std::array<int64_t, 2> xs, ws;
  MatmulOf<T> p{};
  p.a = check.strided<T, 2>("x", x, {rows, inputs}, xs);
  p.b = check.strided<T, 2>("weight", weight, {outputs, inputs}, ws);
  p.packed = check.optional<T>("packed", packed, {packed_size(inputs, outputs)});
  p.scale = check.optional<T>("scale", scale, {outputs});
  p.bias = check.optional<T>("bias", bias, {outputs});
  p.residual = check.optional<T>("residual", residual, {rows, outputs});
  p.c = check.output<T>("y", y, {rows, outputs});
  p.M = rows, p.N = outputs, p.K = inputs;
  p.ars = xs[0], p.acs = xs[1], p.brs = ws[1], p.bcs = ws[0];
  p.activation = static_cast<Activation>(activation);
  launch_product(kernel, p);
}

template <class T>
void launch_column_sums(py::handle x, py::handle sums, void (*kernel)(const ColumnSumsOf<T>&)) {
  Checked check("linear.cpu");
  auto [rows, columns] = check.shape<2>("x", x);
  ColumnSumsOf<T> p;
  p.x = check.input<T>("x", x, {rows, columns});
  p.sums = check.output<T>("sums", sums, {columns});
  p.M = rows, p.N = columns;
  launch(kernel, p);
}

bool is_double(py::handle array) { return Checked("gemm.cpu").is("output", array, NPY_FLOAT64); }

}  // namespace

void bind_gemm(py::module_& m) {
  py::list names;
  for (const char* name : activation_names) names.append(name);
  m.attr("activations") = names;
  m.def("packed_size", &packed_size);
  // False: elements of an operand are not aligned, hand in copies.
  m.def("matmul", [](py::handle a, py::handle b, py::handle c) {
    if (!aligned(a) || !aligned(b)) return false;
    Checked check("matmul.cpu");
    if (check.is("a", a, NPY_FLOAT32))
      launch_matmul(a, b, c, matmul);
    else if (check.is("a", a, NPY_FLOAT64))
      launch_matmul(a, b, c, matmul_double);
    else if (check.is("a", a, NPY_INT8))
      launch_matmul(a, b, c, matmul_int8);
    else if (check.is("c", c, NPY_FLOAT32))
      launch_matmul(a, b, c, matmul_bfloat16_wide);
    else
      launch_matmul(a, b, c, matmul_bfloat16);
    return true;
  });
  m.def("linear", [](py::handle x, py::handle weight, py::handle packed, py::handle scale, py::handle bias,
                     py::handle residual, int activation, py::handle y) {
    if (!aligned(x) || !aligned(weight) || !aligned(scale) || !aligned(bias) || !aligned(residual)) return false;
    if (is_double(y))
      launch_linear<double>(x, weight, packed, scale, bias, residual, activation, y, matmul_double);
    else
      launch_linear<float>(x, weight, packed, scale, bias, residual, activation, y, matmul);
    return true;
  });
  m.def("pack_weight", [](py::handle weight, py::handle packed) {
    Checked check("linear.cpu");
    auto [outputs, inputs] = check.shape<2>("weight", weight);
    std::array<int64_t, 2> strides;
    PackMatrix p;
    p.b = check.strided<float, 2>("weight", weight, {outputs, inputs}, strides);
    p.packed = check.output<float>("packed", packed, {packed_size(inputs, outputs)});
    p.K = inputs, p.N = outputs, p.brs = strides[1], p.bcs = strides[0];
    launch(pack_matrix, p);
  });
  m.def("column_sums", [](py::handle x, py::handle sums) {
    if (is_double(sums))
      launch_column_sums<double>(x, sums, column_sums_double);
    else
      launch_column_sums<float>(x, sums, column_sums);
  });
}

}  // namespace minidl
