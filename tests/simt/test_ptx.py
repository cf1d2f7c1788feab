"""PTX text in all its forms is read; what is wrong with it, or with a launch, is said with its line."""
import numpy as np
import pytest

from minidl import simt

HEAD = ".version 8.7\n.target sm_80\n.address_size 64\n"


def kernel(body, parameters=".param .u64 out", head=HEAD):
    return f"{head}.visible .entry k({parameters})\n{{\n{body}\nret;\n}}\n"


def run(body, count=1, parameters=".param .u64 out", args=(), threads=1, dtype=np.uint32, **options):
    out = np.zeros(count, dtype)
    simt.launch(simt.load(kernel(body, parameters)), 1, threads, [out, *args], **options)
    return out.tolist()


def test_forms_of_text():
    body = """
    // declarations in every form, comments between /* tokens */
    .reg .b32 a, %b, $c; .reg .u32 %r<4>;
    .reg .b64 %p; .reg .pred q, %q<2>; .reg .b16 h;
    ld.param.u64 %p, [ out + 0 ] ;
    mov.u32 a, 0x10; mov.u32 %b, 010; mov.u32 $c, 0b101;
    add.u32 a, a, %b; add.u32 a, a, $c; add.s32 a, a, -1;
    { .reg .b32 a; mov.u32 a, 1000U; { .reg .b32 %b; mov.u32 %b, 7; add.u32 a, a, %b; }
      st.global.u32 [%p+4], a; }
    setp.ne.u32 q, a, 0; @!q bra $skip;
    @q st.global.u32
        [%p], a;                      /* over
                                         lines */
$skip: mov.b32 %r0, 0f3F800000; st.global.u32 [%p + 8], %r0; bra.uni L2;
    trap;
L2: mov.b32 %r1, 12; { mov.b32 {h, _}, %r1; cvt.u32.u16 %r2, h; } add.u64 %p, %p, 16;
    st.global.u32 [%p+-4], %r2;
    """
    assert run(body, 4) == [16 + 8 + 5 - 1, 1007, 0x3F800000, 12]


def test_variables_of_a_module():
    text = HEAD + """
.global .align 4 .f32 floats[2] = {0f3F800000, 0f40000000};
.const .align 8 .b8 bytes[5] = {1, 0xFF, -3, 4};
.visible .global .u64 pointers[2] = {floats, generic(bytes)+1};
.global .s16 grid[2][3] = {{1, 2, 3}, {-4, 5, 6}};
.extern .shared .align 16 .b8 dynamic[];
.shared .b32 first;
.visible .entry k(.param .u64 out) { .reg .b64 %p, %a, %b; .reg .b32 %r<8>; .reg .f32 %f;
ld.param.u64 %p, [out]; ld.global.u64 %a, [pointers]; ld.f32 %f, [%a+4]; st.global.f32 [%p], %f;
ld.global.u64 %b, [pointers+8]; ld.global.s8 %r0, [%b]; st.global.s32 [%p+4], %r0;
ld.global.s16 %r1, [grid+6]; st.global.s32 [%p+8], %r1; mov.u32 %r2, dynamic; st.shared.u32 [%r2+4], 99;
ld.shared.u32 %r3, [dynamic+4]; st.global.u32 [%p+12], %r3; mov.u32 %r4, first; st.global.u32 [%p+16], %r4; ret; }
"""
    out = np.zeros(5, np.int32)
    simt.launch(simt.Module(text), 1, 1, [out], dynamic_shared=64)
    assert out[0] == 0x40000000 and out[1:].tolist() == [-1, -4, 99, 0]


def test_special_registers():
    names = [
        "%tid.x",
        "%tid.y",
        "%tid.z",
        "%ntid.x",
        "%ntid.y",
        "%ctaid.x",
        "%ctaid.y",
        "%nctaid.x",
        "%nctaid.y",
        "%laneid",
        "%warpid",
        "%lanemask_lt",
        "%lanemask_eq",
        "%lanemask_ge",
        "WARP_SZ",
        "%dynamic_smem_size",
    ]
    stores = "\n".join(f"mov.u32 %v, {name}; st.global.u32 [%p+{4 * k}], %v;" for k, name in enumerate(names))
    body = f""".reg .b64 %p, %o; .reg .b32 %v, %i, %x;
    ld.param.u64 %p, [out]; mov.u32 %i, %ctaid.y; mad.lo.u32 %i, %i, 3, %ctaid.x; mov.u32 %x, %tid.z;
    mad.lo.u32 %x, %x, 2, %tid.y; mad.lo.u32 %x, %x, 5, %tid.x; mad.lo.u32 %i, %i, 40, %x;
    mul.wide.u32 %o, %i, {4 * len(names)}; add.u64 %p, %p, %o;
    {stores}"""
    out = np.zeros((2, 3, 4, 2, 5, len(names)), np.uint32)
    simt.launch(simt.load(kernel(body)), (3, 2), (5, 2, 4), [out], dynamic_shared=48)
    for by, bx, z, y, x in np.ndindex(*out.shape[:-1]):
        linear = (z * 2 + y) * 5 + x
        lane = linear % 32
        assert out[by, bx, z, y, x].tolist() == [
            x,
            y,
            z,
            5,
            2,
            bx,
            by,
            3,
            2,
            lane,
            linear // 32,
            (1 << lane) - 1,
            1 << lane,
            0xFFFFFFFF & -(1 << lane),
            32,
            48,
        ]


