"""Checkpoints of others: every published layout, and whatever nest Hypothesis thinks of, in every format."""
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as ml
from minidl import io
from minidl.errors import CheckpointError
from minidl.testing import checkpoints as write

FORMATS = Path(__file__).parents[1] / "parity/formats"
EXPECTED = {name: rows for name, rows in json.loads((FORMATS / "expected.json").read_text()).items()
            if not name.startswith("darknet")}
DTYPES = ("bool", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "c16", ml_dtypes.bfloat16,
          ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e4m3fnuz, ml_dtypes.float8_e5m2, ml_dtypes.float8_e5m2fnuz)


def flat(value, path=""):
    """{"state_dict/fc.weight": array} of all arrays in a nest."""
    if isinstance(value, np.ndarray):
        return {path[1:]: value}
    value = value.state_dict() if isinstance(value, io.StandIn) else value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    return {name: array for key, item in items for name, array in flat(item, f"{path}/{key}").items()}


def rows(arrays):
    return {name: [a.dtype.name, list(a.shape), hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest()[:24]]
            for name, a in arrays.items()}


def same(a, b):
    """Equal to the last bit, in type and shape."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    if isinstance(a, dict):
        return type(b) is dict and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return isinstance(b, type(a)) and len(a) == len(b) and all(map(same, a, b))
    return isinstance(b, type(a)) and repr(a) == repr(b)


def put(folder, content, name="x"):
    (folder / name).write_bytes(content)
    return folder / name


# -- published layouts ------------------------------------------------------------------

@pytest.mark.parametrize("name", EXPECTED)
def test_every_layout_gives_the_arrays_that_its_reference_gives(name):
    assert rows(flat(io.load(FORMATS / name))) == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_the_state_dict_is_found_inside(name):
    inside = {"dataparallel.pth.tar": "state_dict/", "yolov5_object_fp16.pt": "model/", "yolov8_object_fp16.pt": "ema/",
              "stylegan2_network.pkl": "G_ema/", "whisper_fp16.pt": "model_state_dict/"}.get(name, "")
    weights = io.weights(FORMATS / name)
    assert rows(weights) == {key[len(inside):]: row for key, row in EXPECTED[name].items() if key.startswith(inside)}
    assert not any(array.flags.writeable for array in weights.values())
    assert all((weights.shape(n), weights.dtype(n)) == (a.shape, a.dtype) for n, a in weights.items())


def test_a_directory_of_shards_is_as_its_index():
    index = "gpt2_sharded/model.safetensors.index.json"
    assert rows(io.weights(FORMATS / "gpt2_sharded")) == rows(io.load(FORMATS / "gpt2_sharded")) == EXPECTED[index]


def test_objects_of_unknown_classes_become_stand_ins():
    model = io.load(FORMATS / "yolov5_object_fp16.pt")["model"]
    assert model.name == "models.yolo.DetectionModel" and model.state["training"] is False
    assert repr(model) == "<models.yolo.DetectionModel, a name only>"


# -- every format, any nest -----------------------------------------------------------------

@st.composite
def any_array(draw):
    """Any bits in any dtype; axes in any order, a part, repeated along an axis."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(st.lists(st.integers(0, 3), max_size=4))
    raw = np.frombuffer(draw(st.binary(min_size=(n := int(np.prod(shape)) * dtype.itemsize), max_size=n)), np.uint8)
    array = (raw % 2 if dtype.kind == "b" else raw).copy().view(dtype).reshape(shape)
    array = array.transpose(draw(st.permutations(range(array.ndim))))
    array = array[(*[slice(draw(st.integers(0, 1)), None) for _ in array.shape], ...)]
    return np.broadcast_to(array, (2, *array.shape)) if draw(st.booleans()) else array


KEYS = st.text(st.characters(exclude_categories=["Cs"])) | st.integers(-2**63, 2**63)
LEAVES = st.none() | st.booleans() | st.integers(-2**200, 2**200) | st.floats() | st.binary() | KEYS | any_array()
NESTS = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(KEYS, inner),
                     max_leaves=12)


