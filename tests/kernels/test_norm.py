"""Norm kernels at sizes beyond the ops' samples: rows that are cut into pieces, channels in parts, ragged ends."""
import numpy as np
import pytest

from minidl.dispatch import TABLE
from minidl.kernels import cpu
from minidl.op import REGISTRY
from minidl.testing.kernelcheck import check_kernel, check_threads

if not hasattr(cpu, "norm"):
    pytest.skip("the extension is not there, or without this family", allow_module_level=True)

CHANNELS = [(3, 5, 1000),                  # slices taken together
            (2, 3, 9001),                  # slices of several pieces; few channels: in parts
            (40, 37, 1), (300, 70, 1),     # columns; of several blocks of rows
            (33, 9, 7), (70, 33, 5),       # short channels, of several columns
            (5, 21, 49), (1, 2, 40), (7, 130, 12)]
ROWS = [(100, 768), (3, 4097), (2, 20000), (1000, 3), (17, 33), (1, 16), (40, 2)]


@pytest.fixture(params=cpu.isas())
def isa(request):
    before = cpu.isa()
    cpu.set_isa(request.param)
    yield
    cpu.set_isa(before)


def check(name, *inputs, **params):
    op, (kernel,) = REGISTRY[name], TABLE[name, "cpu"]
    for each in check_kernel, check_threads:
        each(kernel, op, inputs, params)


def draw(*shapes):
    rng = np.random.default_rng(sum(map(len, shapes)) + sum(shapes[0]))
    return [rng.standard_normal(s) * 2 + 5 for s in shapes]          # (a mean that E[x^2] - E[x]^2 would feel)


@pytest.mark.parametrize("shape", ROWS)
@pytest.mark.parametrize("affine", [True, False])
def test_rows(isa, shape, affine):
    x, weight, bias = draw(shape, shape[1:], shape[1:])
    check("layer_norm", x, *((weight, bias) if affine else (None, None)))
    check("rms_norm", x, weight if affine else None)


@pytest.mark.parametrize("shape", CHANNELS)
@pytest.mark.parametrize("affine", [True, False])
def test_channels(isa, shape, affine):
    x, weight, bias, mean, variance = draw(shape, *[shape[1:2]] * 4)
    given = (weight, bias) if affine else (None, None)
    check("batch_norm", x, *given)
    check("batch_norm_inference", x, mean, np.abs(variance) + 0.5, *given)
    for groups in (g for g in (1, 3, shape[1]) if shape[1] % g == 0 and shape[1] * shape[2] > g):
        check("group_norm", x, *given, num_groups=groups)
    if shape[2] > 1:
        check("instance_norm", x, *given)


def test_streamed_outputs_are_those_of_smaller_arrays(isa):
    x, weight, bias = [a.astype("float32") for a in draw((3000, 701), (701,), (701,))]
    y, mean, rstd = np.empty_like(x), *np.empty((2, 3000), "float32")
    for part in (slice(0, 3000), slice(0, 500)):
        cpu.norm.row_norm_forward(x[part], weight, bias, y[part], mean[part], rstd[part], 1e-5)
        if part.stop == 3000:
            streamed = y.copy()
    assert y.nbytes > 8 << 20 and streamed.tobytes() == y.tobytes()
