"""Every arithmetic instruction of PTX that the laboratory executes, with a reference for one lane, from `scalar`."""
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import ptx_scalar as scalar
from ptx_scalar import BITS, INFINITY, NAN, clamp, decode, encode, flushed, number, truncated, wrap

MODES = ("rn", "rz", "rm", "rp")


@dataclass(frozen=True)
class Form:
    """An instruction: its opcode, the types of result and operands, and what one lane's result is, bits to bits.

    `literal`: text behind the operands. `carry`: reads or writes the carry flag, which the reference takes and gives.
    """
    opcode: str
    result: str
    operands: tuple
    reference: object
    literal: str = ""


def forms():
    """All of them."""
    for part in (integers, bits, comparisons, choices, floats, halves, conversions, dots):
        yield from part()


def _ints(*widths, signs="us"):
    return [f"{sign}{width}" for width in widths for sign in signs]


def integers():
    """Sums, products, quotients."""
    def on(kind, function):
        return lambda *given: wrap(function(*(number(g, kind) for g in given)), kind)
    for kind in _ints(16, 32, 64):
        width, two, three = BITS[kind], (kind,) * 2, (kind,) * 3
        yield Form(f"add.{kind}", kind, two, on(kind, lambda a, b: a + b))
        yield Form(f"sub.{kind}", kind, two, on(kind, lambda a, b: a - b))
        yield Form(f"min.{kind}", kind, two, on(kind, min))
        yield Form(f"max.{kind}", kind, two, on(kind, max))
        yield Form(f"mul.lo.{kind}", kind, two, on(kind, lambda a, b: a * b))
        yield Form(f"mul.hi.{kind}", kind, two, on(kind, lambda a, b, w=width: a * b >> w))
        yield Form(f"mad.lo.{kind}", kind, three, on(kind, lambda a, b, c: a * b + c))
        yield Form(f"mad.hi.{kind}", kind, three, on(kind, lambda a, b, c, w=width: (a * b >> w) + c))
        yield Form(f"div.{kind}", kind, two, on(kind, lambda a, b: truncated(a, b) if b else -1))
        yield Form(f"rem.{kind}", kind, two, on(kind, lambda a, b: a - b * truncated(a, b) if b else a))
        yield Form(f"sad.{kind}", kind, three, on(kind, lambda a, b, c: abs(a - b) + c))
        if kind[0] == "s":
            yield Form(f"neg.{kind}", kind, (kind,), on(kind, lambda a: -a))
            yield Form(f"abs.{kind}", kind, (kind,), on(kind, abs))
        if width < 64:
            wide = f"{kind[0]}{2 * width}"
            yield Form(f"mul.wide.{kind}", wide, two, lambda a, b, k=kind, w=wide: wrap(number(a, k) * number(b, k), w))
            yield Form(f"mad.wide.{kind}", wide, (*two, wide),
                       lambda a, b, c, k=kind, w=wide: wrap(number(a, k) * number(b, k) + number(c, w), w))
    for name, function in (("add", lambda a, b: a + b), ("sub", lambda a, b: a - b)):
        yield Form(f"{name}.sat.s32", "s32", ("s32",) * 2,
                   lambda a, b, f=function: clamp(f(number(a, "s32"), number(b, "s32")), "s32"))
    yield Form("mad.hi.sat.s32", "s32", ("s32",) * 3, lambda a, b, c: clamp(
        (number(a, "s32") * number(b, "s32") >> 32) + number(c, "s32"), "s32"))
    for kind in _ints(32):
        low24 = lambda x, k=kind: number(x & 0xFFFFFF | (0xFF000000 if k == "s32" and x >> 23 & 1 else 0), k)
        for part, shift in (("lo", 0), ("hi", 16)):
            yield Form(
                f"mul24.{part}.{kind}", kind, (kind,) * 2, lambda a, b, f=low24, s=shift: f(a) * f(b) >> s & 0xFFFFFFFF
            )
            yield Form(f"mad24.{part}.{kind}", kind, (kind,) * 3,
                       lambda a, b, c, f=low24, s=shift: (f(a) * f(b) >> s) + c & 0xFFFFFFFF)
    for name in ("min", "max", "add"):
        for kind in ("u16x2", "s16x2"):
            one = f"{kind[0]}16"
            function = {"min": min, "max": max, "add": lambda a, b: a + b}[name]
            yield Form(f"{name}.{kind}", kind, (kind,) * 2, partial(_by_halves, lambda a, b, f=function, k=one: wrap(
                f(number(a, k), number(b, k)), k)))


