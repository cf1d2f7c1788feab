// Functions of one number: `y(x, p)`, and `gx(g, s, p)`, where s is x or y and p holds the parameters a, b, c.
//
// Products with a mask are choices here: a gradient of infinity is 0 where the function is flat. NaN gives NaN.
#pragma once
#include "kernels/cpu/elementwise/unary.h"
#include "kernels/cpu/math.h"

namespace minidl::MINIDL_ISA {
namespace functions {

using P = UnaryForward;
using B = UnaryBackward;

// -- straight lines -----------------------------------------------------------------------------------------------

struct abs {
  static MINIDL_INLINE vf y(vf x, const P&) { return vabs(x); }
  static MINIDL_INLINE vf gx(vf g, vf x, const B&) {
    vf signed_g = (vf)((vi)g ^ sign_bit(x));
    return (x > 0.f) | (x < 0.f) ? signed_g : g * x;  // (0, or NaN)
  }
};

struct negative {
  static MINIDL_INLINE vf y(vf x, const P&) { return -x; }
  static MINIDL_INLINE vf gx(vf g, vf, const B&) { return -g; }
};

struct relu {
  static MINIDL_INLINE vf y(vf x, const P&) { return at_least(x, 0.f); }
  static MINIDL_INLINE vf gx(vf g, vf y, const B&) { return y > 0.f ? g : vf{}; }
};

struct leaky_relu {
  static MINIDL_INLINE vf y(vf x, const P& p) { return x > 0.f ? x : x * p.a; }
  static MINIDL_INLINE vf gx(vf g, vf y, const B& p) { return y > 0.f ? g : g * p.a; }
};

struct hardtanh {
  static MINIDL_INLINE vf y(vf x, const P& p) { return at_most(at_least(x, p.a), p.b); }
  static MINIDL_INLINE vf gx(vf g, vf y, const B& p) { return (y > p.a) & (y < p.b) ? g : vf{}; }
};

struct hardsigmoid {
  static MINIDL_INLINE vf y(vf x, const P&) { return at_most(at_least(x * (1 / 6.f) + .5f, 0.f), 1.f); }
  static MINIDL_INLINE vf gx(vf g, vf y, const B&) { return (y > 0.f) & (y < 1.f) ? g * (1 / 6.f) : vf{}; }
};

struct hardswish {
  static MINIDL_INLINE vf y(vf x, const P& p) { return x * hardsigmoid::y(x, p); }
  static MINIDL_INLINE vf gx(vf g, vf x, const B&) {
    vf inside = at_most(at_least(x * (1 / 6.f) + .5f, 0.f), 1.f);
    return g * (inside + ((x > -3.f) & (x < 3.f) ? x * (1 / 6.f) : vf{}));
  }
};

// -- powers -------------------------------------------------------------------------------------------------------

struct reciprocal {
  static MINIDL_INLINE vf y(vf x, const P&) { return 1.f / x; }
  static MINIDL_INLINE vf gx(vf g, vf y, const B&) { return -g * y * y; }
};

struct rsqrt {
  static MINIDL_INLINE vf y(vf x, const P&) { return 1.f / vsqrt(x); }
  static MINIDL_INLINE vf gx(vf g, vf y, const B&) { return g * (y * y * y) * -.5f; }
};

struct sqrt {
  static MINIDL_INLINE vf y(vf x, const P&) { return vsqrt(x); }
  static MINIDL_INLINE vf gx(vf g, vf y, const B&) { return g / (y * 2.f); }
};

struct square {
  static MINIDL_INLINE vf y(vf x, const P&) { return x * x; }
  static MINIDL_INLINE vf gx(vf g, vf x, const B&) { return g * (x * 2.f); }
};

struct softsign {
  static MINIDL_INLINE vf y(vf x, const P&) { return x / (vabs(x) + 1.f); }
  static MINIDL_INLINE vf gx(vf g, vf y, const B&) {
    vf rest = 1.f - vabs(y);
    return g * (rest * rest);
  }
};

// -- exponentials and logarithms ----------------------------------------------------------------------------------

struct exp {
  static MINIDL_INLINE vf y(vf x, const P&) { return vexp(x); }
  static MINIDL_INLINE vf gx(vf g, vf y, const B&) { return g * y; }
};

struct exp2 {
  static MINIDL_INLINE vf y(vf x, const P&) { return vexp2(x); }
  static MINIDL_INLINE vf gx(vf g, vf y, const B&) { return g * y * .693147181f; }
};

struct expm1 {
  static MINIDL_INLINE vf y(vf x, const P&) { return vexpm1(x); }
  static MINIDL_INLINE vf gx(vf g, vf y, const B&) { return g * (y + 1.f); }
};

struct log {
  static MINIDL_INLINE vf y(vf x, const P&) { return vlog(x); }
  static MINIDL_INLINE vf gx(vf g, vf x, const B&) { return g / x; }
};

struct log1p {
  static MINIDL_INLINE vf y(vf x, const P&) { return vlog1p(x); }
  static MINIDL_INLINE vf gx(vf g, vf x, const B&) { return g / (x + 1.f); }
};

struct erf {
  static MINIDL_INLINE vf y(vf x, const P&) { return verf(x); }
  static MINIDL_INLINE vf gx(vf g, vf x, const B&) { return g * (vexp(-x * x) * 1.12837917f); }  // 2 / sqrt(pi)
};

// -- sigmoids, and what is made of them ---------------------------------------------------------------------------

struct sigmoid {
  static MINIDL_INLINE vf y(vf x, const P&) { return vsigmoid(x); }
  static MINIDL_INLINE vf gx(vf g, vf y, const B&) { return g * (y * (1.f - y)); }
};

struct tanh {
  static MINIDL_INLINE vf y(vf x, const P&) { return vtanh(x); }
  static MINIDL_INLINE vf gx(vf g, vf y, const B&) { return g * (1.f - y * y); }
};

struct logsigmoid {
  static MINIDL_INLINE vf y(vf x, const P&) { return at_most(x, 0.f) - vlog1p(vexp(-vabs(x))); }
  static MINIDL_INLINE vf gx(vf g, vf y, const B&) { return -g * vexpm1(y); }
};

struct softplus {  // a: beta, b: threshold
  static MINIDL_INLINE vf y(vf x, const P& p) {
    vf z = x * p.a;
    return (at_least(z, 0.f) + (z <= p.b ? vlog1p(vexp(-vabs(z))) : vf{})) / p.a;
  }
  static MINIDL_INLINE vf gx(vf g, vf x, const B& p) {
    vf z = x * p.a;
    return z > p.b ? g : g * vsigmoid(z);
  }
};

struct elu {  // a: alpha, b: scale, c: input_scale
  static MINIDL_INLINE vf y(vf x, const P& p) { return x > 0.f ? x * p.b : vexpm1(x * p.c) * (p.a * p.b); }
  static MINIDL_INLINE vf gx(vf g, vf y, const B& p) { return y > 0.f ? g * p.b : g * (y + p.a * p.b) * p.c; }
};

MINIDL_INLINE vf share(vf x) { return 1.f / (vexp_clamped(-x) + 1.f); }  // a sigmoid whose far left end is 1e-38

struct silu {  // a: beta
  static MINIDL_INLINE vf y(vf x, const P& p) { return x * share(x * p.a); }
  static MINIDL_INLINE vf gx(vf g, vf x, const B& p) {
    vf z = x * p.a, s = share(z);
    return g * (s * (1.f + z * (1.f - s)));
  }
};

struct mish {  // tanh(log(1 + e)) = n / (n + 2) with n = e (e + 2), e = e^x: 1 beyond 20
  static MINIDL_INLINE vf y(vf x, const P&) {
    vf e = vexp(at_most(x, 20.f)), n = e * (e + 2.f);
    return x * (n / (n + 2.f));
  }
  static MINIDL_INLINE vf gx(vf g, vf x, const B&) {
    x = at_most(x, 20.f);
    vf e = vexp(x), n = e * (e + 2.f), m = n + 2.f;
    return g * ((n * m + x * (4.f * e * (e + 1.f))) / (m * m));
  }
};

struct gelu {
  static MINIDL_INLINE vf below(vf x) { return (verf(x * .707106781f) + 1.f) * .5f; }  // of a normal number
  static MINIDL_INLINE vf y(vf x, const P&) { return x * below(x); }
  static MINIDL_INLINE vf gx(vf g, vf x, const B&) {
    x = at_most(at_least(x, -40.f), 40.f);
    return g * (below(x) + x * (vexp_clamped(x * x * -.5f) * .398942280f));
  }
};

struct gelu_tanh {  // (1 + tanh(u)) / 2 is the sigmoid of 2u
  static MINIDL_INLINE vf y(vf x, const P&) { return x * share(x * (x * x * .0713548163f + 1.59576912f)); }
  static MINIDL_INLINE vf gx(vf g, vf x, const B&) {
    x = at_most(at_least(x, -40.f), 40.f);
    vf square = x * x, s = share(x * (square * .0713548163f + 1.59576912f));
    return g * (s + x * ((square * .214064449f + 1.59576912f) * (s * (1.f - s))));
  }
};

}  // namespace functions
}  // namespace minidl::MINIDL_ISA
