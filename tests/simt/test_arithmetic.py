"""Every arithmetic instruction, on awkward and random bits, is what exact arithmetic says: alone, stacked, guarded."""

import zlib

import numpy as np
import ptx_scalar as scalar
import pytest
from ptx_forms import forms
from ptx_scalar import BITS, FRACTION_BIAS

from minidl import simt

FORMS = list(forms())
LANES = 192
REGISTER = {1: "pred", 8: "b16", 16: "b16", 32: "b32", 64: "b64"}
FAMILIES = sorted({form.opcode.split(".")[0] for form in FORMS})


def values(kind, random, count):
    """`count` operands of a type: the awkward ones, their neighbours, random bits."""
    if kind == "pred":
        return random.integers(0, 2, count).tolist()
    if kind in ("amount", "place", "lane", "few"):
        most = {"amount": 70, "place": 300, "lane": 32, "few": 5}[kind]
        found = random.integers(-4 if kind == "few" else 0, most, count) & 0xFFFFFFFF
        return [int(v) for v in np.where(random.random(count) < 0.1, 0xFFFFFFFF if kind == "amount" else found, found)]
    bits = BITS[kind]
    base = kind.removesuffix("x2")
    if base in FRACTION_BIAS:
        width = bits // (2 if kind != base else 1)
        one = [_float(base, width, random) for _ in range(count)]
        return one if kind == base else [x | y << width for x, y in zip(one, random.permutation(np.array(one, object)))]
    top = 1 << bits
    edges = [0, 1, 2, top - 1, top - 2, top // 2, top // 2 - 1, top // 2 + 1, top // 3]
    return [edges[random.integers(len(edges))] if random.random() < 0.4 else
            int.from_bytes(random.bytes(8), "little") >> int(random.integers(0, 64)) & top - 1 for _ in range(count)]


def _float(kind, width, random):
    fraction, bias = FRACTION_BIAS[kind]
    ones, sign = (1 << width - 1 - fraction) - 1, int(random.integers(2)) << width - 1
    choice = random.random()
    if choice < 0.3:  # zeros, subnormals, one, the largest, infinities, NaN
        edges = [
            0,
            1,
            (1 << fraction) - 1,
            1 << fraction,
            (1 << fraction) + 1,
            bias << fraction,
            (bias << fraction) - 1,
            (ones << fraction) - 1,
            ones << fraction,
            ones << fraction | 1 << fraction - 1,
        ]
        return sign | edges[random.integers(len(edges))]
    exponent = (
        int(random.integers(ones)) if choice < 0.5 else int(np.clip(bias + random.integers(-12, 13), 0, ones - 1))
    )
    rest = int.from_bytes(random.bytes(8), "little") & (1 << fraction) - 1
    if random.random() < 0.4:                            # few set bits: ties and exact results
        rest &= rest >> 1 & rest >> 3 | 1 << int(random.integers(fraction))
    return sign | exponent << fraction | rest


def kernel(selected):
    """PTX that applies every form to its operands: once, then as two neighbours, then in every other lane."""
    lines, number = [], 0
    body = ["mov.u32 %lane, %tid.x;", "and.b32 %odd, %lane, 1;", "setp.eq.b32 %every, %odd, 0;"]
    for form in selected:
        rows, loads = [], []
        for kind in (*form.operands, form.result):
            bits = BITS.get(kind, 32)
            names = [f"%v{number + k}" for k in range(4)]
            lines.append(f".reg .{REGISTER[bits]} {', '.join(names)};")
            rows.append(names)
            number += 4
        for kind, names in zip(form.operands, rows):
            loads += _load(kind, names[0])
        given = ", ".join(names[0] for names in rows[:-1])
        results, last = rows[-1], BITS[form.result]
        body += loads
        body += [f"{form.opcode} {results[k]}, {given}{form.literal};" for k in (0, 1, 2)]
        body += [_zero(results[3], last), f"@%every {form.opcode} {results[3]}, {given}{form.literal};"]
        for result in (results[0], results[2], results[3]):
            body += _store(last, result)
    return f""".version 8.7
.target sm_90
.address_size 64
.visible .entry apply(.param .u64 given, .param .u64 results)
{{
.reg .pred %every;
.reg .b32 %lane, %odd, %word;
.reg .b64 %in, %out, %wide;
{chr(10).join(lines)}
ld.param.u64 %in, [given];
ld.param.u64 %out, [results];
{chr(10).join(body[:1])}
mul.wide.u32 %wide, %lane, 8;
add.u64 %in, %in, %wide;
add.u64 %out, %out, %wide;
{chr(10).join(body[1:])}
ret;
}}
"""


def _load(kind, name):
    step = [f"add.u64 %in, %in, {8 * LANES};"]
    if kind == "pred":
        return ["ld.global.b32 %word, [%in];", f"setp.ne.b32 {name}, %word, 0;", *step]
    bits = BITS.get(kind, 32)
    return [f"ld.global.b{bits} {name}, [%in];", *step]


def _zero(name, bits):
    return f"mov.pred {name}, 0;" if bits == 1 else f"mov.b{max(bits, 16)} {name}, 0;"


def _store(bits, name):
    if bits == 1:
        lines = [f"selp.b32 %word, 1, 0, {name};", "st.global.b32 [%out], %word;"]
    else:
        lines = [f"st.global.b{max(bits, 16)} [%out], {name};"]
    return [*lines, f"add.u64 %out, %out, {8 * LANES};"]


@pytest.mark.parametrize("family", FAMILIES)
def test_instructions_are_exact(family):
    selected = [form for form in FORMS if form.opcode.split(".")[0] == family]
    random = np.random.default_rng(zlib.crc32(family.encode()))
    operands = [[values(kind, random, LANES) for kind in form.operands] for form in selected]
    given = np.array([row for rows in operands for row in rows], np.uint64)
    results = np.zeros((3 * len(selected), LANES), np.uint64)
    simt.launch(simt.Module(kernel(selected)), 1, LANES, [given, results])
    wrong = []
    for number, (form, rows) in enumerate(zip(selected, operands)):
        expected = [form.reference(*lane) for lane in zip(*rows)]
        for which, row in enumerate(results[3 * number:3 * number + 3]):
            for lane, (bits, want) in enumerate(zip(row.tolist(), expected)):
                want = 0 if which == 2 and lane % 2 else want
                bits &= (1 << max(BITS[form.result], 1)) - 1
                if bits != want and not _both_nan(bits, want, form.result):
                    wrong.append(f"{form.opcode} {[hex(r[lane]) for r in rows]}: {bits:#x}, not {want:#x} ({which})")
    assert not wrong, f"{len(wrong)} wrong:\n" + "\n".join(wrong[:20])


def _both_nan(bits, want, kind):
    base = kind.removesuffix("x2")
    if base not in FRACTION_BIAS:
        return False
    width = BITS[kind] // (1 if base == kind else 2)
    parts = [(bits >> s & (1 << width) - 1, want >> s & (1 << width) - 1) for s in range(0, BITS[kind], width)]
    return all(x == y or scalar.is_nan(x, base) and scalar.is_nan(y, base) for x, y in parts)