def _by_halves(function, *words):
    """A function of halves on both halves of words."""
    low, high = (function(*((w >> s) & 0xFFFF for w in words)) for s in (0, 16))
    return low | high << 16


def bits():
    """Logic, shifts, fields."""
    for kind in ("b16", "b32", "b64"):
        width = BITS[kind]
        for name, function in (("and", lambda a, b: a & b), ("or", lambda a, b: a | b), ("xor", lambda a, b: a ^ b)):
            yield Form(f"{name}.{kind}", kind, (kind,) * 2, function)
        yield Form(f"not.{kind}", kind, (kind,), lambda a, w=width: ~a & (1 << w) - 1)
        yield Form(f"cnot.{kind}", kind, (kind,), lambda a: int(a == 0))
        yield Form(f"shl.{kind}", kind, (kind, "amount"), lambda a, n, w=width: a << n & (1 << w) - 1 if n < w else 0)
    for kind in ("u16", "u32", "u64", "s16", "s32", "s64", "b32"):
        yield Form(f"shr.{kind}", kind, (kind, "amount"), lambda a, n, k=kind: wrap(number(a, k) >> min(n, 64), k))
    for kind in ("b32", "b64"):
        width = BITS[kind]
        yield Form(f"popc.{kind}", "u32", (kind,), int.bit_count)
        yield Form(f"clz.{kind}", "u32", (kind,), lambda a, w=width: w - a.bit_length())
        yield Form(f"brev.{kind}", kind, (kind,), lambda a, w=width: int(f"{a:0{w}b}"[::-1], 2))
    for kind in _ints(32, 64):
        for shift in ("", ".shiftamt"):
            yield Form(f"bfind{shift}.{kind}", "u32", (kind,), partial(_bfind, kind, bool(shift)))
        yield Form(f"bfe.{kind}", kind, (kind, "place", "place"), partial(_bfe, kind))
    for kind in ("b32", "b64"):
        yield Form(f"bfi.{kind}", kind, (kind, kind, "place", "place"), partial(_bfi, BITS[kind]))
    for wrapping in ("wrap", "clamp"):
        fix = (lambda n: n & 31) if wrapping == "wrap" else lambda n: min(n, 32)
        yield Form(f"shf.l.{wrapping}.b32", "b32", ("b32", "b32", "amount"),
                   lambda lo, hi, n, f=fix: ((hi << 32 | lo) << f(n) >> 32) & 0xFFFFFFFF)
        yield Form(f"shf.r.{wrapping}.b32", "b32", ("b32", "b32", "amount"),
                   lambda lo, hi, n, f=fix: (hi << 32 | lo) >> f(n) & 0xFFFFFFFF)
        yield Form(f"bmsk.{wrapping}.b32", "b32", ("amount", "amount"),
                   lambda a, n, f=fix: (1 << f(n)) - 1 << f(a) & 0xFFFFFFFF)
        for kind in _ints(32):
            yield Form(f"szext.{wrapping}.{kind}", kind, (kind, "amount"), partial(_szext, kind, fix))
    for table in (0x00, 0x96, 0xE8, 0xCA, 0x1B, 0xFF):
        yield Form("lop3.b32", "b32", ("b32",) * 3, partial(_lop3, table), f", {table}")
    yield Form("prmt.b32", "b32", ("b32",) * 3, _prmt)
    for mode in ("f4e", "b4e", "rc8", "ecl", "ecr", "rc16"):
        yield Form(f"prmt.b32.{mode}", "b32", ("b32",) * 3, partial(_prmt_mode, mode))
    yield Form("fns.b32", "b32", ("b32", "lane", "few"), _fns)
    for name in ("and", "or", "xor"):
        yield Form(f"{name}.pred", "pred", ("pred",) * 2, {"and": min, "or": max, "xor": lambda a, b: a ^ b}[name])
    yield Form("not.pred", "pred", ("pred",), lambda a: 1 - a)


