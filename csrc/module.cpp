// minidl.kernels._cpu: the compiled kernels. One submodule per family, bound in the file of its name.
#define MINIDL_IMPORTS_NUMPY
#include "csrc/arrays.h"
#include "families.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/pool.h"

#include <pybind11/stl.h>

#include <vector>

namespace minidl {

int bfloat16_number = -1;
void bind_memory(py::module_&);
#define X(family) void bind_##family(py::module_&);
MINIDL_EACH_FAMILY(X)
#undef X

namespace {

std::vector<std::string> isas() {
  std::vector<std::string> names;
  for (Isa i : {Isa::base, Isa::avx2, Isa::avx512, Isa::avx512_vnni})
    if (supports(i)) names.push_back(isa_names[static_cast<int>(i)]);
  return names;
}

void choose_isa(const std::string& name) {
  for (Isa i : {Isa::base, Isa::avx2, Isa::avx512, Isa::avx512_vnni})
    if (name == isa_names[static_cast<int>(i)] && supports(i)) return set_isa(i);
  std::string known;
  for (auto& n : isas()) known += (known.empty() ? "" : ", ") + n;
  throw py::value_error("[set_isa] name: expected one of " + known + ", got '" + name + "'.");
}

void bind_all(py::module_& m) {
  if (_import_array() < 0) throw py::error_already_set();
  auto number =
      py::module_::import("numpy").attr("dtype")(py::module_::import("ml_dtypes").attr("bfloat16")).attr("num");
  bfloat16_number = number.cast<int>();
  m.def("isas", &isas, "The instruction sets that this build and this processor have, narrowest first.");
  m.def("isa", [] { return isa_names[static_cast<int>(isa())]; }, "The one that runs.");
  m.def("set_isa", &choose_isa, py::arg("name"), "Choose the one that runs.");
  m.def("threads", &pool::threads, "How many threads kernels use.");
  m.def("set_threads", &pool::set_threads, py::arg("n"), "Let kernels use n threads.");
  auto memory = m.def_submodule("memory");
  bind_memory(memory);
#define X(family)                        \
  {                                      \
    auto sub = m.def_submodule(#family); \
    bind_##family(sub);                  \
  }
  MINIDL_EACH_FAMILY(X)
#undef X
}

}  // namespace
}  // namespace minidl

PYBIND11_MODULE(_cpu, m) { minidl::bind_all(m); }
