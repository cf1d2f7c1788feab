// Functions of two numbers: rows along the last axis, along which either operand is contiguous or one number.
#include "kernels/cpu/elementwise/binary.h"

#include "kernels/cpu/elementwise/map.h"
#include "kernels/cpu/elementwise/pairs.h"

namespace minidl::MINIDL_ISA {
namespace {

// Where rows begin in a and b, in y's order.
class Rows {
 public:
  Rows(const BinaryForward& p, int64_t row) : p_(p) {
    for (int axis = p.axes - 2; axis >= 0; row /= p.sizes[axis--]) {
      at_[axis] = row % p.sizes[axis];
      a += at_[axis] * p.a_strides[axis];
      b += at_[axis] * p.b_strides[axis];
    }
  }
  MINIDL_INLINE void next() {
    for (int axis = p_.axes - 2; axis >= 0; axis--) {
      a += p_.a_strides[axis];
      b += p_.b_strides[axis];
      if (++at_[axis] < p_.sizes[axis]) return;
      a -= p_.sizes[axis] * p_.a_strides[axis];
      b -= p_.sizes[axis] * p_.b_strides[axis];
      at_[axis] = 0;
    }
  }
  int64_t a = 0, b = 0;

 private:
  const BinaryForward& p_;
  int64_t at_[BinaryForward::AXES] = {};
};

// A and B: is the operand one number along the rows?
template <class F, bool A, bool B>
void rows(const BinaryForward& p) {
  const int64_t n = p.sizes[p.axes - 1], parts = ceil_div(n, CHUNK);  // (of a long row)
  int64_t count = 1;
  for (int axis = 0; axis + 1 < p.axes; axis++) count *= p.sizes[axis];
  const bool streamed = count * n * static_cast<int64_t>(sizeof(float)) >= STREAMED;
  parallel_chunks(count * parts, CHUNK / min(n, CHUNK), [&](int64_t i, int64_t end) {
    for (Rows at(p, i / parts); i < end; i++) {
      const int64_t from = i % parts * CHUNK;
      const float *a = p.a + at.a + (A ? 0 : from), *b = p.b + at.b + (B ? 0 : from);
      const vf one_a = splatf(*a), one_b = splatf(*b);
      write_part(p.y + i / parts * n + from, min(CHUNK, n - from), streamed, [&](int64_t j, int64_t lanes) MINIDL_HERE {
        return F::y(A ? one_a : load_n(a + j, lanes), B ? one_b : load_n(b + j, lanes));
      });
      if (i % parts == parts - 1) at.next();
    }
    if (streamed) stream_fence();
  });
}

template <class F>
void by_steps(const BinaryForward& p) {
  const int64_t a = p.a_strides[p.axes - 1], b = p.b_strides[p.axes - 1];
  if (a && b) return rows<F, false, false>(p);
  if (a) return rows<F, false, true>(p);
  if (b) return rows<F, true, false>(p);
  rows<F, true, true>(p);
}

}  // namespace

#define X(name)      \
  case Binary::name: \
    return by_steps<pairs::name>(p);
void binary_forward(const BinaryForward& p) {
  switch (p.function) { MINIDL_EACH_BINARY(X) }
}
#undef X

}  // namespace minidl::MINIDL_ISA
