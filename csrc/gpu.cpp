// minidl.kernels._gpu: launches compiled kernels through the CUDA driver, which is loaded when first asked for.
//
//     kernel = Kernel("norm", "symbol", cubin, [("x", "*fp16", True), ("rows", "i32", False)], (128, 1, 1), shared, 2,
//     False) kernel.check((x, 7))                  # everything wrong with an argument is an error that names kernel
//     and argument kernel((64, 1, 1), stream, (x, 7))    # checks, loads the binary into the current context once,
//     launches
//
// No CUDA header is needed: the few functions and numbers of the driver's interface that are used are named here.
#define MINIDL_IMPORTS_NUMPY
#include "csrc/arrays.h"

#include <dlfcn.h>
#include <pybind11/stl.h>

#include <cstring>
#include <map>
#include <string>
#include <tuple>
#include <vector>

namespace minidl {

int bfloat16_number = -1;

namespace {

[[noreturn]] void device_error(const std::string& text) {
  PyErr_SetString(py::module_::import("minidl.errors").attr("DeviceError").ptr(), text.c_str());
  throw py::error_already_set();
}

// -- the driver ------------------------------------------------------------------------------------------------------

using Handle = void*;
enum {  // CUdevice_attribute
  multiprocessors = 16,
  computes_major = 75,
  computes_minor = 76,
  cooperates = 95,
  most_shared = 97
};
enum { pointer_context = 1, pointer_kind = 2, pointer_device = 9 };  // CUpointer_attribute
enum { dynamic_shared = 8 };                                         // CUfunction_attribute

struct Driver {
  int (*cuInit)(unsigned);
  int (*cuGetErrorString)(int, const char**);
  int (*cuDeviceGetCount)(int*);
  int (*cuDeviceGetAttribute)(int*, int, int);
  int (*cuCtxGetCurrent)(Handle*);
  int (*cuCtxGetDevice)(int*);
  int (*cuPointerGetAttribute)(void*, int, uint64_t);
  int (*cuModuleLoadData)(Handle*, const void*);
  int (*cuModuleGetFunction)(Handle*, Handle, const char*);
  int (*cuFuncSetAttribute)(Handle, int, int);
  int (*cuLaunchKernel)(Handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Handle, void**,
                        void**);
  int (*cuLaunchCooperativeKernel)(Handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Handle,
                                   void**);
};

Driver table;
bool loaded = false;

// Every function, by what finds the address that belongs to a name.
template <class Find>
void fill(Find find) {
  auto set = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(find(name));
  };
#define SET(name) set(table.name, #name)
  SET(cuInit), SET(cuGetErrorString), SET(cuDeviceGetCount), SET(cuDeviceGetAttribute), SET(cuCtxGetCurrent);
  SET(cuCtxGetDevice), SET(cuPointerGetAttribute), SET(cuModuleLoadData), SET(cuModuleGetFunction);
  SET(cuFuncSetAttribute), SET(cuLaunchKernel), SET(cuLaunchCooperativeKernel);
#undef SET
}

void must(int code, const std::string& where, const std::string& what) {
  if (!code) return;
  const char* said = nullptr;
  table.cuGetErrorString(code, &said);
  device_error("[" + where + "] " + what + ": expected the CUDA driver to succeed, got error " + std::to_string(code) +
               " (" + (said ? said : "unknown") + ").");
}

const Driver& driver() {
  if (loaded) return table;
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    device_error("[cuda] driver: expected NVIDIA's libcuda.so.1, got none. Install the GPU's driver, or use \"cpu\".");
  fill([&](const char* name) {
    void* found = dlsym(library, name);
    if (!found)
      device_error(std::string("[cuda] driver: expected one with ") + name + ", got an older one. Update it.");
    return found;
  });
  must(table.cuInit(0), "cuda", "driver");
  loaded = true;
  return table;
}

int attribute(int what, int device) {
  int value = 0;
  must(driver().cuDeviceGetAttribute(&value, what, device), "cuda", "device " + std::to_string(device));
  return value;
}

std::pair<int, int> capability(int device) {
  return {attribute(computes_major, device), attribute(computes_minor, device)};
}

// For tests: functions of a driver by name, as addresses.
void use_driver(const std::map<std::string, uintptr_t>& addresses) {
  loaded = !addresses.empty();
  if (loaded) fill([&](const char* name) { return reinterpret_cast<void*>(addresses.at(name)); });
}

// -- arguments -------------------------------------------------------------------------------------------------------

struct Type {
  const char *name, *means;
  bool pointer;
  int number;  // NumPy's, of an array's elements
};

const Type& type(const std::string& name) {
  static const std::vector<Type> types = {{"*fp16", "float16", true, NPY_HALF},
                                          {"*bf16", "bfloat16", true, bfloat16_number},
                                          {"*fp32", "float32", true, NPY_FLOAT32},
                                          {"*fp64", "float64", true, NPY_FLOAT64},
                                          {"*i1", "bool", true, NPY_BOOL},
                                          {"*i8", "int8", true, NPY_INT8},
                                          {"*u8", "uint8", true, NPY_UINT8},
                                          {"*i16", "int16", true, NPY_INT16},
                                          {"*u16", "uint16", true, NPY_UINT16},
                                          {"*i32", "int32", true, NPY_INT32},
                                          {"*u32", "uint32", true, NPY_UINT32},
                                          {"*i64", "int64", true, NPY_INT64},
                                          {"*u64", "uint64", true, NPY_UINT64},
                                          {"i32", "an integer of 32 bits", false, NPY_INT32},
                                          {"u32", "an unsigned integer of 32 bits", false, NPY_UINT32},
                                          {"i64", "an integer of 64 bits", false, NPY_INT64},
                                          {"u64", "an unsigned integer of 64 bits", false, NPY_UINT64},
                                          {"fp32", "a number", false, NPY_FLOAT32}};
  for (auto& t : types)
    if (name == t.name) return t;
  throw py::value_error("[Kernel] signature: expected types like *fp16 or i32, got '" + name + "'.");
}

struct Parameter {
  std::string name;
  const Type* type;
  bool divisible;  // by 16
};

class Kernel {
 public:
  Kernel(std::string name, std::string symbol, std::string image,
         const std::vector<std::tuple<std::string, std::string, bool>>& signature, std::array<unsigned, 3> block,
         unsigned shared, int scratch, bool cooperative)
      : name_(std::move(name)),
        symbol_(std::move(symbol)),
        image_(std::move(image)),
        block_(block),
        shared_(shared),
        scratch_(scratch),
        cooperative_(cooperative) {
    for (auto& [argument, kind, divisible] : signature) parameters_.push_back({argument, &type(kind), divisible});
  }

