"""kernels/cpu/math.h by way of the ops made of it: stated errors in units in the last place, on every instruction set.

Run as a program, this tries every float there is, which takes hours.
"""
import math

import numpy as np
import pytest

from minidl.kernels import cpu

if not hasattr(cpu, "elementwise"):
    pytest.skip("the extension is not there, or without this family", allow_module_level=True)

INF, NAN = np.inf, np.nan
TRUTH = {                      # function -> (in float64, largest error in ulp, (x, certain value)...)
    "exp": (np.exp, 1.1, (0, 1), (INF, INF), (-INF, 0), (89, INF), (-104, 0)),
    "exp2": (np.exp2, 1.2, (0, 1), (INF, INF), (-INF, 0), (128, INF), (-149, 2.0**-149), (5, 32), (-126, 2.0**-126)),
    "expm1": (np.expm1, 1.9, (0, 0), (-0.0, -0.0), (INF, INF), (-INF, -1), (1e-40, 1e-40)),
    "log": (np.log, 1.0, (0, -INF), (-0.0, -INF), (1, 0), (INF, INF), (-1, NAN), (-INF, NAN)),
    "log1p": (np.log1p, 1.7, (0, 0), (-0.0, -0.0), (-1, -INF), (INF, INF), (-2, NAN), (-INF, NAN), (1e-40, 1e-40)),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), 2.5, (0, 0.5), (INF, 1), (-INF, 0)),
    "tanh": (np.tanh, 1.5, (0, 0), (-0.0, -0.0), (INF, 1), (-INF, -1), (1e-40, 1e-40)),
    "erf": (np.frompyfunc(math.erf, 1, 1), 1.5, (0, 0), (-0.0, -0.0), (INF, 1), (-INF, -1)),
    "sqrt": (np.sqrt, 0.51, (0, 0), (-0.0, -0.0), (INF, INF), (-1, NAN)),
}


@pytest.fixture(params=cpu.isas())
def isa(request):
    before = cpu.isa()
    cpu.set_isa(request.param)
    yield
    cpu.set_isa(before)


def evaluate(name, x):
    x = np.ascontiguousarray(x, "float32")
    y = np.empty_like(x)
    cpu.elementwise.unary_forward(cpu.elementwise.UNARY[name], x, y, 0.0, 0.0, 0.0)
    return y


def worst(name, x):
    """The largest error in ulp; infinite where the sign is wrong, or only one of result and truth is NaN."""
    with np.errstate(all="ignore"):
        x, truth = np.asarray(x, "float32"), TRUTH[name][0]
        exact, y = truth(x.astype("float64")).astype("float64"), evaluate(name, x)
        near = exact.astype("float32")
        ulp = np.where(np.isfinite(near), np.spacing(np.abs(near)), 1).astype("float64")
        apart = np.where(y == near, np.where(np.isinf(near), 0, np.abs(y - exact) / ulp), np.abs(y - exact) / ulp)
        edge = np.isinf(y) != np.isinf(near)               # the last finite float may round to infinity, and back
        apart = np.where(edge & (np.abs(exact) > 3.402e38) & (np.abs(y) > 3.402e38), 0, apart)
    wrong = (np.isnan(y) != np.isnan(exact)) | (np.signbit(y) != np.signbit(near)) & ~np.isnan(exact)
    return np.where(wrong, INF, np.where(np.isnan(exact), 0, apart)).max()


@pytest.mark.parametrize("name", TRUTH)
def test_error_over_all_floats(name, isa):
    step = 4099 * (32 if name == "erf" else 1)             # every exponent, both signs, NaNs: 2**32 / step floats
    bits = np.arange(0, 2**32, step, dtype="uint64").astype("uint32")
    rng = np.random.default_rng(0)
    usual = rng.uniform(-20, 20, 1 << (12 if name == "erf" else 18))
    assert worst(name, bits.view("float32")) <= TRUTH[name][1]
    assert worst(name, usual) <= TRUTH[name][1]


@pytest.mark.parametrize("name", TRUTH)
def test_edges(name, isa):
    x, expected = np.array([*TRUTH[name][2:], (NAN, NAN)], "float32").T
    got = evaluate(name, x)
    np.testing.assert_array_equal(got, expected)
    finite = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(got[finite]), np.signbit(expected[finite]))


if __name__ == "__main__":
    for chosen in cpu.isas()[:3]:
        cpu.set_isa(chosen)
        for name in TRUTH:
            blocks = (np.arange(i, i + 2**22, dtype="uint64").astype("uint32") for i in range(0, 2**32, 2**22))
            print(chosen, name, max(worst(name, bits.view("float32")) for bits in blocks), flush=True)
