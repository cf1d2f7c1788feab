// Functions of two numbers: `y(a, b)`; comparisons give 1 or 0.
#pragma once
#include "kernels/cpu/simd.h"

namespace minidl::MINIDL_ISA {
namespace pairs {

struct add {
  static MINIDL_INLINE vf y(vf a, vf b) { return a + b; }
};
struct divide {
  static MINIDL_INLINE vf y(vf a, vf b) { return a / b; }
};
struct maximum {  // NaN if either is
  static MINIDL_INLINE vf y(vf a, vf b) { return a == a ? vmax(a, b) : a; }
};
struct minimum {
  static MINIDL_INLINE vf y(vf a, vf b) { return a == a ? vmin(a, b) : a; }
};
struct multiply {
  static MINIDL_INLINE vf y(vf a, vf b) { return a * b; }
};
struct subtract {
  static MINIDL_INLINE vf y(vf a, vf b) { return a - b; }
};

#define MINIDL_COMPARISON(name, relation)                                             \
  struct name {                                                                       \
    static MINIDL_INLINE vf y(vf a, vf b) { return a relation b ? splatf(1) : vf{}; } \
  };
MINIDL_COMPARISON(equal, ==)
MINIDL_COMPARISON(greater, >)
MINIDL_COMPARISON(greater_equal, >=)
MINIDL_COMPARISON(less, <)
MINIDL_COMPARISON(less_equal, <=)
MINIDL_COMPARISON(not_equal, !=)
#undef MINIDL_COMPARISON

}  // namespace pairs
}  // namespace minidl::MINIDL_ISA