  // The bits of each argument, null pointers for scratch memory last.
  std::vector<uint64_t> check(const py::tuple& args) const {
    if (args.size() != parameters_.size())
      throw py::type_error("[" + name_ + "] arguments: expected " + std::to_string(parameters_.size()) + ", got " +
                           std::to_string(args.size()) + ".");
    std::vector<uint64_t> bits(args.size() + static_cast<size_t>(scratch_), 0);
    for (size_t i = 0; i < args.size(); i++) {
      const Parameter& p = parameters_[i];
      bits[i] = p.type->pointer ? address(p, args[i]) : number(p, args[i]);
      if (p.divisible && bits[i] % 16)
        fail(p, p.type->pointer ? "an array whose address is a multiple of 16" : "a multiple of 16",
             p.type->pointer ? "one that is not" : py::str(args[i]).cast<std::string>());
    }
    return bits;
  }

  void launch(std::array<int64_t, 3> grid, uintptr_t stream, const py::tuple& args) {
    std::vector<uint64_t> bits = check(args);
    for (int axis = 0; axis < 3; axis++)
      if (grid[axis] < 1 || grid[axis] > (axis ? 65535 : 2147483647))
        throw py::value_error("[" + name_ + "] grid: expected 1 to " + (axis ? "65535" : "2147483647") +
                              " blocks on axis " + std::to_string(axis) + ", got " + std::to_string(grid[axis]) + ".");
    const Driver& d = driver();
    for (size_t i = 0; i < parameters_.size(); i++)
      if (parameters_[i].type->pointer && bits[i]) on_this_device(parameters_[i], bits[i]);
    Handle function = in_this_context();
    std::vector<void*> values;
    for (auto& b : bits) values.push_back(&b);
    auto x = static_cast<unsigned>(grid[0]), y = static_cast<unsigned>(grid[1]), z = static_cast<unsigned>(grid[2]);
    auto* on = reinterpret_cast<Handle>(stream);
    must(cooperative_ ? d.cuLaunchCooperativeKernel(function, x, y, z, block_[0], block_[1], block_[2], shared_, on,
                                                    values.data())
                      : d.cuLaunchKernel(function, x, y, z, block_[0], block_[1], block_[2], shared_, on, values.data(),
                                         nullptr),
         name_, "launch");
  }