def _bfind(kind, shiftamt, a):
    value = number(a, kind)
    place = (~value if value < 0 else value).bit_length() - 1
    return 0xFFFFFFFF if place < 0 else BITS[kind] - 1 - place if shiftamt else place


def _bfe(kind, a, start, length):
    width, start, length = BITS[kind], start & 255, length & 255
    sign = 0 if kind[0] == "u" or length == 0 else a >> min(start + length - 1, width - 1) & 1
    return sum((a >> start + i & 1 if i < length and start + i < width else sign) << i for i in range(width))


def _bfi(width, a, b, start, length):
    start, length = start & 255, length & 255
    for i in range(length):
        if start + i < width:
            b = b & ~(1 << start + i) | (a >> i & 1) << start + i
    return b


def _szext(kind, fix, a, n):
    n = fix(n)
    value = a & (1 << n) - 1
    return wrap(value - (1 << n) if kind == "s32" and n and value >> n - 1 & 1 else value, kind)


def _lop3(table, a, b, c):
    return sum((table >> ((a >> i & 1) << 2 | (b >> i & 1) << 1 | c >> i & 1) & 1) << i for i in range(32))


def _prmt(a, b, selector):
    pool, result = b << 32 | a, 0
    for k in range(4):
        nibble = selector >> 4 * k & 15
        byte = pool >> 8 * (nibble & 7) & 255
        result |= ((255 if byte >> 7 else 0) if nibble & 8 else byte) << 8 * k
    return result


def _prmt_mode(mode, a, b, selector):
    pool, n = b << 32 | a, selector & 3
    chosen = {"f4e": [n, n + 1, n + 2, n + 3], "b4e": [n, n + 7, n + 6, n + 5], "rc8": [n] * 4,
              "ecl": [max(k, n) for k in range(4)], "ecr": [min(k, n) for k in range(4)],
              "rc16": [n % 2 * 2, n % 2 * 2 + 1] * 2}[mode]
    return sum((pool >> 8 * (k & 7) & 255) << 8 * i for i, k in enumerate(chosen))


def _fns(mask, base, n):
    n, found = number(n, "s32"), None
    if n == 0:
        return base if mask >> base & 1 else 0xFFFFFFFF
    places = [k for k in (range(base, 32) if n > 0 else range(base, -1, -1)) if mask >> k & 1]
    found = places[abs(n) - 1] if len(places) >= abs(n) else None
    return 0xFFFFFFFF if found is None else found


ORDERINGS = {"eq": lambda w: w == 0, "ne": lambda w: w != 0, "lt": lambda w: w < 0, "le": lambda w: w <= 0,
             "gt": lambda w: w > 0, "ge": lambda w: w >= 0}


