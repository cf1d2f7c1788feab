// What a binding asks of the arrays it is handed. Everything wrong is an error that names kernel and argument.
//
//     Checked check("layer_norm.cpu");
//     auto [rows, columns] = check.shape<2>("x", x);
//     p.x = check.input<float>("x", x, {rows, columns});           // this dtype, this shape, contiguous
//     p.weight = check.optional<float>("weight", weight, {columns});   // nullptr for None
//     p.y = check.output<float>("y", y, {rows, columns});          // and writeable
#pragma once
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL minidl_numpy
#ifndef MINIDL_IMPORTS_NUMPY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>
#include <pybind11/pybind11.h>

#include "kernels/cpu/bfloat16.h"

#include <array>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>

namespace minidl {
namespace py = pybind11;

extern int bfloat16_number;  // ml_dtypes' type number

template <class T>
constexpr const char* type_name = "?";
template <>
inline constexpr const char* type_name<float> = "float32";
template <>
inline constexpr const char* type_name<double> = "float64";
template <>
inline constexpr const char* type_name<bfloat16> = "bfloat16";
template <>
inline constexpr const char* type_name<int8_t> = "int8";
template <>
inline constexpr const char* type_name<uint8_t> = "uint8";
template <>
inline constexpr const char* type_name<int32_t> = "int32";
template <>
inline constexpr const char* type_name<int64_t> = "int64";
template <>
inline constexpr const char* type_name<uint32_t> = "uint32";
template <>
inline constexpr const char* type_name<bool> = "bool";
template <class T>
int type_number();
template <>
inline int type_number<float>() {
  return NPY_FLOAT32;
}
template <>
inline int type_number<double>() {
  return NPY_FLOAT64;
}
template <>
inline int type_number<bfloat16>() {
  return bfloat16_number;
}
template <>
inline int type_number<int8_t>() {
  return NPY_INT8;
}
template <>
inline int type_number<uint8_t>() {
  return NPY_UINT8;
}
template <>
inline int type_number<int32_t>() {
  return NPY_INT32;
}
template <>
inline int type_number<int64_t>() {
  return NPY_INT64;
}
template <>
inline int type_number<uint32_t>() {
  return NPY_UINT32;
}
template <>
inline int type_number<bool>() {
  return NPY_BOOL;
}

class Checked {
 public:
  explicit Checked(const char* kernel) : kernel_(kernel) {}

  template <size_t N>
  std::array<int64_t, N> shape(const char* name, py::handle array) const {
    PyArrayObject* a = get(name, array);
    if (PyArray_NDIM(a) != static_cast<int>(N)) fail(name, std::to_string(N) + " axes", a);
    std::array<int64_t, N> sizes;
    for (size_t i = 0; i < N; i++) sizes[i] = PyArray_DIM(a, static_cast<int>(i));
    return sizes;
  }
  int64_t size(const char* name, py::handle array) const { return PyArray_SIZE(get(name, array)); }
  bool is(const char* name, py::handle array, int number) const { return PyArray_TYPE(get(name, array)) == number; }