@settings(max_examples=150, deadline=None)
@given(nest=st.lists(NESTS))
@pytest.mark.parametrize("writer", [write.torch_zip, write.torch_legacy])
def test_any_nest_comes_back_from_the_formats_of_torch(tmp_path_factory, writer, nest):
    path = put(tmp_path_factory.getbasetemp(), writer(nest), "nest")
    assert same(nest, io.load(path))


@settings(max_examples=100, deadline=None)
@given(arrays=st.dictionaries(st.text("abc.", min_size=1).filter(lambda n: n.strip(".") == n), any_array(), min_size=1),
       packed=st.booleans())
def test_any_arrays_come_back_from_npz_and_pickles(tmp_path_factory, arrays, packed):
    arrays = {n: a for n, a in arrays.items() if a.dtype.type.__module__ == "numpy"} or {"a": np.ones(2)}
    for content in write.npz(arrays, packed), write.pickled({n: np.asarray(a, order="C") for n, a in arrays.items()}):
        path = put(tmp_path_factory.getbasetemp(), content, "arrays")
        assert same(arrays, io.load(path)) and same(arrays, dict(io.weights(path)))


def test_what_shares_memory_in_the_file_shares_it_when_loaded(tmp_path):
    whole = np.arange(6, dtype="f4").reshape(2, 3)
    loaded = io.load(put(tmp_path, write.torch_zip({"whole": whole, "turned": whole.T, "row": whole[1]})))
    loaded["whole"][:] = 7
    assert (loaded["turned"] == 7).all() and (loaded["row"] == 7).all() and loaded["row"].shape == (3,)


def test_bytes_that_are_no_bools_become_bools(tmp_path):
    bad = np.frombuffer(b"\0\1\2\xff", bool)
    path = put(tmp_path, write.torch_zip({"a": bad}))
    for array in io.load(path)["a"], io.weights(path)["a"]:
        assert array.view("u1").tolist() == [0, 1, 1, 1] and array.sum() == 3


def test_parts_of_storages_of_very_old_files(tmp_path):
    """Before torch 0.4 a storage could be a part of another one."""
    part = write.Persistent(("storage", write.Global("torch", "FloatStorage"), "0", "cpu", 6, ("1", 2, 3)))
    tensor = write.Call(write.Global("torch._utils", "_rebuild_tensor"), (part, 1, (2,), (1,)))
    system = {"little_endian": True}
    head = [write.pickled(v) for v in (0x1950a86a20f9469cfc6c, 1001, system, {"a": tensor}, ["0"])]
    content = b"".join(head) + (6).to_bytes(8, "little") + np.arange(6, dtype="f4").tobytes()
    assert io.load(put(tmp_path, content))["a"].tolist() == [3, 4]


# -- where the weights are -----------------------------------------------------------------

W, V = {"w": np.zeros(2, "f4")}, {"v": np.ones(2, "f4")}


@pytest.mark.parametrize("nest, names", [
    (W, "w"), ({"state_dict": W, "epoch": 3, "optimizer": V}, "w"), ({"model": {"state_dict": W}}, "w"),
    ({"model": V, "ema_state_dict": W}, "w"), ({"params": V, "params_ema": W}, "w"), ({"ema": None, "model": W}, "w"),
    ({"netG_state_dict": W}, "w"), ({"encoder_state_dict": W, "optimizer_state_dict": V}, "w"),
    ({"G": V, "G_ema": W}, "w"), ({"ema": write.module("models.A", W), "model": write.module("models.A", V)}, "w"),
    (write.module("torch.nn.modules.container.Sequential", W, {"b": V["v"]},
                  {"0": write.module("models.common.Conv", V), "1": None}), "w b 0.v"),
    ({"model": np.ones(1), "w": np.ones(1), "note": "text"}, "model w")], ids=repr)
@pytest.mark.parametrize("writer", [write.torch_zip, write.torch_legacy, write.pickled])
def test_nests_are_peeled(tmp_path, writer, nest, names):
    assert list(io.weights(put(tmp_path, writer(nest)))) == names.split()


