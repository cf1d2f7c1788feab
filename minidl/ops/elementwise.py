"""Ops that act on each element alone, with numpy's broadcasting."""
from ..dtypes import as_dtype
from ..op import primitive

__all__ = ["add", "sub", "mul", "div", "neg", "exp", "log", "sqrt", "tanh", "pow", "relu", "astype"]


@primitive("a(...) b(...) -> (...)", methods=["__add__", "__radd__"])
def add(xp, a, b, /):
    return xp.add(a, b)


@add.vjp
def _(g):
    return g, g


@primitive("a(...) b(...) -> (...)", methods=["__sub__"], reflected="__rsub__")
def sub(xp, a, b, /):
    return xp.subtract(a, b)


@sub.vjp
def _(g):
    return g, -g


@primitive("a(...) b(...) -> (...)", methods=["__mul__", "__rmul__"])
def mul(xp, a, b, /):
    return xp.multiply(a, b)


@mul.vjp
def _(g, a, b):
    return (lambda: g * b), (lambda: g * a)


@primitive("a(...) b(...) -> (...)", methods=["__truediv__"], reflected="__rtruediv__")
def div(xp, a, b, /):
    return xp.divide(a, b)


@div.vjp
def _(g, out, b):
    return g / b, (lambda: -g * out / b)


@primitive("x(*) -> (*)", methods=["__neg__"])
def neg(xp, x, /):
    return -x


@neg.vjp
def _(g):
    return -g


@primitive("x(*) -> (*)", methods=["exp"])
def exp(xp, x, /):
    return xp.exp(x)


@exp.vjp
def _(g, out):
    return g * out


@primitive("x(*) -> (*)", methods=["log"])
def log(xp, x, /):
    return xp.log(x)


@log.vjp
def _(g, x):
    return g / x


@primitive("x(*) -> (*)", methods=["sqrt"])
def sqrt(xp, x, /):
    return xp.sqrt(x)


@sqrt.vjp
def _(g, out):
    return g / (out * 2)


@primitive("x(*) -> (*)", methods=["tanh"])
def tanh(xp, x, /):
    return xp.tanh(x)


@tanh.vjp
def _(g, out):
    return g * (-(out * out) + 1)


@primitive("x(*) -> (*)", methods=["__pow__"])
def pow(xp, x, /, exponent):
    """x to a constant power."""
    return x ** exponent


@pow.vjp
def _(g, x, exponent):
    return g * (x ** (exponent - 1)) * exponent


@primitive("x(*) -> (*)", methods=["relu"])
def relu(xp, x, /):
    return xp.maximum(x, 0)


@relu.vjp
def _(g, out):
    return g * (out.data > 0).astype(out.dtype)


@exp.samples
@log.samples
@sqrt.samples
@tanh.samples
@neg.samples
@relu.samples
def _(make):
    for shape in ((), (3,), (2, 1, 4), (0, 3)):
        yield make.positive(*shape),


@add.samples
@sub.samples
@mul.samples
@div.samples
def _(make):
    for a, b in (((3, 4), (3, 4)), ((3, 1), (4,)), ((), (2, 3))):
        yield make.positive(*a), make.positive(*b)


@pow.samples
def _(make):
    yield make.positive(2, 3), 3


@primitive("x(*):any -> (*)", methods=["astype"], exact=True)
def astype(xp, x, /, dtype):
    """The elements in another dtype."""
    return x.astype(as_dtype(dtype), copy=False)


@astype.vjp
def _(g, x):
    return g.astype(x.dtype)


@astype.samples
def _(make):
    yield make.normal(2, 3), "float64"
