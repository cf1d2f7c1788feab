"""Tensor maps and copies of boxes, against boxes taken element by element; as nvcc and Triton emit them, too."""
import numpy as np
import pytest
from fixtures import module

from minidl import simt

random = np.random.default_rng(5)

# brings a box to shared memory, writes shared memory as it lies to `image`, and takes the box to a second tensor
KERNEL = """.version 8.4
.target sm_90a
.address_size 64
.visible .entry boxes(.param .align 64 .b8 from[128], .param .align 64 .b8 to[128], .param .u64 image)
{
  .reg .pred %p<4>; .reg .b32 %r<8>; .reg .b64 %rd<8>;
  .shared .align 1024 .b8 box[BYTES]; .shared .align 8 .b64 barrier;
  mov.b64 %rd1, from; cvta.param.u64 %rd1, %rd1; mov.b64 %rd2, to; cvta.param.u64 %rd2, %rd2;
  ld.param.u64 %rd3, [image];
  mov.u32 %r1, %tid.x; mov.u32 %r2, box; setp.ne.u32 %p1, %r1, 0;
  @%p1 bra $wait;
  mbarrier.init.shared.b64 [barrier], 1; fence.mbarrier_init.release.cluster;
  mbarrier.arrive.expect_tx.shared.b64 _, [barrier], BYTES;
  prefetch.tensormap [%rd1];
  cp.async.bulk.tensor.RANKd.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r2], [%rd1, {AT}], [barrier];
$wait:
  bar.sync 0;
$again:
  WAIT
  shl.b32 %r4, %r1, 2;
$copy:
  add.u32 %r5, %r2, %r4; ld.shared.b32 %r6, [%r5]; cvt.u64.u32 %rd5, %r4; add.u64 %rd5, %rd5, %rd3;
  st.global.b32 [%rd5], %r6; add.u32 %r4, %r4, 128; setp.lt.u32 %p3, %r4, BYTES; @%p3 bra $copy;
  fence.proxy.async.shared::cta; bar.sync 0;
  @%p1 bra $end;
  OUT [%rd2, {AT}], [%r2];
  cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;
$end:
  ret;
}
"""
WAIT = "mbarrier.try_wait.parity.shared.b64 %p2, [barrier], 0; @!%p2 bra $again;"


