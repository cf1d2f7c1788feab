"""Checkpoints: what goes in comes out; the file is old or new, never between; a bad file is an error."""
import errno
import itertools
import os
import random
import resource
import signal
import stat
import time
import timeit
from contextlib import contextmanager

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from minidl import Tensor
from minidl.errors import CheckpointError
from minidl.io import load, save

DTYPES = ("bool", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", ">i4", ">f8", ">c8",
          ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e4m3fnuz, ml_dtypes.float8_e5m2,
          ml_dtypes.float8_e5m2fnuz, ml_dtypes.float8_e8m0fnu)


@st.composite
def any_array(draw):
    """Any bits in any dtype, axes in any order, some with steps."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3))
    count = int(np.prod(shape)) * dtype.itemsize
    array = np.frombuffer(draw(st.binary(min_size=count, max_size=count)), np.uint8)
    array = (array % 2 if dtype.kind == "b" else array).view(dtype).reshape(shape)
    array = array.transpose(draw(st.permutations(range(array.ndim))))
    steps = [slice(None, None, draw(st.sampled_from([1, 2, -1]))) for _ in shape]
    return array[(*steps, ...)]


KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/_"))  # (bad names: below)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), any_array())
STATES = st.recursive(LEAVES, lambda inner: st.one_of(
    st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(KEYS, inner)), max_leaves=15)


def same(a, b):
    """Equal to the last bit and in type; byte order apart."""
    if isinstance(a, np.ndarray):
        alike = type(b) is np.ndarray and (b.dtype.name, b.shape) == (a.dtype.name, a.shape)
        return alike and b.dtype.isnative and np.asarray(a, b.dtype).tobytes() == b.tobytes()
    if isinstance(a, dict):
        return type(b) is dict and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(b) is type(a) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and repr(a) == repr(b)


# -- round trips ----------------------------------------------------------------------

@settings(max_examples=300, deadline=None)
@given(state=STATES)
def test_any_state_comes_back_exactly(tmp_path_factory, state):
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    save(state, path)
    assert same(state, load(path))


def test_every_dtype_of_the_format_comes_back(tmp_path):
    state = {str(i): np.arange(1, 7).reshape(2, 3).astype(dtype) for i, dtype in enumerate(DTYPES)}
    save(state, tmp_path / "x")
    assert same(state, load(tmp_path / "x"))


def test_what_is_loaded_may_be_written_to(tmp_path):
    save(np.zeros(3), tmp_path / "x")
    array = load(tmp_path / "x")
    array += 1
    assert array.flags.owndata and (load(tmp_path / "x") == 0).all()


def test_tensors_and_numpy_numbers_become_arrays(tmp_path):
    save({"w": Tensor([1.0, 2.0]), "loss": np.float32(0.5), "n": np.int64(3)}, str(tmp_path / "x"))
    expected = {"w": np.array([1, 2], "f4"), "loss": np.array(0.5, "f4"), "n": np.array(3)}
    assert same(expected, load(tmp_path / "x"))


def test_a_flat_mapping_is_an_ordinary_safetensors_file(tmp_path):
    state = {"b/c.weight": np.ones((2, 3), "f4"), "a": np.arange(3), "d": np.array(2.0)}
    save(state, tmp_path / "x")
    theirs = safetensors.numpy.load_file(tmp_path / "x")
    assert same(state, {name: theirs[name] for name in state})
    safetensors.numpy.save_file(state, tmp_path / "y")
    ours = load(tmp_path / "y")
    assert same(state, {name: ours[name] for name in state})


def test_the_mode_is_that_of_any_new_file_and_then_stays(tmp_path):
    save({}, tmp_path / "x")
    (tmp_path / "plain").touch()
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "x").chmod(0o640)
    save({}, tmp_path / "x")
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "last").symlink_to(tmp_path / "there" / "x")
    save([1], tmp_path / "last")
    assert (tmp_path / "last").is_symlink() and load(tmp_path / "there" / "x") == [1]


# -- what cannot be saved ---------------------------------------------------------------

def cyclic():
    state = []
    state.append(state)
    return state


@pytest.mark.parametrize("state, place", [
    ({1: 2}, r"state: .*keys that are strings.* key 1"),
    ({"a": [0, {1, 2}]}, r"state\['a'\]\['1'\]: .*got set"),
    ({"a": b"x"}, r"state\['a'\]: .*got bytes"),
    ({"a": np.array(["x"])}, r"state\['a'\]: expected a dtype of the format"),
    ({"a": np.array([None])}, r"state\['a'\]: expected a dtype of the format"),
    ({"a": np.ones(2, complex)}, r"state\['a'\]: expected a dtype of the format .* got complex128"),
    ({"a/b": np.ones(1), "a": {"b": np.ones(1)}}, r"'a/b', which is taken"),
    ({"__metadata__": np.ones(1)}, "which is taken"),
    ({"\ud800": np.ones(1)}, "surrogates"),
    ([10**5000], "numbers of ordinary length"),
    (cyclic(), "a finite nest"), ([[]] * 500_001, "a finite nest .* Numbers belong into arrays"),
    ([1] * 2_000_002, "a finite nest"), (["x" * 2**25], "a finite nest"),
])
def test_what_cannot_be_saved_is_named_and_the_old_file_stays(tmp_path, state, place):
    with unchanged(tmp_path / "x"), pytest.raises(CheckpointError, match=rf"^\[save\] .*{place}"):
        save(state, tmp_path / "x")


# -- when writing fails -------------------------------------------------------------------

@contextmanager
def unchanged(path):
    """A checkpoint is at `path`; afterwards it is there byte for byte, and nothing else beside it."""
    save({"old": np.arange(3)}, path)
    before = path.read_bytes()
    yield
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def test_a_full_disk_keeps_the_old_file(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with unchanged(tmp_path / "x"), pytest.raises(CheckpointError, match=r"^\[save\] path: .*File too large"):
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
            save({"big": np.zeros(50_000)}, tmp_path / "x")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("name", ["fsync", "replace", "chmod", "mkdir"])
def test_a_failing_disk_keeps_the_old_file(tmp_path, monkeypatch, name):
    with unchanged(tmp_path / "x"), pytest.raises(CheckpointError, match=r"^\[save\] path: .*Input/output"):
        monkeypatch.setattr(os, name, failing(getattr(os, name), range(1000)))
        save("new", tmp_path / "x")


def failing(function, which, code=errno.EIO):
    """The function; but its calls number `which` fail."""
    calls = itertools.count()

    def call(*args, **kwargs):
        if next(calls) in which:
            raise OSError(code, os.strerror(code))
        return function(*args, **kwargs)

    call.calls = calls
    return call


@pytest.mark.parametrize("name", ["open", "fsync", "replace", "chmod", "mkdir", "stat", "rmdir"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS], ids=errno.errorcode.get)
def test_an_error_at_any_call_leaves_old_or_new(tmp_path, monkeypatch, name, code):
    """Whatever fails: an error and the old file, or none and the new; the next save clears what is left."""
    for which in range(100):
        save("old", tmp_path / "x")
        assert os.listdir(tmp_path) == ["x"]
        call = failing(getattr(os, name), [which], code)
        with monkeypatch.context() as patch:
            patch.setattr(os, name, call)
            try:
                save("new", tmp_path / "x")
                outcome = "new"
            except CheckpointError as error:
                assert str(error).startswith("[save] path: ") and os.strerror(code) in str(error)
                outcome = "old"
        assert load(tmp_path / "x") == outcome
        if next(call.calls) <= which:                  # there was no such call any more
            break
    assert which > 0 and outcome == "new"


@pytest.mark.parametrize("path", [
    "/proc/minidl/x", "/proc/x", "/dev/null", "", "\0",
    "{tmp}/file/x", "{tmp}/folder", "{tmp}/none/x", "{tmp}/" + "n" * 300], ids=repr)
def test_places_where_no_file_can_be(tmp_path, path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    before = sorted(os.listdir(tmp_path)), os.stat("/dev/null").st_mode
    for call in (lambda: save([1], path.format(tmp=tmp_path)), lambda: load(path.format(tmp=tmp_path))):
        with pytest.raises(CheckpointError, match=r"(?s)^\[(save|load)\] path: "):
            call()
    assert (sorted(os.listdir(tmp_path)), os.stat("/dev/null").st_mode) == before


# -- damaged files ------------------------------------------------------------------------

def test_a_file_cut_short_anywhere_is_an_error_that_names_it(tmp_path):
    save({"a": np.arange(5), "b": [1.5, "text"]}, tmp_path / "whole")
    whole, cut = (tmp_path / "whole").read_bytes(), tmp_path / "cut"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=rf"^\[load\] path: .*{cut}"):
            load(cut)


@settings(max_examples=500, deadline=None)
@given(seed=st.randoms(use_true_random=False), flips=st.integers(1, 4))
def test_a_damaged_file_is_read_or_is_an_error(tmp_path_factory, seed, flips):
    path = tmp_path_factory.getbasetemp() / "damaged"
    save({"a": np.arange(5, dtype="f4"), "b": [1.5, (float("nan"), None)], "c": {"d": np.ones((2, 0))}}, path)
    data = bytearray(path.read_bytes())
    for _ in range(flips):
        data[seed.randrange(len(data))] = seed.randrange(256)
    path.write_bytes(data)
    try:
        load(path)
    except CheckpointError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("tree", [
    "", "{", "[" * 100_000, "{}", '{"dict": 1}', '{"set": []}', '{"tensor": "none"}', '{"tensor": []}',
    '{"float": "x"}', '{"tuple": 3}', '{"dict": {}, "tuple": []}', '{"dict": {}}',
    '[{"tensor": "a"}, {"tensor": "a"}]'])
def test_metadata_that_describe_no_nest(tmp_path, tree):
    safetensors.numpy.save_file({"a": np.ones(2)}, tmp_path / "x", {"minidl": tree})
    with pytest.raises(CheckpointError, match=rf"^\[load\] path: .*{tmp_path / 'x'}"):
        load(tmp_path / "x")


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"\x80\x04N.", b"\xff" * 64, bytes(1000)])
def test_files_of_other_formats(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"^\[load\] path: .*another format"):
        load(tmp_path / "x")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x")
    with pytest.raises(CheckpointError, match="there is no such file"):
        load(tmp_path / "x")


# -- kill -9 --------------------------------------------------------------------------------

def test_kill_9_at_any_moment_of_saving_leaves_a_whole_checkpoint(tmp_path):
    """200 children save version after version until they are killed: a whole version must always be there."""
    path, content, moments = tmp_path / "x", np.arange(200_000), random.Random(0)
    once = min(timeit.repeat(lambda: save({"version": 0, "content": content}, path), number=1))
    latest, interrupted = 0, 0
    for _ in range(200):
        before, child = path.stat().st_ino, os.fork()
        if not child:
            try:
                for version in range(latest + 1, latest + 10_000):
                    save({"version": version, "content": content + version}, path)
            finally:
                os._exit(1)                            # (it should not come to this)
        end = time.monotonic() + 20
        while path.stat().st_ino == before and time.monotonic() < end:
            time.sleep(once / 10)                      # (until the first of the versions is there)
        time.sleep(once * moments.uniform(0, 3))
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        state = load(path)
        assert state["version"] > latest and (state["content"] == content + state["version"]).all()
        latest = state["version"]
        left = [name for name in os.listdir(tmp_path) if name != "x"]
        assert len(left) <= 1                          # the next save sweeps what a kill has left
        interrupted += len(left)
    assert interrupted > 20                            # many kills did fall into a save
    save([], path)
    assert os.listdir(tmp_path) == ["x"]


def test_the_leftovers_of_the_living_stay(tmp_path, monkeypatch):
    """Two processes save beside each other: neither sweeps what the other is writing."""
    replace, inner = os.replace, []

    def save_another_first(old, new):
        if not inner:
            inner.append("once")
            save("other", tmp_path / "y")
        replace(old, new)

    monkeypatch.setattr(os, "replace", save_another_first)
    save("this", tmp_path / "x")
    assert load(tmp_path / "x") == "this" and load(tmp_path / "y") == "other"
    assert sorted(os.listdir(tmp_path)) == ["x", "y"]