def comparisons():
    """setp with all orderings, and with a predicate combined; set."""
    for kind in _ints(16, 32, 64) + ["b16", "b32", "b64"]:
        names = ORDERINGS if kind[0] != "b" else ("eq", "ne")
        for name in names:
            yield Form(f"setp.{name}.{kind}", "pred", (kind,) * 2, partial(_compare_integers, name, kind))
    for short, name in (("lo", "lt"), ("ls", "le"), ("hi", "gt"), ("hs", "ge")):
        yield Form(f"setp.{short}.u32", "pred", ("u32",) * 2, partial(_compare_integers, name, "u32"))
    for kind in ("f32", "f64", "f16", "bf16"):
        for name in ORDERINGS:
            yield Form(f"setp.{name}.{kind}", "pred", (kind,) * 2, partial(_compare_floats, name, kind, False))
            yield Form(f"setp.{name}u.{kind}", "pred", (kind,) * 2, partial(_compare_floats, name, kind, True))
        for name in ("num", "nan"):
            yield Form(f"setp.{name}.{kind}", "pred", (kind,) * 2,
                       lambda a, b, k=kind, n=name: int((scalar.is_nan(a, k) or scalar.is_nan(b, k)) == (n == "nan")))
    yield Form("setp.lt.ftz.f32", "pred", ("f32",) * 2,
               lambda a, b: _compare_floats("lt", "f32", False, flushed(a, "f32", True), flushed(b, "f32", True)))
    yield Form(
        "setp.lt.and.s32", "pred", ("s32", "s32", "pred"), lambda a, b, p: _compare_integers("lt", "s32", a, b) & p
    )
    yield Form(
        "setp.gt.or.f32", "pred", ("f32", "f32", "pred"), lambda a, b, p: _compare_floats("gt", "f32", False, a, b) | p
    )
    yield Form(
        "setp.ne.xor.u64", "pred", ("u64", "u64", "pred"), lambda a, b, p: _compare_integers("ne", "u64", a, b) ^ p
    )
    for into, one in (("u32", 0xFFFFFFFF), ("s32", 0xFFFFFFFF), ("f32", 0x3F800000)):
        yield Form(
            f"set.le.{into}.f32", into, ("f32",) * 2, lambda a, b, v=one: v * _compare_floats("le", "f32", False, a, b)
        )
        yield Form(
            f"set.gt.{into}.s32", into, ("s32",) * 2, lambda a, b, v=one: v * _compare_integers("gt", "s32", a, b)
        )
    yield Form("set.lt.f16.f16", "f16", ("f16",) * 2, lambda a, b: 0x3C00 * _compare_floats("lt", "f16", False, a, b))
    yield Form("set.ltu.f16x2.f16x2", "f16x2", ("f16x2",) * 2, partial(
        _by_halves, lambda a, b: 0x3C00 * _compare_floats("lt", "f16", True, a, b)))
    yield Form("set.ge.bf16x2.bf16x2", "bf16x2", ("bf16x2",) * 2, partial(
        _by_halves, lambda a, b: 0x3F80 * _compare_floats("ge", "bf16", False, a, b)))
    yield Form("set.eq.u32.f16x2", "u32", ("f16x2",) * 2, partial(
        _by_halves, lambda a, b: 0xFFFF * _compare_floats("eq", "f16", False, a, b)))


def _compare_integers(name, kind, a, b):
    return int(ORDERINGS[name](number(a, kind) - number(b, kind)))


def _compare_floats(name, kind, unordered, a, b):
    which = scalar.order(a, b, kind)
    return int(unordered if which is None else ORDERINGS[name](which))


def choices():
    """selp, slct, copysign."""
    for kind in ("b16", "b32", "b64", "f32", "f64", "s32", "u64"):
        yield Form(f"selp.{kind}", kind, (kind, kind, "pred"), lambda a, b, p: a if p else b)
    yield Form("slct.u32.s32", "u32", ("u32", "u32", "s32"), lambda a, b, c: a if number(c, "s32") >= 0 else b)
    yield Form(
        "slct.f64.f32",
        "f64",
        ("f64", "f64", "f32"),
        lambda a, b, c: a if _compare_floats("ge", "f32", False, c, 0) else b,
    )
    for kind in ("f32", "f64"):
        top = 1 << BITS[kind] - 1
        yield Form(f"copysign.{kind}", kind, (kind,) * 2, lambda a, b, t=top: b & t - 1 | a & t)