  template <class T>
  const T* input(const char* name, py::handle array, std::initializer_list<int64_t> sizes) const {
    return static_cast<const T*>(PyArray_DATA(dense<T>(name, array, sizes)));
  }
  template <class T>
  const T* optional(const char* name, py::handle array, std::initializer_list<int64_t> sizes) const {
    return array.is_none() ? nullptr : input<T>(name, array, sizes);
  }
  template <class T>
  T* output(const char* name, py::handle array, std::initializer_list<int64_t> sizes) const {
    PyArrayObject* a = dense<T>(name, array, sizes);
    if (!PyArray_ISWRITEABLE(a)) fail(name, "an array that may be written", a);
    return static_cast<T*>(PyArray_DATA(a));
  }
  template <class T>
  T* optional_output(const char* name, py::handle array, std::initializer_list<int64_t> sizes) const {
    return array.is_none() ? nullptr : output<T>(name, array, sizes);
  }
  // Of any shape; its elements lie without gaps, in memory's order those of `like`, an array of the same shape.
  template <class T>
  const T* packed(const char* name, py::handle array, py::handle like) const {
    PyArrayObject *a = get(name, array), *b = get(name, like);
    typed<T>(name, array, PyArray_DIMS(b), static_cast<size_t>(PyArray_NDIM(b)));
    npy_intp last = 0;  // the offset of the last element
    bool fits = PyArray_IS_C_CONTIGUOUS(a) && PyArray_IS_C_CONTIGUOUS(b);
    for (int i = 0; !fits && i < PyArray_NDIM(a); i++) {
      if (PyArray_DIM(a, i) == 1) continue;  // (its stride leads nowhere)
      if (PyArray_STRIDE(a, i) < 0 || PyArray_STRIDE(a, i) != PyArray_STRIDE(b, i))
        fail(name, "the other arrays' strides", a);
      last += (PyArray_DIM(a, i) - 1) * PyArray_STRIDE(a, i);
    }
    if (!fits && last + PyArray_ITEMSIZE(a) != PyArray_NBYTES(a)) fail(name, "no gaps between elements", a);
    return static_cast<const T*>(PyArray_DATA(a));
  }
  template <class T>
  T* packed_output(const char* name, py::handle array, py::handle like) const {
    const T* data = packed<T>(name, array, like);
    if (!PyArray_ISWRITEABLE(get(name, array))) fail(name, "an array that may be written", get(name, array));
    return const_cast<T*>(data);
  }
  // An array that need not be contiguous: strides in elements.
  template <class T, size_t N>
  const T* strided(const char* name, py::handle array, std::array<int64_t, N> sizes,
                   std::array<int64_t, N>& strides) const {
    PyArrayObject* a = typed<T>(name, array, sizes.data(), N);
    for (size_t i = 0; i < N; i++) {
      npy_intp bytes = PyArray_STRIDE(a, static_cast<int>(i));
      if (bytes % static_cast<npy_intp>(sizeof(T))) fail(name, "strides of whole elements", a);
      strides[i] = bytes / static_cast<npy_intp>(sizeof(T));
    }
    return static_cast<const T*>(PyArray_DATA(a));
  }
  // The same of any number of axes.
  struct Layout {
    int axes;
    int64_t sizes[NPY_MAXDIMS], strides[NPY_MAXDIMS];
  };
  template <class T>
  const T* strided(const char* name, py::handle array, Layout& layout) const {
    PyArrayObject* a = get(name, array);
    layout.axes = PyArray_NDIM(a);
    typed<T>(name, array, PyArray_DIMS(a), static_cast<size_t>(layout.axes));
    for (int i = 0; i < layout.axes; i++) {
      if (PyArray_STRIDE(a, i) % static_cast<npy_intp>(sizeof(T))) fail(name, "strides of whole elements", a);
      layout.sizes[i] = PyArray_DIM(a, i);
      layout.strides[i] = PyArray_STRIDE(a, i) / static_cast<npy_intp>(sizeof(T));
    }
    return static_cast<const T*>(PyArray_DATA(a));
  }

  PyArrayObject* array(const char* name, py::handle array) const { return get(name, array); }
  void require(bool holds, const char* name, const char* expected) const {  // (no string is made where all is well)
    if (!holds) throw py::value_error(said(name, expected, "something else"));
  }

 private:
  PyArrayObject* get(const char* name, py::handle array) const {
    if (!PyArray_Check(array.ptr())) throw py::type_error(said(name, "a NumPy array", Py_TYPE(array.ptr())->tp_name));
    return reinterpret_cast<PyArrayObject*>(array.ptr());
  }
  template <class T>
  PyArrayObject* typed(const char* name, py::handle array, const int64_t* sizes, size_t axes) const {
    PyArrayObject* a = get(name, array);
    bool fits = PyArray_TYPE(a) == type_number<T>() && PyArray_ISALIGNED(a) && PyArray_ISNOTSWAPPED(a) &&
                PyArray_NDIM(a) == static_cast<int>(axes);
    for (size_t i = 0; fits && i < axes; i++) fits = PyArray_DIM(a, static_cast<int>(i)) == sizes[i];
    if (!fits) {
      std::string expected = std::string(type_name<T>) + " (";
      for (size_t i = 0; i < axes; i++) expected += std::to_string(sizes[i]) + (i + 1 < axes ? ", " : "");
      fail(name, expected + ")", a);
    }
    return a;
  }
  template <class T>
  PyArrayObject* dense(const char* name, py::handle array, std::initializer_list<int64_t> sizes) const {
    PyArrayObject* a = typed<T>(name, array, sizes.begin(), sizes.size());
    if (!PyArray_IS_C_CONTIGUOUS(a)) fail(name, "a C-contiguous array", a);
    return a;
  }
  std::string said(const char* name, const std::string& expected, const std::string& got) const {
    return std::string("[") + kernel_ + "] " + name + ": expected " + expected + ", got " + got + ".";
  }
  [[noreturn]] void fail(const char* name, const std::string& expected, PyArrayObject* a) const {
    py::handle array(reinterpret_cast<PyObject*>(a));
    std::string got =
        py::str(array.attr("dtype")).cast<std::string>() + " " + py::str(array.attr("shape")).cast<std::string>();
    throw py::value_error(said(name, expected, got + (PyArray_IS_C_CONTIGUOUS(a) ? "" : ", not contiguous")));
  }
  const char* kernel_;
};

// Runs a kernel with the interpreter free for other threads.
template <class Kernel, class Params>
void launch(Kernel kernel, const Params& params) {
  py::gil_scoped_release others_may_run;
  kernel(params);
}

}  // namespace minidl
