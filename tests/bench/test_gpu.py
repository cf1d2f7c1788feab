"""`python -m bench gpu` without a GPU: the double of CuPy and minidl.simt in its place, and a clock of the host's."""
import json
import sys
from importlib import import_module
from time import perf_counter
from types import SimpleNamespace

import pytest

from bench import __main__ as command
from bench import device, gpu, libraries_gpu, report_gpu, rows, tune
from bench.cases_conv import Layer, conv_rows
from bench.cases_gpu import GROUPS, IMAGES
from bench.cases_sequence import attention
from bench.rows import Group, Row, forward, normal, ways
from minidl.kernels.gpu.library import extension
from minidl.testing.cupy_double import installed
from minidl.testing.simulated import simulated

extension()                                            # (it must have been built)


class Fake:
    """What bench.device.Device has, on the host's clock."""

    name, capability = "NVIDIA H200", (8, 0)
    identity = {"processor": name, "cores": 132, "isa": "sm_80", "memory": 1 << 37, "cache": 50 << 20}

    def milliseconds(self, call):
        return self.wall(call, 1)

    def wall(self, call, number):
        start = perf_counter()
        for _ in range(number):
            call()
        return (perf_counter() - start) / number * 1e3

    def clocks(self):
        return {"clocks.sm": "1980 MHz"}

    def tidy(self):
        pass


class Reference(libraries_gpu.MiniDL):
    """A rival: we on the CPU, under PyTorch's name."""

    name, label = "torch", "PyTorch"

    def __init__(self, kind, images=False):
        super().__init__(kind, images, "cpu")

LAYER = Layer("tiny", 8, 16, 3, 4)
TINY = [Group("gemm", "Products", [Row("16x24x8", "fwd", normal((16, 8), (8, 24)), forward(lambda lib, _, a, b: a @ b),
                                       flops=6144)]),
        Group("linear", "Linear", ways("3x8", normal((3, 8)), lambda lib, m, x: m(x), lambda lib: lib.nn.Linear(8, 8))),
        Group("conv", "Convolutions", [*conv_rows(LAYER, (1,))]),
        Group("attention", "Attention", attention(20, True, 1, 2, 32))]


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(gpu, "GROUPS", TINY)
    for name, value in (("WARM", 0), ("FEWEST", 1), ("MOST", 1), ("WALL", 1)):
        monkeypatch.setattr(gpu, name, value)
    with installed(), simulated(races=False, uninit=False) as launcher:
        yield launcher


def both(names, kind, images):
    return [libraries_gpu.MiniDL(kind, images), Reference(kind, images)], []


def test_rows_are_measured_checked_and_written(tiny, tmp_path, capsys):
    document = gpu.run(Fake(), kinds=["float16"], libraries=both, show=lambda line: None)
    document["rows"] += gpu.run(Fake(), ["gemm"], ["tf32"], libraries=both, show=lambda line: None)["rows"]
    assert len(document["rows"]) == sum(len(group.rows) for group in TINY) + 1
    for row in document["rows"]:
        assert "error" not in row and set(row["times"]) == {"minidl", "torch"} and row["kernels"], row
        assert row["share"] > 0 and min(t["wall"] for t in row["times"].values()) > 0
    products = [entry.key["dtype"] for entry, _ in tiny.results if entry.kernel == "matmul"]
    assert set(products) == {"float16", "tf32"}
    (tmp_path / "a.json").write_text(json.dumps(document))
    command._table(SimpleNamespace(files=[tmp_path / "a.json"], out=None))
    said = capsys.readouterr().out
    assert "NVIDIA H200, 132 multiprocessors" in said and "clocks.sm 1980 MHz" in said
    assert all(report_gpu.name(row) in said for row in document["rows"])


def test_other_numbers_are_not_timed(tiny):
    class Wrong(Reference):
        def array(self, tensor):
            return super().array(tensor) * 1.5

    document = gpu.run(Fake(), ["gemm"], ["float32"], show=lambda line: None,
                       libraries=lambda names, kind, images: ([libraries_gpu.MiniDL(kind), Wrong(kind)], []))
    row, = document["rows"]
    assert row["error"].startswith("Disagreement") and not row["times"]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_the_tables_are_sound(group):
    paths = [rows.path(group, row) for row in group.rows]
    assert len(set(paths)) == len(paths) and all(row.rivals for row in group.rows)
    assert (group.name in IMAGES) == any("torch_last" in row.rivals for row in group.rows)


def test_rooflines_are_the_maker_s():
    assert device.known("NVIDIA A100-SXM4-80GB").name == "A100" and device.known("Radeon") is None
    assert device.least("NVIDIA H200", "float16", 989e12, 0) == pytest.approx(1)
    assert device.least("NVIDIA H200", "float32", 165e12, 0) == pytest.approx(1)
    assert device.least("NVIDIA H200", "tf32", 0, 4.8e12) == pytest.approx(1)


# -- PyTorch, on the CPU -------------------------------------------------------------------

@pytest.mark.parametrize("last", [False, True])
def test_pytorch_gets_the_same_rows(last, tiny):
    pytest.importorskip("torch")

    def libs(names, kind, images):
        return [Reference(kind, images), libraries_gpu.Torch(kind, images, last, device="cpu")], []

    for group in TINY:
        for row in group.rows:
            found, _ = libs(row.rivals, "float32", group.name in IMAGES)
            found[0].name = "minidl"
            measured = gpu.measured(Fake(), group, row, "float32", found, 0.01)
            assert "error" not in measured, measured