def floats():
    """float32 and float64: every operation in every mode, .ftz and .sat."""
    for kind in ("f32", "f64"):
        two = {"add": scalar.add, "sub": scalar.subtract, "mul": scalar.multiply, "div": scalar.divide}
        for mode in MODES:
            for name, function in two.items():
                yield Form(
                    f"{name}.{mode}.{kind}", kind, (kind,) * 2, lambda a, b, f=function, k=kind, m=mode: f(a, b, k, m)
                )
            yield Form(
                f"fma.{mode}.{kind}", kind, (kind,) * 3, lambda a, b, c, k=kind, m=mode: scalar.fma(a, b, c, k, m)
            )
            yield Form(f"sqrt.{mode}.{kind}", kind, (kind,), lambda a, k=kind, m=mode: scalar.square_root(a, k, m))
            yield Form(f"rcp.{mode}.{kind}", kind, (kind,), lambda a, k=kind, m=mode: scalar.divide(
                encode(Fraction(1), k), a, k, m))
        top = 1 << BITS[kind] - 1
        yield Form(f"neg.{kind}", kind, (kind,), lambda a, t=top: a ^ t)
        yield Form(f"abs.{kind}", kind, (kind,), lambda a, t=top: a & ~t)
        for name in ("min", "max"):
            yield Form(
                f"{name}.{kind}", kind, (kind,) * 2, lambda a, b, k=kind, n=name: scalar.extreme(a, b, k, n == "min")
            )
        for test in ("finite", "infinite", "number", "notanumber", "normal", "subnormal"):
            yield Form(f"testp.{test}.{kind}", "pred", (kind,), partial(_testp, test, kind))
    ftz = lambda bits: flushed(bits, "f32", True)
    for mode in MODES:
        for name, function in (("add", scalar.add), ("mul", scalar.multiply)):
            yield Form(f"{name}.{mode}.ftz.f32", "f32", ("f32",) * 2,
                       lambda a, b, f=function, m=mode: ftz(f(ftz(a), ftz(b), "f32", m)))
            yield Form(
                f"{name}.{mode}.sat.f32",
                "f32",
                ("f32",) * 2,
                lambda a, b, f=function, m=mode: _unit(f(a, b, "f32", m), "f32"),
            )
        yield Form(f"fma.{mode}.ftz.f32", "f32", ("f32",) * 3,
                   lambda a, b, c, m=mode: ftz(scalar.fma(ftz(a), ftz(b), ftz(c), "f32", m)))
    yield Form("fma.rn.ftz.sat.f32", "f32", ("f32",) * 3,
               lambda a, b, c: _unit(ftz(scalar.fma(ftz(a), ftz(b), ftz(c), "f32")), "f32"))
    yield Form("sqrt.rn.ftz.f32", "f32", ("f32",), lambda a: ftz(scalar.square_root(ftz(a), "f32")))
    yield Form("div.rn.ftz.f32", "f32", ("f32",) * 2, lambda a, b: ftz(scalar.divide(ftz(a), ftz(b), "f32")))
    for name in ("min", "max"):
        yield Form(
            f"{name}.NaN.f32", "f32", ("f32",) * 2, lambda a, b, n=name: scalar.extreme(a, b, "f32", n == "min", True)
        )
        yield Form(
            f"{name}.ftz.f32",
            "f32",
            ("f32",) * 2,
            lambda a, b, n=name: scalar.extreme(ftz(a), ftz(b), "f32", n == "min"),
        )
        yield Form(f"{name}.xorsign.abs.f32", "f32", ("f32",) * 2, partial(_xorsign, name))


def _xorsign(name, a, b):
    low = 0x7FFFFFFF
    return scalar.extreme(a & low, b & low, "f32", name == "min") & low | (a ^ b) & ~low


def _unit(bits, kind):
    """Clamped to [0, 1]; NaN is 0."""
    sign, value = decode(bits, kind)
    if value is NAN:
        return 0
    value = Fraction(1 - sign) if value is INFINITY else min(max(value, Fraction(0)), Fraction(1))
    return encode(value, kind)


def _testp(test, kind, a):
    _, value = decode(a, kind)
    plain = value is not NAN and value is not INFINITY
    normal = plain and value != 0 and not flushed(a, kind, True) != a
    return int({"finite": plain, "infinite": value is INFINITY, "number": value is not NAN, "notanumber": value is NAN,
                "normal": normal, "subnormal": plain and value != 0 and not normal}[test])


def _byte(word, k, kind):
    return number(word >> 8 * k & 255, f"{kind[0]}8")


def _half(word, k, kind):
    return number(word >> 16 * k & 0xFFFF, f"{kind[0]}16")


