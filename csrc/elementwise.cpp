#include "csrc/arrays.h"

#include <pybind11/stl.h>

#include "kernels/cpu/elementwise/binary.h"
#include "kernels/cpu/elementwise/chain.h"
#include "kernels/cpu/elementwise/copy.h"
#include "kernels/cpu/elementwise/reduce.h"
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

// An operand: an array that broadcasts to y, or a number.
struct Operand {
  Operand(const Checked& check, const char* name, py::handle value, int axes) {
    if (!PyArray_Check(value.ptr())) {
      number = value.cast<float>();
      return;
    }
    array = check.array(name, value);
    offset = axes - PyArray_NDIM(array);
    check.require(PyArray_TYPE(array) == NPY_FLOAT32 && PyArray_ISBEHAVED_RO(array) && offset >= 0, name,
                  "float32 with at most the output's axes");
  }
  const float* data() const { return array ? static_cast<const float*>(PyArray_DATA(array)) : &number; }
  int64_t size(int axis) const { return array && axis >= offset ? PyArray_DIM(array, axis - offset) : 1; }
  int64_t stride(int axis) const {  // in elements
    return size(axis) == 1 ? 0 : PyArray_STRIDE(array, axis - offset) / static_cast<int64_t>(sizeof(float));
  }
  PyArrayObject* array = nullptr;
  float number = 0;
  int offset = 0;
};

// y = function(a, b); false: an operand is neither contiguous nor one number along the last axis, or axes are too many.
bool binary(int function, py::handle a, py::handle b, py::handle y) {
  Checked check("binary.cpu");
  check.require(0 <= function && function <= static_cast<int>(Binary::subtract), "function", "one of BINARY");
  PyArrayObject* to = check.array("y", y);
  const int axes = PyArray_NDIM(to);
  check.require(PyArray_TYPE(to) == NPY_FLOAT32 && PyArray_ISCARRAY(to), "y", "contiguous float32 that may be written");
  const Operand left(check, "a", a, axes), right(check, "b", b, axes);
  BinaryForward p{};
  p.function = static_cast<Binary>(function);
  p.a = left.data(), p.b = right.data(), p.y = static_cast<float*>(PyArray_DATA(to));
  for (int i = 0; i < axes; i++) {
    const int64_t size = PyArray_DIM(to, i);
    check.require((left.size(i) == size || left.size(i) == 1) && (right.size(i) == size || right.size(i) == 1), "a, b",
                  "arrays that broadcast to the output's shape");
    if (size == 0) return true;
    if (!p.add(size, left.stride(i), right.stride(i))) return false;
  }
  if (p.axes == 0) p.sizes[p.axes++] = 1;
  const int64_t a_step = p.a_strides[p.axes - 1], b_step = p.b_strides[p.axes - 1];
  if (a_step < 0 || a_step > 1 || b_step < 0 || b_step > 1) return false;
  launch(binary_forward, p);
  return true;
}

// y (k1, k2) of x (k1, r1, k2, r2), over r1 and r2, divided.
void reduce_array(const std::string& function, py::handle x, py::handle y, std::array<int64_t, 4> sizes,
                  double divisor) {
  Checked check("reduce.cpu");
  Reduce p;
  p.function = function == "max" ? Reduction::max : function == "min" ? Reduction::min : Reduction::sum;
  check.require(p.function != Reduction::sum || function == "sum", "function", "sum, max or min");
  p.k1 = sizes[0], p.r1 = sizes[1], p.k2 = sizes[2], p.r2 = sizes[3], p.divisor = divisor;
  check.require(p.k1 > 0 && p.r1 > 0 && p.k2 > 0 && p.r2 > 0, "sizes", "positive sizes");
  check.require(check.size("x", x) == p.k1 * p.r1 * p.k2 * p.r2 && check.size("y", y) == p.k1 * p.k2, "sizes",
                "those of x and y");
  check.require(PyArray_IS_C_CONTIGUOUS(check.array("x", x)) && PyArray_IS_C_CONTIGUOUS(check.array("y", y)), "x, y",
                "contiguous arrays");
  p.x = check.packed<float>("x", x, x);
  p.y = check.packed_output<float>("y", y, y);
  launch(reduce, p);
}

using Steps = std::vector<std::tuple<int, int, std::array<int, 3>, std::array<float, 3>>>;

// y = the last of steps (function, register, operands, parameters); its sum over the divisor, if that is not 0.
void chain_arrays(const Steps& steps, const std::vector<float>& constants, const std::vector<py::object>& inputs,
                  py::handle y, double divisor) {
  Checked check("chain.cpu");
  Chain p{};
  const int ins = static_cast<int>(inputs.size()), numbers = static_cast<int>(constants.size());
  check.require(!steps.empty() && ins && ins <= Chain::INPUTS && numbers <= Chain::CONSTANTS,
                "steps, constants, inputs", "some steps, 1 to 8 inputs, at most 32 constants");
  std::vector<ChainStep> program;
  for (const auto& [function, to, from, parameters] : steps) {
    check.require(0 <= function && function <= static_cast<int>(Step::where) && 0 <= to && to < Chain::REGISTERS,
                  "steps", "functions of STEPS and registers that there are");
    for (int operand : from)
      check.require(0 <= operand && operand < ins + numbers + Chain::REGISTERS, "steps", "operands that there are");
    program.push_back(
        {static_cast<Step>(function), to, {from[0], from[1], from[2]}, parameters[0], parameters[1], parameters[2]});
  }
  p.steps = program.data(), p.count = static_cast<int>(program.size());
  p.inputs_count = ins, p.constants_count = numbers;
  for (int i = 0; i < numbers; i++) p.constants[i] = constants[static_cast<size_t>(i)];
  p.size = 1;
  for (const py::object& input : inputs) p.size = std::max(p.size, check.size("inputs", input));
  for (int i = 0; i < ins; i++) {
    const py::object& input = inputs[static_cast<size_t>(i)];
    const int64_t size = check.size("inputs", input);
    check.require(size == p.size || size == 1, "inputs", "arrays of one size, or of one element");
    check.require(PyArray_IS_C_CONTIGUOUS(check.array("inputs", input)), "inputs", "contiguous arrays");
    p.inputs[i] = check.packed<float>("inputs", input, input);
    p.one[i] = size == 1;
  }
  p.y = check.packed_output<float>("y", y, y);
  p.sums = divisor != 0, p.divisor = divisor;
  check.require(check.size("y", y) == (p.sums ? 1 : p.size), "y", "as many elements as the inputs, or one sum");
  launch(chain, p);
}

}  // namespace

void bind_elementwise(py::module_& m) {
  m.def("reduce", &reduce_array);
  py::dict functions;
#define X(name) functions[#name] = static_cast<int>(Binary::name);
  MINIDL_EACH_BINARY(X)
#undef X
  m.attr("BINARY") = functions;
  m.def("binary", &binary);
  m.def("copy", &copy_array);
  py::dict steps;
#define X(name) steps[#name] = static_cast<int>(Step::name);
  MINIDL_EACH_UNARY(X)
  MINIDL_EACH_BINARY(X)
  MINIDL_EACH_COMPARISON(X)
  X(sign)
  X(where)
#undef X
  m.attr("STEPS") = steps;
  m.attr("REGISTERS") = +Chain::REGISTERS;
  m.def("chain", &chain_arrays);
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
