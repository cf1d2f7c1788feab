// Functions of one number in one pass over memory, forward and backward.
//
// Gradients compute anew what they need of the forward pass: that is cheaper than reading it.
#include "kernels/cpu/elementwise/unary.h"

#include "kernels/cpu/elementwise/functions.h"
#include "kernels/cpu/elementwise/map.h"

namespace minidl::MINIDL_ISA {
namespace {

template <class F>
void forward(const UnaryForward& q) {
  const UnaryForward p = q;  // (a copy that no store can change: its parameters stay in registers)
  map(p.y, p.size, [&](int64_t i, int64_t lanes) MINIDL_HERE { return F::y(load_n(p.x + i, lanes), p); });
}

template <class F>
void backward(const UnaryBackward& q) {
  const UnaryBackward p = q;
  map(p.gx, p.size, [&](int64_t i, int64_t lanes) MINIDL_HERE {
    return F::gx(load_n(p.g + i, lanes), load_n(p.saved + i, lanes), p);
  });
}

}  // namespace

#define X(name)     \
  case Unary::name: \
    return forward<functions::name>(p);
void unary_forward(const UnaryForward& p) {
  switch (p.function) { MINIDL_EACH_UNARY(X) }
}
#undef X

#define X(name)     \
  case Unary::name: \
    return backward<functions::name>(p);
void unary_backward(const UnaryBackward& p) {
  switch (p.function) { MINIDL_EACH_UNARY(X) }
}
#undef X

}  // namespace minidl::MINIDL_ISA