def halves():
    """float16 and bfloat16, single and in pairs."""
    for kind in ("f16", "bf16"):
        two = {"add": scalar.add, "sub": scalar.subtract, "mul": scalar.multiply}
        top, relu, pair = 0x8000, partial(_relu, kind), f"{kind}x2"
        single = [(f"{name}.rn", 2, lambda a, b, f=f, k=kind: f(a, b, k)) for name, f in two.items()]
        single += [("fma.rn", 3, lambda a, b, c, k=kind: scalar.fma(a, b, c, k)),
                   ("fma.rn.relu", 3, lambda a, b, c, k=kind, r=relu: r(scalar.fma(a, b, c, k))),
                   ("neg", 1, lambda a, t=top: a ^ t), ("abs", 1, lambda a, t=top: a & ~t)]
        single += [(f"{name}{nan}", 2, lambda a, b, k=kind, n=name, w=bool(nan): scalar.extreme(a, b, k, n == "min", w))
                   for name in ("min", "max") for nan in ("", ".NaN")]
        if kind == "f16":
            single += [(f"{name}.sat", 2, lambda a, b, f=f: _unit(f(a, b, "f16"), "f16")) for name, f in two.items()]
            single += [
                (
                    "add.ftz",
                    2,
                    lambda a, b: flushed(
                        scalar.add(flushed(a, "f16", True), flushed(b, "f16", True), "f16"), "f16", True
                    ),
                )
            ]
        for name, count, function in single:
            yield Form(f"{name}.{kind}", kind, (kind,) * count, function)
            yield Form(f"{name}.{pair}", pair, (pair,) * count, partial(_by_halves, function))


def _relu(kind, bits):
    return 0 if bits >> 15 and not scalar.is_nan(bits, kind) else bits


TO_INTEGER = {"rni": "rn", "rzi": "rz", "rmi": "rm", "rpi": "rp"}


def conversions():
    """cvt between all types, in all modes."""
    kinds = _ints(8, 16, 32, 64)
    for into in kinds:
        for given in kinds:
            if into != given:
                yield Form(f"cvt.{into}.{given}", into, (given,), lambda a, i=into, g=given: wrap(number(a, g), i))
                yield Form(f"cvt.sat.{into}.{given}", into, (given,), lambda a, i=into, g=given: clamp(number(a, g), i))
    for into in kinds:
        for given in ("f16", "bf16", "f32", "f64"):
            for suffix, mode in TO_INTEGER.items():
                yield Form(f"cvt.{suffix}.{into}.{given}", into, (given,), partial(_to_integer, into, given, mode))
    for given in kinds:
        for into in ("f16", "bf16", "f32", "f64"):
            for mode in MODES:
                yield Form(f"cvt.{mode}.{into}.{given}", into, (given,),
                           lambda a, i=into, g=given, m=mode: encode(Fraction(number(a, g)), i, m))
    for given, into in (("f64", "f32"), ("f64", "f16"), ("f32", "f16"), ("f32", "bf16"), ("f64", "bf16")):
        for mode in MODES:
            yield Form(f"cvt.{mode}.{into}.{given}", into, (given,), partial(_narrowed, given, into, mode))
    for given, into in (("f16", "f32"), ("f16", "f64"), ("f32", "f64"), ("bf16", "f32"), ("bf16", "f64")):
        yield Form(f"cvt.{into}.{given}", into, (given,), partial(_narrowed, given, into, "rn"))
    for kind in ("f32", "f64", "f16"):
        for suffix, mode in TO_INTEGER.items():
            yield Form(f"cvt.{suffix}.{kind}.{kind}", kind, (kind,), partial(_integral, kind, mode))
    ftz = lambda bits: flushed(bits, "f32", True)
    yield Form("cvt.sat.f32.f32", "f32", ("f32",), lambda a: _unit(a, "f32"))
    yield Form("cvt.rn.ftz.f32.f64", "f32", ("f64",), lambda a: ftz(_narrowed("f64", "f32", "rn", a)))
    yield Form("cvt.rni.ftz.s32.f32", "s32", ("f32",), lambda a: _to_integer("s32", "f32", "rn", ftz(a)))
    yield Form("cvt.rp.ftz.f16.f32", "f16", ("f32",), lambda a: _narrowed("f32", "f16", "rp", ftz(a)))
    yield Form("cvt.rna.tf32.f32", "tf32", ("f32",), partial(_narrowed, "f32", "tf32", "rna"))
    yield Form("cvt.rn.tf32.f32", "tf32", ("f32",), partial(_narrowed, "f32", "tf32", "rn"))
    yield Form("cvt.rn.relu.f16.f32", "f16", ("f32",), lambda a: _relu("f16", _narrowed("f32", "f16", "rn", a)))
    for kind in ("f16", "bf16"):
        for mode in ("rn", "rz"):
            for relu in ("", ".relu"):
                yield Form(
                    f"cvt.{mode}{relu}.{kind}x2.f32",
                    f"{kind}x2",
                    ("f32",) * 2,
                    partial(_pair, kind, mode, relu, False, 16),
                )
    for kind in ("e4m3", "e5m2"):
        for relu in ("", ".relu"):
            yield Form(
                f"cvt.rn.satfinite{relu}.{kind}x2.f32",
                f"{kind}x2",
                ("f32",) * 2,
                partial(_pair, kind, "rn", relu, True, 8),
            )
        yield Form(f"cvt.rn.f16x2.{kind}x2", "f16x2", (f"{kind}x2",), partial(_unpair, kind))
    for into, _ in (("s16", 16), ("u16", 16)):
        yield Form(f"cvt.pack.sat.{into}.s32", "b32", ("s32",) * 2,
                   lambda a, b, i=into: clamp(number(a, "s32"), i) << 16 | clamp(number(b, "s32"), i))
    for into in ("u8", "s8"):
        yield Form(f"cvt.pack.sat.{into}.s32.b32", "b32", ("s32", "s32", "b32"), lambda a, b, c, i=into: (
            c << 16 & 0xFFFFFFFF | clamp(number(a, "s32"), i) << 8 | clamp(number(b, "s32"), i)))


