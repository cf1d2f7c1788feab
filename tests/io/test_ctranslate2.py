"""CTranslate2's files."""
import numpy as np
import pytest

from minidl import io
from minidl.errors import CheckpointError
from minidl.testing import checkpoints as write

rng = np.random.default_rng(0)


def put(folder, data):
    (folder / "model.bin").write_bytes(data)
    return folder


@pytest.mark.parametrize("dtype", ["f4", "f2", "i1", "i2", "i4"])
def test_arrays_and_second_names(tmp_path, dtype):
    arrays = {"a/weight": (9 * rng.standard_normal((3, 4, 2))).astype(dtype), "a/bias": np.zeros(0, dtype),
              "heads": np.array(6, "i2")}
    found = io.weights(put(tmp_path, write.ctranslate2(arrays, [("again", "a/weight")])))
    assert {*found} == {*arrays, "again"} and found["heads"] == 6
    for name, want in {**arrays, "again": arrays["a/weight"]}.items():
        assert found[name].dtype == want.dtype and np.array_equal(found[name], want)
    assert io.outline(tmp_path / "model.bin") == {"a/weight": None, "a/bias": None, "heads": 6, "again": None}


@pytest.mark.parametrize("shape, scales, most", [((5, 8), (5,), 127), ((5, 4, 3), (5,), 127), ((5, 8), (), 2**15 - 1)])
def test_integers_with_scales_become_what_they_stand_for(tmp_path, shape, scales, most):
    want = rng.standard_normal(shape).astype("f4")
    axes = tuple(range(len(scales), len(shape)))
    scale = most / np.abs(want).max(axes, keepdims=True)
    whole = np.rint(want * scale).astype("i1" if most < 128 else "i2")
    found = io.weights(put(tmp_path, write.ctranslate2({
        "w": whole, "w_scale": scale.reshape(scales).astype("f4"), "free_scale": np.ones(3, "f4")})))
    assert {*found} == {"w", "free_scale"} and found["w"].dtype == "f4" and found.shape("w") == shape
    assert np.abs(found["w"] - want).max() <= 0.51 / scale.min()
    np.testing.assert_array_equal(io.load(tmp_path / "model.bin")["w"], found["w"])


def test_what_is_damaged_is_refused(tmp_path):
    whole = write.ctranslate2({"a": np.ones((2, 3), "i1"), "a_scale": np.ones(2, "f4")}, [("b", "a")])
    broken = [whole[:n] for n in range(len(whole))] + [whole + b"x", write.ctranslate2({}, version=5),
              write.ctranslate2({"a": np.ones(2, "f4")}, [("b", "c")]),
              write.ctranslate2({"a": np.ones((2, 3), "i1"), "a_scale": np.ones(3, "f4")}),
              whole.replace(b"\2\0\0\0\3\0\0\0", b"\xff" * 8), whole.replace(b"\3\0\0\0\1\6", b"\3\0\0\0\x09\6")]
    for data in broken:
        with pytest.raises(CheckpointError, match=str(tmp_path)):
            io.weights(put(tmp_path, data))