def run(x, y, box, at, swizzle=0, steps=None, fill="zero", reduce="", wait=WAIT, **options):
    """(shared memory as it lay, Result) of a launch that takes a box of x at those coordinates to y."""
    counts = [-(-n // s) for n, s in zip(box, steps or [1] * len(box))]
    image = np.zeros(int(np.prod(counts)) * x.itemsize, "uint8")
    out = "cp.async.bulk.tensor.RANKd.global.shared::cta.tile.bulk_group"
    if reduce:
        out = f"cp.reduce.async.bulk.tensor.RANKd.global.shared::cta.{reduce}.tile.bulk_group"
    text = KERNEL.replace("OUT", out).replace("BYTES", str(image.size)).replace("RANK", str(x.ndim))
    text = text.replace("AT", ", ".join(map(str, at[::-1]))).replace("WAIT", wait)
    maps = [simt.TensorMap(a, box, swizzle, steps, fill) for a in (x, y)]
    return image, simt.launch(simt.load(text), 1, 32, [*maps, image], races=True, uninit=True, counters=True, **options)


def taken(x, box, at, steps, beyond=0):
    """The box, one element after the other."""
    counts = [-(-n // s) for n, s in zip(box, steps)]
    found = np.full(counts, beyond, x.dtype)
    for place in np.ndindex(*counts):
        where = [a + p * s for a, p, s in zip(at, place, steps)]
        if all(0 <= w < n for w, n in zip(where, x.shape)):
            found[place] = x[tuple(where)]
    return found


def laid(box, swizzle):
    """Shared memory with a box in it: 16-byte pieces change places by three, two or one bits of their address."""
    raw, image = box.tobytes(), bytearray(box.nbytes)
    for at in range(0, len(raw), 16):
        bits = {0: 0, 32: 1, 64: 3, 128: 7}[swizzle]
        to = at ^ (at >> 7 & bits) << 4
        image[to:to + 16] = raw[at:at + 16]
    return np.frombuffer(image, "uint8")


CASES = {
    "1d": ("float32", (100,), (32,), (90,), 0, None),
    "2d": ("float16", (20, 40), (8, 32), (3, 5), 64, None),
    "2d before": ("float32", (20, 40), (9, 16), (-4, -3), 64, None),
    "2d bytes": ("uint8", (20, 160), (16, 128), (10, 100), 128, None),
    "2d narrow": ("float16", (20, 40), (16, 16), (8, 30), 32, None),
    "2d outside": ("float16", (20, 40), (8, 16), (30, 0), 32, None),
    "3d": ("float64", (5, 6, 8), (2, 3, 8), (4, 2, 1), 64, None),
    "3d steps": ("float32", (9, 12, 16), (5, 6, 16), (1, 2, 0), 64, (2, 3, 1)),
    "4d": ("int32", (3, 4, 5, 8), (2, 3, 2, 8), (2, -1, 1, 4), 32, None),
    "5d": ("float16", (2, 3, 4, 3, 16), (2, 2, 3, 2, 8), (1, 1, 2, 0, 9), 0, None)}


@pytest.mark.parametrize("case", CASES)
def test_boxes(case):
    dtype, shape, box, at, swizzle, steps = CASES[case]
    x = random.integers(1, 100, shape).astype(dtype)
    y = np.zeros_like(x)
    image, result = run(x, y, box, at, swizzle, steps)
    found = taken(x, box, at, steps or [1] * len(box))
    assert np.array_equal(image, laid(found, swizzle)) and result.clean
    inside = taken(np.arange(1, x.size + 1).reshape(x.shape), box, at, steps or [1] * len(box))
    expected = np.zeros_like(x).reshape(-1)
    expected[inside[inside > 0] - 1] = found[inside > 0]
    assert np.array_equal(y.reshape(-1), expected)
    assert result.counters.total("global")["bytes"] == 2 * (inside > 0).sum() * x.itemsize + 256 + image.size


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint32", "int64"])
@pytest.mark.parametrize("reduce", ["add", "min", "max"])
def test_boxes_are_added_to_what_is_there(dtype, reduce):
    x, y = (random.integers(0, 100, (12, 16)).astype(dtype) for _ in range(2))
    before, function = y.copy(), {"add": np.add, "min": np.minimum, "max": np.maximum}[reduce]
    assert run(x, y, (8, 8), (2, 4), reduce=reduce)[1].clean
    expected = before.copy()
    expected[2:10, 4:12] = function(before, x)[2:10, 4:12]
    assert np.array_equal(y, expected)


def test_elements_beyond_the_tensor_may_be_nan():
    x = np.ones((4, 8), "float16")
    image, _ = run(x, x.copy(), (4, 16), (0, 0), fill="nan")
    found = image.view("float16").reshape(4, 16)
    assert (found[:, :8] == 1).all() and np.isnan(found[:, 8:]).all()


def test_without_the_wait_the_tile_is_a_race():
    x = np.ones((20, 40), "float32")
    image, result = run(x, x.copy(), (8, 32), (0, 0), wait="")
    assert not (image.view("float32") == 1).any()
    assert any("cp.async.bulk.tensor" in str(race) for race in result.races)


@pytest.mark.parametrize("change, said", [
    ({"at": (0, 0), "box": (8, 64), "swizzle": 128}, "swizzle"), ({"at": (0, 0), "box": (300, 8)}, "box"),
    ({"at": (0, 0), "box": (8, 3)}, "box"), ({"at": (0, 0), "box": (8, 8), "steps": (1, 2)}, "steps")], ids=str)
def test_maps_that_hardware_refuses(change, said):
    x = np.ones((20, 40), "float32")
    with pytest.raises(simt.PtxError, match=said):
        run(x, x, **change)


def test_what_is_no_tensor_map_is_a_fault():
    x = np.zeros((20, 40), "float32")
    maps = [simt.TensorMap(x, (8, 8)), bytes(128)]
    text = KERNEL.replace("OUT", "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group").replace("BYTES", "256")
    text = text.replace("RANK", "2").replace("AT", "0, 0").replace("WAIT", WAIT)
    with pytest.raises(simt.Fault, match="expected a tensor map of 2 axes"):
        simt.launch(simt.load(text), 1, 32, [*maps, np.zeros(256, "uint8")])


@pytest.mark.parametrize("maker", ["committed", "nvcc"])
@pytest.mark.parametrize("at", [(0, 0), (32, 30), (-4, -3)], ids=str)
def test_cuda(maker, at):
    x, y = random.standard_normal((40, 48)).astype("float32"), np.zeros((40, 48), "float32")
    maps = [simt.TensorMap(a, (16, 32)) for a in (x, y)]
    assert simt.launch(module("tensor_maps", maker), 1, 64, [*maps, *at], races=True, uninit=True).clean
    inside = np.ix_(*(range(max(a, 0), min(a + n, size)) for a, n, size in zip(at[::-1], (16, 32), x.shape)))
    expected = np.zeros_like(x)
    expected[inside] = x[inside] + 1
    assert np.array_equal(y, expected)