 private:
  [[noreturn]] void fail(const Parameter& p, const std::string& expected, const std::string& got,
                         const std::string& hint = "") const {
    throw py::value_error("[" + name_ + "] " + p.name + ": expected " + expected + ", got " + got + "." + hint);
  }

  uint64_t address(const Parameter& p, py::handle array) const {
    if (array.is_none()) return 0;
    if (PyArray_Check(array.ptr()))
      fail(p, "an array on the device", "a NumPy array on the host", " Move it, as in x.to(\"cuda\").");
    py::object data = py::getattr(array, "data", py::none()), at = py::getattr(data, "ptr", py::none());
    py::object dtype = py::getattr(array, "dtype", py::none());
    if (at.is_none() || !PyArray_DescrCheck(dtype.ptr()))
      throw py::type_error("[" + name_ + "] " + p.name + ": expected an array on the device, or None, got " +
                           Py_TYPE(array.ptr())->tp_name + ".");
    if (reinterpret_cast<PyArray_Descr*>(dtype.ptr())->type_num != p.type->number)
      fail(p, p.type->means, py::str(dtype).cast<std::string>());
    return at.cast<uint64_t>();
  }

  uint64_t number(const Parameter& p, py::handle value) const {
    if (p.type->number == NPY_FLOAT32) {
      if (!plain(value)) wrong(p, value);
      double real = PyFloat_AsDouble(value.ptr());
      if (real == -1.0 && PyErr_Occurred()) wrong(p, value);
      auto narrow = static_cast<float>(real);
      uint32_t bits;
      std::memcpy(&bits, &narrow, sizeof bits);
      return bits;
    }
    py::object whole = py::reinterpret_steal<py::object>(plain(value) ? PyNumber_Index(value.ptr()) : nullptr);
    if (!whole) wrong(p, value);
    int overflow = 0;
    int64_t number = PyLong_AsLongLongAndOverflow(whole.ptr(), &overflow);
    bool fits = !overflow;
    if (p.type->number == NPY_INT32) fits = fits && number == static_cast<int32_t>(number);
    if (p.type->number == NPY_UINT32) fits = fits && number == static_cast<uint32_t>(number);
    if (p.type->number == NPY_UINT64) {
      auto bits = PyLong_AsUnsignedLongLong(whole.ptr());
      if (!PyErr_Occurred()) return bits;
      PyErr_Clear();
      fits = false;
    }
    if (!fits) fail(p, p.type->means, py::str(value).cast<std::string>());
    return p.type->number == NPY_INT64 ? static_cast<uint64_t>(number) : static_cast<uint32_t>(number);
  }

  // A number that the host has. (An array of one element would give it too, after waiting for the device.)
  static bool plain(py::handle value) {
    return PyLong_Check(value.ptr()) || PyFloat_Check(value.ptr()) || PyArray_IsScalar(value.ptr(), Number);
  }

  [[noreturn]] void wrong(const Parameter& p, py::handle value) const {
    PyErr_Clear();
    throw py::type_error("[" + name_ + "] " + p.name + ": expected " + p.type->means + ", got " +
                         Py_TYPE(value.ptr())->tp_name + ".");
  }