# -- configs ---------------------------------------------------------------------------------

def test_configs_are_compiled_checked_and_timed(tiny):
    pytest.importorskip("triton")
    said = []
    small = [{"BLOCK_M": m, "BLOCK_N": 32, "BLOCK_K": 32, "num_warps": 4, "num_stages": 2} for m in (16, 48, 32)]
    best = tune.run(Fake(), ["matmul"], ["gemm"], ["float16"], chosen=lambda kernel: small, jobs=1, show=said.append)
    (kernel, key), = best
    assert kernel == "matmul" and dict(key) == {"dtype": "float16", "weights": "float16", "layout": "nn"}
    assert best[kernel, key][1] in (small[0], small[2])                    # (48 is no power of 2, and not compiled)
    used = {entry.constants["BLOCK_M"] for entry, _ in tiny.results}
    assert used == {128, 16, 32} and "BLOCK_M" in said[-1]


def test_a_config_that_gives_other_numbers_is_no_config(tiny, monkeypatch):
    monkeypatch.setattr(tune, "_agree", lambda *_: False)
    pytest.importorskip("triton")
    said = []
    tuner = tune.Tuner(Fake(), ["matmul"], 1, lambda kernel: [{"BLOCK_M": 64}], said.append)
    (group, row, kind), = gpu.plan(["gemm"], ["float16"], False)
    tuner.row(group, row, kind)
    (gain, _), = tuner.best(next(iter(tuner.gains)))
    assert gain == 0 and "That is a bug." in said[0]


def test_what_is_tuned_goes_into_the_file_of_configs():
    text = (tune.library().compiler("triton").FOLDER / "configs.json").read_text()
    configs = json.loads(text)
    assert tune.written(configs) == text
    place = "matmul", frozenset({"dtype": "float16", "layout": "nn"}.items())
    changed = tune.updated(configs, {place: (1.5, {"BLOCK_M": 256})})
    assert changed["matmul"]["dtype=float16 layout=nn"] == {"BLOCK_M": 256}
    assert tune.updated(configs, {place: (1.0, {"BLOCK_M": 256})}) == configs
    assert set(tune.CANDIDATES) <= set(configs)
    known = import_module("kernels.triton.variants").config
    assert all(set(space) <= {*known(kernel, {}), *tune.LAUNCH} for kernel, space in tune.CANDIDATES.items())


# -- the device ------------------------------------------------------------------------------

class Events:
    """CuPy, as far as bench.device needs it."""

    properties = {"name": b"NVIDIA H200", "multiProcessorCount": 132, "major": 9, "minor": 0, "totalGlobalMem": 1 << 37,
                  "l2CacheSize": 50 << 20}

    def __init__(self):
        self.log = []
        event = type("Event", (), {"record": lambda e: self.log.append("record"),
                                   "synchronize": lambda e: self.log.append("synchronize")})
        self.cuda = SimpleNamespace(
            Event=event, get_elapsed_time=lambda start, end: 0.25,
            Device=lambda: SimpleNamespace(synchronize=lambda: self.log.append("wait"), pci_bus_id="0000:01:00.0"),
            runtime=SimpleNamespace(getDevice=lambda: 0, getDeviceProperties=lambda number: self.properties))

    def empty(self, size, dtype):
        assert size >= 2 * self.properties["l2CacheSize"]
        return SimpleNamespace(fill=lambda value: self.log.append("clear"))


def test_events_enclose_a_call_and_the_cache_is_cleared_before(tiny, monkeypatch):
    cupy = Events()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    found = device.Device()
    assert found.identity["isa"] == "sm_90" and found.capability == (9, 0)
    assert found.milliseconds(lambda: cupy.log.append("call")) == 0.25
    assert cupy.log == ["clear", "record", "call", "record", "synchronize"]
    cupy.log.clear()
    assert found.wall(lambda: cupy.log.append("call"), 2) >= 0 and cupy.log == ["wait", "call", "call", "wait"]
    monkeypatch.setattr(device.shutil, "which", lambda name: None)
    assert found.clocks() == {}


def test_cupy_has_what_is_asked_of_it():
    cupy = pytest.importorskip("cupy")
    for path in ("cuda.Event.record", "cuda.Event.synchronize", "cuda.get_elapsed_time", "cuda.Device.synchronize",
                 "cuda.Device.pci_bus_id", "cuda.runtime.getDevice", "cuda.runtime.getDeviceProperties", "empty",
                 "ndarray.fill", "get_default_memory_pool"):
        found = cupy
        for part in path.split("."):
            found = getattr(found, part)


def test_without_kernels_one_line_says_so():
    with installed():                                  # (a device, but no compiled kernels)
        with pytest.raises(SystemExit, match=r"^bench gpu: kernels: .* Nothing was measured\.$"):
            device.found()


def test_a_picture_is_drawn_of_dtypes(tmp_path):
    pytest.importorskip("matplotlib")
    times = {"minidl": {"median": 1.0}, "torch": {"median": 1.5}}
    drawn = [{"group": "gemm", "name": "2x2", "variant": "fwd", "dtype": kind, "times": times} for kind in gpu.KINDS]
    command._picture({"suite": "gpu", "rows": drawn}, tmp_path / "gpu.png")
    assert (tmp_path / "gpu.png").read_bytes().startswith(b"\x89PNG")
