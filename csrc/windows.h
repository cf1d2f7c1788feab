// Windows as Python names them: (kernel, stride, dilation, before, count), on an axis of a size known from its array.
#pragma once
#include <tuple>
#include "csrc/arrays.h"

#include "kernels/cpu/windows.h"

namespace minidl {

inline Windows windows_of(const Checked& check, const char* name, int64_t size, py::handle five) {
  auto [kernel, stride, dilation, before, count] = five.cast<std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t>>();
  check.require(size >= 1 && kernel >= 1 && stride >= 1 && dilation >= 1 && before >= 0 && count >= 1, name, "windows");
  return Windows{size, kernel, stride, dilation, before, count};
}

}  // namespace minidl