def test_branch_tables_and_clocks():
    body = """.reg .b64 %p, %t<2>; .reg .b32 %i, %v; .reg .pred %q;
    ld.param.u64 %p, [out]; mov.u64 %t0, %clock64; mov.u32 %i, %tid.x;
    table: .branchtargets A, B, C;
    brx.idx %i, table;
    A: mov.u32 %v, 10; bra E;
    B: mov.u32 %v, 20; bra E;
    C: mov.u32 %v, 30;
    E: mad.wide.u32 %p, %i, 4, %p; mov.u64 %t1, %clock64; setp.gt.u64 %q, %t1, %t0; @%q st.global.u32 [%p], %v;"""
    assert run(body, 3, threads=3) == [10, 20, 30]
    with pytest.raises(simt.Fault, match="beyond its table of 3"):
        run(body, 4, threads=4)


def test_labels_belong_to_the_braces_around_them():
    body = """.reg .b64 %p; .reg .b32 %i, %v; .reg .pred %q;
    ld.param.u64 %p, [out]; mov.u32 %i, %tid.x; mov.u32 %v, 0; setp.eq.u32 %q, %i, 0;
    { @%q bra again; add.u32 %v, %v, 1; again: }
    { bra past; table: .branchtargets again, over; past: brx.idx %i, table;
      again: add.u32 %v, %v, 20; over: { bra over; add.u32 %v, %v, 300; over: } }
    over: mad.wide.u32 %p, %i, 4, %p; st.global.u32 [%p], %v;"""
    assert run(body, 2, threads=2) == [20, 1]


@pytest.mark.parametrize("body, line, what", [
    ("bogus.s32 %r0, %r1;", 7, "bogus.s32"),
    ("mma.sp.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32 {%r0}, {%r0}, {%r0}, {%r0}, %r0, 0;", 7, "mma.sp"),
    ("mma.sync.aligned.m16n8k32.row.col.f32.e3m4.e3m4.f32 {%r0}, {%r0}, {%r0}, {%r0};", 7, "not a form of mma"),
    ("tex.cube.v4.f32.f32 {%r0,%r0,%r0,%r0}, [0, {%r0, %r0, %r0, %r0}];", 7, "tex.cube"),
    ("multimem.red.relaxed.sys.global.add.f32 [0], %r0;", 7, "multimem.red"),
    ("red.async.relaxed.cluster.global.add.u32 [0], %r0;", 7, "red.async"),
])
def test_unknown_instructions_are_named_with_their_line(body, line, what):
    text = kernel(f".reg .b32 %r<4>;\n{body}")
    with pytest.raises(simt.UnknownInstruction, match=f"line {line}.*") as caught:
        simt.launch(simt.load(text), 1, 1, [None])
    assert what in str(caught.value)
    skipped = kernel(f".reg .b32 %r<4>; bra past;\n{body}\npast:")
    simt.launch(simt.load(skipped), 1, 1, [None])        # what is not reached does no harm


@pytest.mark.parametrize("text, line, what", [
    ("nonsense", 1, "nonsense"),
    (HEAD + ".visible .entry k(\n.param .u64 a) {\n ret;", 5, "no end"),
    (kernel("\n\nbra nowhere;"), 8, "no label"),
    (kernel(".reg .nothing %r;"), 6, "declaration"),
    (kernel("add.u32 %r0, [%r1, %r2;"), 6, "address"),
    (HEAD + ".global .f32 x = 1.5;\n", 4, "decimal float"),
])
def test_what_is_no_ptx_is_said_with_its_line(text, line, what):
    with pytest.raises(simt.PtxError, match=f"line {line}: .*{what}"):
        simt.Module(text + "\n").program()


@pytest.mark.parametrize("body, what", [
    (".reg .f32 %f; mov.b64 %f, 1;", "%f.*b64"),
    ("mov.u32 %r0, 1;", "%r0"),
    (".reg .b32 %r; mov.u32 %r, %nothing;", "%nothing"),
    (".reg .b32 %r; mov.u32 %r, missing;", "missing"),
])
def test_wrong_operands(body, what):
    with pytest.raises(simt.PtxError, match=what):
        simt.launch(simt.load(kernel(body)), 1, 1, [None])


