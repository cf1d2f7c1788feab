"""wgmma: every layout that a matrix descriptor can name, products under way, and what goes wrong without waits."""
import numpy as np
import pytest

from minidl import simt

N, K, BYTES = 16, 16, 16384              # one product m64n16k16 of half types, and its block's shared memory

# Copies an image into shared memory, multiplies what two descriptors name, and stores the accumulators as they lie.
KERNEL = """.version 8.4
.target sm_90a
.address_size 64
.visible .entry product(.param .u64 image, .param .u64 a, .param .u64 b, .param .u64 out)
{
  .reg .pred %p<3>; .reg .b32 %r<40>; .reg .b64 %rd<20>; .reg .f32 %f<20>;
  .shared .align 1024 .b8 memory[16384];
  ld.param.u64 %rd1, [image]; ld.param.u64 %rd2, [a]; ld.param.u64 %rd3, [b]; ld.param.u64 %rd4, [out];
  mov.u32 %r1, %tid.x; mov.u32 %r2, memory; shl.b32 %r3, %r1, 2;
$copy:
  cvt.u64.u32 %rd5, %r3; add.s64 %rd6, %rd1, %rd5; ld.global.b32 %r4, [%rd6];
  add.s32 %r5, %r2, %r3; st.shared.b32 [%r5], %r4;
  add.s32 %r3, %r3, 512; setp.lt.s32 %p1, %r3, 16384; @%p1 bra $copy;
  fence.proxy.async.shared::cta;
  bar.sync 0;
  wgmma.fence.sync.aligned;
  mov.pred %p2, 0;
  wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 {%f0,%f1,%f2,%f3,%f4,%f5,%f6,%f7}, %rd2, %rd3, 0, 1, SIGN, TA, TB;
  wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 {%f0,%f1,%f2,%f3,%f4,%f5,%f6,%f7}, %rd2, %rd3, 1, 1, SIGN, TA, TB;
  wgmma.commit_group.sync.aligned;
  wgmma.wait_group.sync.aligned 0;
  OVERWRITE
  shl.b32 %r6, %r1, 5; cvt.u64.u32 %rd7, %r6; add.s64 %rd8, %rd4, %rd7;
  st.global.v4.f32 [%rd8], {%f0,%f1,%f2,%f3}; st.global.v4.f32 [%rd8+16], {%f4,%f5,%f6,%f7};
  ret;
}
"""
MODES = {0: 16, 3: 32, 2: 64, 1: 128}    # mode -> bytes that lie together


def place(row, k, rows, transposed, mode, start):
    """(byte of element (row, k), leading and stride bytes): the canonical layouts, written out one by one."""
    wide = MODES[mode]
    along, across = (row, k) if transposed else (k, row)
    chunk, byte = divmod(2 * along, wide)
    if mode == 0:                                            # core matrices of 8 x 16 bytes, one after the other
        count = max(1, (rows if transposed else K) * 2 // 16)
        leading, stride = (128 * count, 128) if transposed else (128, 128 * count)
        return start + (across // 8 * count + chunk) * 128 + across % 8 * 16 + byte, leading, stride
    leading, stride = 8 * wide, 8 * wide * max(1, rows * 2 // wide if transposed else 1)
    at = start + across // 8 * stride + chunk * leading + across % 8 * wide + byte
    return at ^ (at // 128 % (wide // 16)) * 16, leading, stride


def laid(image, matrix, transposed, mode, start):
    """Write a matrix (rows, K) into the image; gives its descriptor."""
    rows = len(matrix)
    for row in range(rows):
        for k in range(K):
            at, leading, stride = place(row, k, rows, transposed, mode, start)
            image[at // 2] = matrix[row, k]
    return start >> 4 | leading >> 4 << 16 | stride >> 4 << 32 | mode << 62


def run(text, image, a, b, **options):
    out = np.zeros((128, 8), "float32")
    words = [np.int64(np.uint64(d).astype(np.int64)) for d in (a, b)]
    result = simt.launch(simt.load(text), 1, 128, [image, *words, out], **options)
    lane, register = np.ogrid[:128, :8]
    d = np.zeros((64, N), "float32")
    d[lane // 32 * 16 + lane % 32 // 4 + register // 2 % 2 * 8, register // 4 * 8 + lane % 4 * 2 + register % 2] = out
    return d, result


def kernel(ta=0, tb=0, sign=1, overwrite=""):
    return KERNEL.replace("TA, TB", f"{ta}, {tb}").replace("SIGN", str(sign)).replace("OVERWRITE", overwrite)


@pytest.mark.parametrize("mode_b", MODES)
@pytest.mark.parametrize("mode_a", MODES)
@pytest.mark.parametrize("ta, tb", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_every_layout(ta, tb, mode_a, mode_b):
    if tb and MODES[mode_b] > 2 * N:
        mode_b = 3                                           # (N is no wider)
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((64, K)).astype("float16"), rng.standard_normal((N, K)).astype("float16")
    image = np.zeros(BYTES // 2, "float16")
    found, result = run(kernel(ta, tb, sign=-1), image, laid(image, a, ta, mode_a, 0), laid(image, b, tb, mode_b, 8192),
                        races=True, counters=True)
    np.testing.assert_allclose(found, -2 * a.astype("float32") @ b.T.astype("float32"), rtol=1e-5, atol=1e-4)
    assert result.clean and result.counters.flops == 2 * 2 * 64 * N * K


def test_operands_that_are_overwritten_too_early_are_a_race():
    image = np.ones(BYTES // 2, "float16")
    a, b = (laid(image, np.ones((rows, K), "float16"), 0, 1, at) for rows, at in ((64, 0), (N, 8192)))
    good, _ = run(kernel(), image, a, b, races=True)
    assert (good == 2 * K).all()
    late = kernel(overwrite="wgmma.wait_group.sync.aligned 0;").replace("wgmma.wait_group.sync.aligned 0;", """
  bar.sync 0; xor.b32 %r9, %r1, 1; shl.b32 %r10, %r9, 2; add.s32 %r11, %r2, %r10;
  mov.b32 %r12, 0; st.shared.b32 [%r11], %r12;
""", 1)
    bad, result = run(late, image, a, b, races=True)
    assert result.races and "wgmma" in str(result.races[0]) and (bad != good).any()


def test_accumulators_that_are_read_too_early_are_old():
    image = np.ones(BYTES // 2, "float16")
    a, b = (laid(image, np.ones((rows, K), "float16"), 0, 1, at) for rows, at in ((64, 0), (N, 8192)))
    never, _ = run(kernel().replace("wgmma.wait_group.sync.aligned 0;", ""), image, a, b)
    assert (never != 2 * K).all()


def test_descriptors_beyond_shared_memory_are_a_fault():
    image = np.ones(BYTES // 2, "float16")
    b = laid(image, np.ones((N, K), "float16"), 0, 1, 8192)
    with pytest.raises(simt.Fault, match=r"out of bounds \(16384 bytes\).*wgmma"):
        run(kernel(), image, 16128 >> 4 | 1024 >> 4 << 32 | 1 << 62, b)
