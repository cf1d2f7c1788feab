"""Matrix instructions: every shape and type of mma.sync against the fragments of the manual, ldmatrix and kin, wmma."""
import numpy as np
import pytest
from fixtures import MAKERS, module

from minidl import simt

random = np.random.default_rng(11)
LANE = np.arange(32)
G, T = LANE // 4, LANE % 4
WORDS = {"f16": 2, "bf16": 2, "tf32": 1, "s8": 4, "u8": 4, "f64": 1, "e4m3": 4, "e5m2": 4, "f32": 1, "s32": 1,
         "s4": 8, "u4": 8, "b1": 32}


def halves(i, per):
    """Rows of the usual A fragment: the second register's elements are 8 rows below."""
    return 8 * (i // per % 2)


# shape -> for element i of a lane: (row, column) of A; (row, column) of B
FRAGMENTS = {
    "m8n8k4": (lambda i: (G, T), lambda i: (T, G)),
    "m16n8k4 f64": (lambda i: (G + 8 * i, T), lambda i: (T, G)),
    "m16n8k8 f64": (lambda i: (G + 8 * (i % 2), T + 4 * (i // 2)), lambda i: (T + 4 * i, G)),
    "m16n8k16 f64": (lambda i: (G + 8 * (i % 2), T + 4 * (i // 2)), lambda i: (T + 4 * i, G)),
    "m16n8k8": (lambda i: (G + 8 * (i >= 2), 2 * T + i % 2), lambda i: (2 * T + i % 2, G)),
    "m16n8k16": (
        lambda i: (G + halves(i, 2), 2 * T + i % 2 + 8 * (i >= 4)),
        lambda i: (2 * T + i % 2 + 8 * (i >= 2), G),
    ),
    "m16n8k4 tf32": (lambda i: (G + 8 * i, T), lambda i: (T, G)),
    "m16n8k8 tf32": (lambda i: (G + 8 * (i % 2), T + 4 * (i >= 2)), lambda i: (T + 4 * i, G)),
    "m8n8k16": (lambda i: (G, 4 * T + i), lambda i: (4 * T + i, G)),
    "m16n8k16 s8": (lambda i: (G + 8 * (i >= 4), 4 * T + i % 4), lambda i: (4 * T + i, G)),
    "m16n8k32": (
        lambda i: (G + halves(i, 4), 4 * T + i % 4 + 16 * (i >= 8)),
        lambda i: (4 * T + i % 4 + 16 * (i >= 4), G),
    ),
    "m8n8k32": (lambda i: (G, 8 * T + i), lambda i: (8 * T + i, G)),
    "m16n8k32 s4": (lambda i: (G + halves(i, 8), 8 * T + i % 8), lambda i: (8 * T + i, G)),
    "m16n8k64": (
        lambda i: (G + halves(i, 8), 8 * T + i % 8 + 32 * (i >= 16)),
        lambda i: (8 * T + i % 8 + 32 * (i >= 8), G),
    ),
    "m8n8k128": (lambda i: (G, 32 * T + i), lambda i: (32 * T + i, G)),
    "m16n8k128": (lambda i: (G + halves(i, 32), 32 * T + i % 32), lambda i: (32 * T + i, G)),
    "m16n8k256": (
        lambda i: (G + halves(i, 32), 32 * T + i % 32 + 128 * (i >= 64)),
        lambda i: (32 * T + i % 32 + 128 * (i >= 32), G),
    ),
}
PRODUCTS = [("m16n8k8", kind, acc) for kind in ("f16", "bf16") for acc in ("f32",)] + [
    ("m16n8k16", "f16", "f32"), ("m16n8k16", "f16", "f16"), ("m16n8k8", "f16", "f16"), ("m16n8k16", "bf16", "f32"),
    ("m16n8k4", "tf32", "f32"), ("m16n8k8", "tf32", "f32"), ("m8n8k4", "f64", "f64"), ("m16n8k4", "f64", "f64"),
    ("m16n8k8", "f64", "f64"), ("m16n8k16", "f64", "f64"), ("m8n8k16", "s8", "s32"), ("m16n8k16", "s8", "s32"),
    ("m16n8k32", "s8", "s32"), ("m16n8k32", "u8", "s32"), ("m16n8k32", "e4m3", "f32"), ("m16n8k32", "e5m2", "f32"),
    ("m8n8k32", "s4", "s32"), ("m8n8k32", "u4", "s32"), ("m16n8k32", "s4", "s32"), ("m16n8k64", "s4", "s32"),
    ("m16n8k64", "u4", "s32")] + [(shape, f"b1.{op}.popc", "s32") for shape in ("m8n8k128", "m16n8k128", "m16n8k256")
                                  for op in ("and", "xor")]


def encoded(values, kind):
    """Numbers that `kind` holds exactly, as its codes."""
    if kind == "bf16":
        return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    if kind in ("e4m3", "e5m2"):                         # small integers and halves: found in a table of all codes
        fraction, bias = {"e4m3": (3, 7), "e5m2": (2, 15)}[kind]
        codes = np.arange(0x70)
        exponent, rest = codes >> fraction, codes & (1 << fraction) - 1
        table = np.where(
            exponent > 0, (1 + rest / (1 << fraction)) * 2.0 ** (exponent - bias), rest * 2.0 ** (1 - bias - fraction)
        )
        place = np.abs(np.abs(values)[..., None] - table).argmin(-1)
        return (place | np.where(values < 0, 0x80, 0)).astype(np.uint8)
    dtype = {"f16": np.float16, "tf32": np.float32, "f32": np.float32, "f64": np.float64, "s8": np.int8, "u8": np.uint8,
             "s32": np.int32, "s4": np.int8, "u4": np.uint8, "b1": np.uint8}[kind]
    return values.astype(dtype)


def spread(matrix, places, count, per):
    """A matrix in the registers of the lanes: (registers, 32) words."""
    elements = np.stack([matrix[places(i)] for i in range(count)], 1)            # (32, count)
    if per >= 8:                                         # several to a byte
        bits = np.unpackbits(elements.view(np.uint8)[..., None], axis=2, bitorder="little")[:, :, :32 // per]
        elements = np.packbits(bits.reshape(32, -1), axis=1, bitorder="little")
    words = np.ascontiguousarray(elements).view(np.uint64 if matrix.itemsize == 8 else np.uint32)
    assert words.shape[1] == count // per
    return words.T.copy()


@pytest.mark.parametrize("times", [1, 4], ids=["alone", "unrolled"])
@pytest.mark.parametrize("shape, kind, result", PRODUCTS, ids=str)
def test_mma(shape, kind, result, times):
    m, n, k = (int(x) for x in shape[1:].replace("n", " ").replace("k", " ").split())
    kind, _, op = kind.partition(".")
    a_at, b_at = FRAGMENTS[f"{shape} {kind}"] if f"{shape} {kind}" in FRAGMENTS else FRAGMENTS[shape]
    c_at = lambda i: (G + 8 * (i >= 2), 2 * T + i % 2)
    most = 2 if kind in ("e4m3", "e5m2") else 127 if kind == "s8" else 8
    least, most = {"u8": (0, 255), "s4": (-8, 7), "u4": (0, 15), "b1": (0, 1)}.get(kind, (-most, most))
    a, b = ([random.integers(least, most + 1, s).astype(float) for _ in range(times)] for s in ((m, k), (k, n)))
    c = random.integers(-50, 50, (m, n)).astype(float)
    word, wide = ("b64", 8) if kind == "f64" else ("b32", 4)
    per, per_c = WORDS[kind], WORDS[result]
    registers = [m * k // 32 // per, k * n // 32 // per, m * n // 32 // per_c]
    rows = (
        [spread(encoded(x, kind), a_at, m * k // 32, per) for x in a]
        + [spread(encoded(x, kind), b_at, k * n // 32, per) for x in b]
        + [spread(encoded(c, result), c_at, m * n // 32, per_c)]
    )
    given, out = np.concatenate(rows), np.zeros((times * times * registers[2], 32), rows[0].dtype)
    text = product(shape, kind, result, times, registers, word, wide, f".{op}" if op else "")
    simt.launch(simt.Module(text), 1, 32, [given, out])
    for pair in range(times * times):
        i, j = divmod(pair, times)
        d = (a[i][:, :, None] != b[j]).sum(1) if op == "xor.popc" else a[i] @ b[j]
        expected = spread(encoded(d + c, result), c_at, m * n // 32, per_c)
        assert np.array_equal(out[pair * registers[2]:(pair + 1) * registers[2]], expected), (i, j)


def product(shape, kind, result, times, registers, word, wide, op=""):
    """PTX: load the registers of `times` A and B and of one C, multiply all pairs, store the registers of each D."""
    count = times * sum(registers[:2]) + registers[2]
    names = [f"%v{i}" for i in range(count)]
    cut = lambda start, size: "{" + ", ".join(names[start:start + size]) + "}"
    a = [cut(i * registers[0], registers[0]) for i in range(times)]
    b = [cut(times * registers[0] + j * registers[1], registers[1]) for j in range(times)]
    c, body = cut(count - registers[2], registers[2]), []
    for i in range(times):
        for j in range(times):
            d = [f"%d{(i * times + j) * registers[2] + q}" for q in range(registers[2])]
            body.append(
                f"mma.sync.aligned.{shape}.row.col.{result}.{kind}.{kind}.{result}{op} "
                f"{{{', '.join(d)}}}, {a[i]}, {b[j]}, {c};"
            )
    loads = [f"ld.global.{word} {name}, [%in+{32 * wide * i}];" for i, name in enumerate(names)]
    stores = [f"st.global.{word} [%out+{32 * wide * i}], %d{i};" for i in range(times * times * registers[2])]
    return f""".version 8.7
.target sm_90
.address_size 64
.visible .entry multiply(.param .u64 given, .param .u64 results)
{{
.reg .b32 %lane;
.reg .b64 %in, %out, %at;
.reg .{word} %v<{count}>, %d<{times * times * registers[2]}>;
ld.param.u64 %in, [given];
ld.param.u64 %out, [results];
mov.u32 %lane, %tid.x;
mul.wide.u32 %at, %lane, {wide};
add.u64 %in, %in, %at;
add.u64 %out, %out, %at;
{chr(10).join(loads + body + stores)}
ret;
}}
"""


def test_integers_clamp_if_they_saturate():
    text = product("m16n8k32", "s8", "s32", 1, [4, 2, 4], "b32", 4)
    words = np.concatenate([np.full((6, 32), 0x7F7F7F7F, np.uint32), np.full((4, 32), (1 << 31) - 1, np.uint32)])
    for modifier, expected in (("", -(1 << 31) + 32 * 127 * 127 - 1), (".satfinite", (1 << 31) - 1)):
        out = np.zeros((4, 32), np.int32)
        simt.launch(simt.Module(text.replace(".row.col.", f".row.col{modifier}.")), 1, 32, [words, out])
        assert (out == expected).all()


TILES = """.version 8.7
.target sm_90
.address_size 64
.visible .entry move(.param .u64 given, .param .u64 results)
{
.reg .b32 %%lane, %%r<8>, %%at;
.reg .b64 %%in, %%out, %%shift;
.shared .align 16 .b8 tiles[1024];
ld.param.u64 %%in, [given];
ld.param.u64 %%out, [results];
mov.u32 %%lane, %%tid.x;
mul.wide.u32 %%shift, %%lane, 16;
add.u64 %%in, %%in, %%shift;
add.u64 %%out, %%out, %%shift;
mov.u32 %%at, tiles;
mad.lo.u32 %%at, %%lane, 16, %%at;
%s
ret;
}
"""
ROWS_IN = "ld.global.v4.b32 {%r0,%r1,%r2,%r3}, [%in]; st.shared.v4.b32 [%at], {%r0,%r1,%r2,%r3}; bar.sync 0;"
ROWS_OUT = "bar.sync 0; ld.shared.v4.b32 {%r0,%r1,%r2,%r3}, [%at]; st.global.v4.b32 [%out], {%r0,%r1,%r2,%r3};"
FRAGMENT_IN = "ld.global.v4.b32 {%r4,%r5,%r6,%r7}, [%in];"
FRAGMENT_OUT = "st.global.v4.b32 [%out], {%r4,%r5,%r6,%r7};"


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_tiles_to_and_from_shared_memory(count, transposed):
    """Four tiles of 8x8; lane 8 j + i has row i of tile j, and after ldmatrix pairs (g, 2 t) of each tile."""
    tiles = random.integers(0, 1 << 16, (4, 8, 8)).astype(np.uint16)
    fragments = (tiles.swapaxes(1, 2) if transposed else tiles).reshape(4, 32, 2)
    fragments = np.ascontiguousarray(fragments).view(np.uint32)[:, :, 0].T.copy()            # (lanes, tiles)
    registers = "{" + ",".join(f"%r{4 + j}" for j in range(count)) + "}"
    form = f"sync.aligned.m8n8.x{count}{'.trans' if transposed else ''}.shared.b16"
    clear = " ".join(f"mov.b32 %r{4 + j}, 0;" for j in range(4))
    out = np.zeros((32, 4), np.uint32)
    body = f"{ROWS_IN} {clear} ldmatrix.{form} {registers}, [%at]; {FRAGMENT_OUT}"
    assert simt.launch(simt.Module(TILES % body), 1, 32, [tiles, out], races=True, uninit=True).clean
    assert np.array_equal(out[:, :count], fragments[:, :count]) and not out[:, count:].any()
    back = np.zeros((4, 8, 8), np.uint16)
    body = (
        f"{FRAGMENT_IN} st.shared.v4.b32 [%at], {{0,0,0,0}}; bar.sync 0; stmatrix.{form} [%at], {registers}; {ROWS_OUT}"
    )
    assert simt.launch(simt.Module(TILES % body), 1, 32, [fragments, back], races=True, uninit=True).clean
    assert np.array_equal(back[:count], tiles[:count]) and not back[count:].any()


def test_movmatrix():
    tile = random.integers(0, 1 << 16, (8, 8)).astype(np.uint16)
    given, out = np.zeros((32, 4), np.uint32), np.zeros((32, 4), np.uint32)
    given[:, 0] = tile.reshape(32, 2).copy().view(np.uint32)[:, 0]
    body = f"{FRAGMENT_IN} movmatrix.sync.aligned.m8n8.trans.b16 %r4, %r4; {FRAGMENT_OUT}"
    simt.launch(simt.Module(TILES % body), 1, 32, [given, out])
    assert np.array_equal(out[:, 0].copy().view(np.uint16).reshape(8, 8), tile.T)


# kernel -> (M, N, K), type of A and B, type of C, whether A, B and C are stored by columns
WMMA = {
    "half_float": ((16, 16, 16), "f16", np.float32, "nTn"),
    "half_float_cr": ((16, 16, 16), "f16", np.float32, "TnT"),
    "half_half": ((16, 16, 16), "f16", np.float16, "nnn"),
    "half_tall": ((32, 8, 16), "f16", np.float32, "nTn"),
    "half_wide": ((8, 32, 16), "f16", np.float32, "TTT"),
    "bfloat": ((16, 16, 16), "bf16", np.float32, "nnn"),
    "bfloat_tall": ((32, 8, 16), "bf16", np.float32, "Tnn"),
    "signed_bytes": ((16, 16, 16), "s8", np.int32, "nTn"),
    "unsigned_bytes": ((8, 32, 16), "u8", np.int32, "nnT"),
    "tensor_float": ((16, 16, 8), "f32", np.float32, "nTn"),
    "doubles": ((8, 8, 4), "f64", np.float64, "nTn"),
}


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("kernel", WMMA)
def test_wmma(kernel, maker):
    (m, n, k), kind, result, layout = WMMA[kernel]
    least = 0 if kind == "u8" else -8
    a, b, c = (random.integers(least, 9, s).astype(float) for s in ((m, k), (k, n), (m, n)))
    stored = [np.ascontiguousarray(x.T if by == "T" else x) for x, by in zip((a, b, c), layout)]
    d = np.zeros(stored[2].shape, result)
    args = [encoded(stored[0], kind), encoded(stored[1], kind), stored[2].astype(result), d]
    assert simt.launch(module("wmma", maker), 1, 32, args, kernel, races=True, uninit=True).clean
    assert np.array_equal(d.T if layout[2] == "T" else d, 2 * (a @ b + c))


@pytest.mark.parametrize("maker", MAKERS)
def test_wmma_through_shared_memory(maker):
    a, b, c = (
        random.integers(-4, 5, (64, 48)).astype(np.float16),
        random.integers(-4, 5, (48, 96)).astype(np.float16),
        np.zeros((64, 96), np.float32),
    )
    assert simt.launch(module("wmma", maker), (3, 2), 128, [a, b, c, 64, 96, 48], "gemm", races=True, uninit=True).clean
    assert np.array_equal(c, a.astype(float) @ b.astype(float))