@pytest.mark.parametrize("nest, key, reason", [
    ({"netG": W, "netD": V}, None, "several models: netG, netD; choose with key="),
    ({"a_state_dict": W, "b_state_dict": V}, None, "several models: a_state_dict, b_state_dict"),
    ({"epoch": 1, "weird": W}, None, "but the keys epoch, weird"), ({}, None, "an empty dict"), ([W], None, "a list"),
    (W, "G", "no 'G' in it, but the keys w")], ids=repr)
def test_where_weights_are_unclear_the_candidates_are_listed(tmp_path, nest, key, reason):
    with pytest.raises(CheckpointError, match=rf"^\[weights\] path: .*{tmp_path}.*{reason}"):
        io.weights(put(tmp_path, write.torch_zip(nest)), key)


def test_a_key_chooses(tmp_path):
    path = put(tmp_path, write.torch_zip({"netG": W, "netD": V, "other": {"part": {"state_dict": W}}}))
    assert [list(io.weights(path, key)) for key in ("netG", "netD", "other/part")] == [["w"], ["v"], ["w"]]


def test_our_own_files_have_weights_too(tmp_path):
    ml.save({"model": {"a": np.ones(2), "b": [1]}, "optimizer": {"m": np.ones(2)}}, tmp_path / "x")
    weights = io.weights(tmp_path / "x")
    assert list(weights) == ["a"] and "a" in weights and len(weights) == 1


@pytest.mark.parametrize("stem", ["model", "pytorch_model", "diffusion_pytorch_model"])
def test_hugging_faces_directories(tmp_path, stem):
    put(tmp_path, write.torch_zip(V), f"{stem}-1.bin")
    put(tmp_path, json.dumps({"weight_map": {"v": f"{stem}-1.bin"}}).encode(), f"{stem}.bin.index.json")
    assert list(io.weights(tmp_path)) == ["v"]
    ml.save(W, tmp_path / f"{stem}.safetensors")
    assert list(io.weights(str(tmp_path))) == ["w"]


@pytest.mark.parametrize("index, reason", [
    ({"weight_map": {"w": "../y"}}, "'../y', which is not beside it"), ({"weight_map": {"w": "/etc/passwd"}}, "passwd"),
    ({"weight_map": {"w": ".."}}, r"'\.\.'"), ({"weight_map": {"w": "none"}}, "no such file"),
    ({"weight_map": {"other": "y"}}, "other"), ({"weight_map": {"w": 3}}, "no index"), ({"weight_map": []}, "no index"),
    ({}, "no index")], ids=repr)
def test_a_bad_index_is_an_error(tmp_path, index, reason):
    ml.save(W, tmp_path / "y")
    path = put(tmp_path, json.dumps(index).encode(), "model.safetensors.index.json")
    for read in io.load, io.weights:
        with pytest.raises(CheckpointError, match=reason):
            read(path)


def test_a_directory_without_weights_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match=r"none of model\.safetensors, "):
        io.weights(tmp_path)


# -- memory ----------------------------------------------------------------------------------

PEAK = """
import resource, sys
import numpy as np
from minidl import io
def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) * 1024
path, shapes = sys.argv[1], [(64, 2**16)] * 8
model = {str(i): np.zeros(s, "f4") for i, s in enumerate(shapes)}      # (zeros take no memory before they are written)
open("/proc/self/clear_refs", "w").write("5")
before = peak()
weights = io.weights(path)
for name in model:
    model[name][:] = weights[name]
    weights.release(name)
assert all((model[name] == int(name) + 1).all() for name in model)
print(peak() - before)
"""


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy", "npz"])
def test_a_model_is_loaded_in_a_fifth_more_memory_than_its_file(tmp_path, form):
    """128 MiB into arrays that are there: their own pages, and never more of the file than a tensor."""
    arrays = {str(i): np.full((64, 2**16), i + 1, "f4") for i in range(8)}
    if form == "safetensors":
        ml.save(arrays, tmp_path / "x")
    else:
        put(tmp_path, {"zip": write.torch_zip, "legacy": write.torch_legacy, "npz": write.npz}[form](arrays))
    grown = int(subprocess.run([sys.executable, "-c", PEAK, str(tmp_path / "x")], check=True, capture_output=True,
                               text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}).stdout)
    assert 1.0 <= grown / (tmp_path / "x").stat().st_size < 1.2