  void on_this_device(const Parameter& p, uint64_t at) const {
    int here = 0, there = 0;
    must(driver().cuCtxGetDevice(&here), name_, "current device");
    if (driver().cuPointerGetAttribute(&there, pointer_device, at))
      fail(p, "memory of a CUDA device", "an address that the driver does not know");
    if (here != there)
      fail(p, "an array on cuda:" + std::to_string(here) + ", the current device",
           "one on cuda:" + std::to_string(there));
  }

  Handle in_this_context() {
    const Driver& d = driver();
    Handle context = nullptr;
    must(d.cuCtxGetCurrent(&context), name_, "current context");
    if (!context) device_error("[" + name_ + "] context: expected a CUDA context in this thread, got none.");
    if (auto found = functions_.find(context); found != functions_.end()) return found->second;
    int device = 0;
    must(d.cuCtxGetDevice(&device), name_, "current device");
    if (int most = attribute(most_shared, device); shared_ > static_cast<unsigned>(most))
      device_error("[" + name_ + "] shared memory: expected at most " + std::to_string(most) +
                   " bytes of cuda:" + std::to_string(device) + ", got " + std::to_string(shared_) + ".");
    if (cooperative_ && !attribute(cooperates, device))
      device_error("[" + name_ + "] launch: expected a device whose blocks can wait for each other, got cuda:" +
                   std::to_string(device) + ".");
    Handle module = nullptr, function = nullptr;
    must(d.cuModuleLoadData(&module, image_.data()), name_, "its binary");
    must(d.cuModuleGetFunction(&function, module, symbol_.c_str()), name_, "entry " + symbol_);
    if (shared_ > 48 * 1024)
      must(d.cuFuncSetAttribute(function, dynamic_shared, static_cast<int>(shared_)), name_, "shared memory");
    return functions_[context] = function;
  }

  std::string name_, symbol_, image_;  // the binary stays: another context may want it
  std::vector<Parameter> parameters_;
  std::array<unsigned, 3> block_;
  unsigned shared_;
  int scratch_;
  bool cooperative_;
  std::map<Handle, Handle> functions_;  // context -> function
};

void bind(py::module_& m) {
  if (_import_array() < 0) throw py::error_already_set();
  auto number =
      py::module_::import("numpy").attr("dtype")(py::module_::import("ml_dtypes").attr("bfloat16")).attr("num");
  bfloat16_number = number.cast<int>();
  m.def("capability", &capability, py::arg("device"), "Compute capability (major, minor) of a device.");
  m.def(
      "multiprocessors", [](int device) { return attribute(multiprocessors, device); }, py::arg("device"),
      "How many multiprocessors a device has.");
  m.def(
      "devices",
      [] {
        int count = 0;
        must(driver().cuDeviceGetCount(&count), "cuda", "devices");
        return count;
      },
      "How many devices the driver sees.");
  m.def("use_driver", &use_driver, py::arg("addresses"),
        "For tests: functions in place of the driver's, as addresses by name; none: the driver's own again.");
  using Signature = const std::vector<std::tuple<std::string, std::string, bool>>&;
  py::class_<Kernel>(m, "Kernel", "A compiled kernel and what it takes.")
      .def(py::init([](std::string name, std::string symbol, const py::bytes& image, Signature signature,
                       std::array<unsigned, 3> block, unsigned shared, int scratch, bool cooperative) {
             return Kernel(std::move(name), std::move(symbol), image, signature, block, shared, scratch, cooperative);
           }),
           py::arg("name"), py::arg("symbol"), py::arg("image"), py::arg("signature"), py::arg("block"),
           py::arg("shared") = 0, py::arg("scratch") = 0, py::arg("cooperative") = false)
      .def("check", &Kernel::check, py::arg("args"), "The bits of each argument; raises where one is wrong.")
      .def("__call__", &Kernel::launch, py::arg("grid"), py::arg("stream"), py::arg("args"),
           "Launch on a stream, in the current context.");
}

}  // namespace
}  // namespace minidl

PYBIND11_MODULE(_gpu, m) { minidl::bind(m); }