def _pair(kind, mode, relu, saturate, width, high, low):
    parts = []
    for bits_ in (high, low):
        sign, value = decode(bits_, "f32")
        value, sign = (Fraction(0), 0) if relu and sign and value is not NAN else (value, sign)
        parts.append(encode(value, kind, mode, sign, saturate))
    return parts[0] << width | parts[1]


def _unpair(kind, a):
    low, high = (_narrowed(kind, "f16", "rn", a >> s & 255) for s in (0, 8))
    return high << 16 | low


def _round(value, mode):
    """A Fraction to an integer."""
    floor = value.numerator // value.denominator
    if mode == "rn":
        return round(value)
    return {
        "rm": floor,
        "rp": -(-value.numerator // value.denominator),
        "rz": floor if value >= 0 else -(-value.numerator // value.denominator),
    }[mode]


def _to_integer(into, given, mode, a):
    sign, value = decode(a, given)
    if value is NAN:
        return 1 << BITS[into] - 1 if given == "f64" or BITS[into] == 64 else 0
    if value is INFINITY:
        return clamp(-(1 << 70) if sign else 1 << 70, into)
    return clamp(_round(value, mode), into)


def _narrowed(given, into, mode, a):
    sign, value = decode(a, given)
    return encode(value, into, mode, sign)


def _integral(kind, mode, a):
    sign, value = decode(a, kind)
    if value is NAN or value is INFINITY:
        return encode(value, kind, sign=sign)
    return encode(Fraction(_round(value, mode)), kind, sign=sign)


def dots():
    """Dot products of bytes."""
    for a_kind in ("s32", "u32"):
        for b_kind in ("s32", "u32"):
            result = "s32" if "s32" in (a_kind, b_kind) else "u32"
            yield Form(
                f"dp4a.{a_kind}.{b_kind}",
                result,
                (a_kind, b_kind, result),
                lambda a, b, c, p=a_kind, q=b_kind: (
                    sum(_byte(a, k, p) * _byte(b, k, q) for k in range(4)) + c & 0xFFFFFFFF
                ),
            )
            for part, at in (("lo", 0), ("hi", 2)):
                yield Form(
                    f"dp2a.{part}.{a_kind}.{b_kind}",
                    result,
                    (a_kind, b_kind, result),
                    lambda a, b, c, p=a_kind, q=b_kind, s=at: (
                        sum(_half(a, k, p) * _byte(b, k + s, q) for k in range(2)) + c & 0xFFFFFFFF
                    ),
                )
