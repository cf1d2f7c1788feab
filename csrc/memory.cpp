// NumPy's data allocations come from kernels/cpu/memory.h while the handler is set (NEP 49).
#include "kernels/cpu/memory.h"

#include "csrc/arrays.h"

namespace minidl {
namespace {

PyDataMem_Handler handler = {
    "minidl",
    1,
    {nullptr, [](void*, size_t size) { return memory::allocate(size); },
     [](void*, size_t count, size_t size) -> void* {
       return size && count > SIZE_MAX / size ? nullptr : memory::allocate(count * size, true);
     },
     [](void*, void* data, size_t size) { return memory::reallocate(data, size); },
     [](void*, void* data, size_t) { memory::release(data); }},  // (sizes that NumPy passes are not to be trusted)
};

}  // namespace

void bind_memory(py::module_& m) {
  // Never freed: arrays hold on to the handler that made them.
  static PyObject* capsule = PyCapsule_New(&handler, "mem_handler", nullptr);
  m.def(
      "install",
      [](bool on) {
        PyObject* before = PyDataMem_SetHandler(on ? capsule : nullptr);
        if (!before) throw py::error_already_set();
        Py_DECREF(before);
      },
      py::arg("on"), "Let NumPy allocate arrays here, in this context; False: as it does by itself.");
  m.def(
      "stats",
      [] {
        auto s = memory::stats();
        return py::make_tuple(s.in_use, s.peak, s.cached, s.limit);
      },
      "(in use, peak, cached, limit), in bytes.");
  m.def("reset_peak", &memory::reset_peak, "Let the peak be what is in use now.");
  m.def("set_limit", &memory::set_limit, py::arg("bytes"), "Keep at most so many bytes of freed blocks.");
  m.def("trim", &memory::trim, "Give all freed blocks back.");
}

}  // namespace minidl