PARAMETERS = ".param .u64 out, .param .f32 f, .param .u32 u, .param .align 8 .b8 s[12], .param .f64 d, .param .b16 h"
COPY = """.reg .b64 %p, %d; .reg .b32 %r<4>; .reg .b16 %h;
ld.param.u64 %p, [out]; ld.param.b32 %r0, [f]; ld.param.u32 %r1, [u]; ld.param.u32 %r2, [s+8]; ld.param.b64 %d, [d];
ld.param.b16 %h, [h]; st.global.b32 [%p], %r0; st.global.b32 [%p+4], %r1; st.global.b32 [%p+8], %r2;
 st.global.b64 [%p+16], %d;
st.global.b16 [%p+24], %h;"""


def test_arguments():
    struct = np.array([1, 2, 3], np.uint32)
    out = run(COPY, 7, PARAMETERS, [1.5, 2**32 - 1, struct.tobytes(), 2, np.float16(1)])
    assert out[:3] == [0x3FC00000, 2**32 - 1, 3] and out[4:] == [0, 0x40000000, 0x3C00]
    assert run(COPY, 7, PARAMETERS, [np.float64(1.5), np.int8(-1), struct.tobytes(), 2, 1])[:2] == [
        0x3FC00000,
        2**32 - 1,
    ]
    module = simt.load(kernel(COPY, PARAMETERS))
    good = [np.zeros(7, np.uint32), 1.0, 1, bytes(12), 1.0, 1]
    for place, value in ((2, 1.5), (2, 2**32), (3, bytes(13)), (3, 5), (1, "text")):
        with pytest.raises((simt.PtxError, ValueError, TypeError), match=r"\[simt|could not convert"):
            simt.launch(module, 1, 1, [*good[:place], value, *good[place + 1:]])
    for grid, block, args in (((0,), 1, good), (1, (1, 2, 3, 4), good), (1, 2048, good), (1, 1, good[:-1])):
        with pytest.raises(simt.PtxError, match=r"\[simt.launch\] \w+: expected"):
            simt.launch(module, grid, block, args)
    with pytest.raises(simt.PtxError, match="expected one of k, got 'other'"):
        simt.launch(module, 1, 1, good, "other")


def test_arrays_keep_their_identity():
    """Views and repeated arrays are one memory; strided arrays are written back; read-only ones may be read."""
    body = """.reg .b64 %x, %y; .reg .b32 %v;
    ld.param.u64 %x, [out]; ld.param.u64 %y, [y]; ld.global.u32 %v, [%x]; add.u32 %v, %v, 1; st.global.u32 [%y], %v;"""
    add = simt.load(kernel(body, ".param .u64 out, .param .u64 y"))
    x = np.arange(8, dtype=np.uint32)
    simt.launch(add, 1, 1, [x, x])
    simt.launch(add, 1, 1, [x[2:6], x[3:]])
    simt.launch(add, 1, 1, [x, x[4::2]])
    assert x.tolist() == [1, 1, 2, 3, 2, 5, 6, 7]
    simt.launch(add, 1, 1, [x, x[2:]], races=True)
    x.flags.writeable = False
    simt.launch(add, 1, 1, [x, np.zeros(1, np.uint32)])
    with pytest.raises(ValueError, match="read-only"):
        simt.launch(add, 1, 1, [np.zeros(1, np.uint32), x])


def test_calls_with_register_parameters():
    text = HEAD + """
.func (.reg .u32 result) twice_plus(.reg .u32 a, .reg .u32 b) { add.u32 result, a, a; add.u32 result, result, b; ret; }
.visible .entry k(.param .u64 out) { .reg .b64 %p; .reg .u32 %r<3>; ld.param.u64 %p, [out]; mov.u32 %r0, %tid.x;
call (%r1), twice_plus, (%r0, 5); mad.wide.u32 %p, %r0, 4, %p; st.global.u32 [%p], %r1; ret; }
"""
    out = np.zeros(40, np.uint32)
    simt.launch(simt.Module(text), 1, 40, [out])
    assert out.tolist() == [2 * t + 5 for t in range(40)]


def test_modules_from_files(tmp_path):
    path = tmp_path / "k.ptx"
    path.write_text(kernel(".reg .b64 %p; ld.param.u64 %p, [out]; st.global.u32 [%p], 7;"))
    for source in (path, str(path), path.read_text()):
        out = np.zeros(1, np.uint32)
        simt.launch(source, 1, 1, [out])
        assert out[0] == 7
    assert simt.load(path).kernels == ["k"]
    with pytest.raises(OSError):
        simt.load(tmp_path / "missing.ptx")
    bad = tmp_path / "bad.cu"
    bad.write_text("this is no CUDA\n")
    with pytest.raises(simt.CompileError):
        simt.load(bad)

