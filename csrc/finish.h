// What follows a convolution, as Python names it.
#pragma once
#include <iterator>

#include "csrc/arrays.h"
#include "kernels/cpu/conv/finish.h"

namespace minidl {

inline Finish finish_of(const Checked& check, py::handle y, py::handle residual, int activation) {
  auto [n, channels, rows, columns] = check.shape<4>("y", y);
  check.require(activation >= 0 && activation < static_cast<int>(std::size(activation_names)), "activation", "a code");
  return {check.optional<float>("residual", residual, {n, channels, rows, columns}),
          static_cast<Activation>(activation)};
}

}  // namespace minidl
