"""`minidl lab` as someone uses it who has a kernel and no GPU: results, races, counts, one thread's steps."""
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from minidl import simt
from minidl.cli import app
from minidl.errors import MinidlError

PTX = Path(__file__).parents[1] / "simt" / "kernels" / "row_sum.ptx"
ARGS = ["--arg", "float32:8x300:normal", "--arg", "float32:8:empty", "--arg", "300"]
# the barrier in front of the tree is gone: sums are read that other warps have yet to write
RACY = PTX.read_text().replace("bar.sync", "// bar.sync", 1)


def lab(*args):
    return CliRunner().invoke(app, ["lab", *map(str, args)])


def test_run_tells_everything_and_saves_arrays(tmp_path):
    found = lab("run", PTX, *ARGS, "--grid", 8, "--gpu", "A100", "--save", tmp_path, "--json")
    assert found.exit_code == 0, found.output
    report = json.loads(found.output)
    x, y = (np.load(tmp_path / f"arg{i}.npy") for i in (0, 1))
    np.testing.assert_allclose(y, x.sum(1), rtol=1e-5, atol=1e-5)
    assert not report["races"] and not report["warnings"] and "A100 (estimate)" in report["estimate"]
    assert report["instructions"]["synchronise"] == 8 * 4 * 8 and 0.8 < report["lane_use"] < 1     # 8 barriers a warp
    assert report["global"]["bytes"] == x.nbytes + y.nbytes and report["shared"]["worst"] == 1
    text = lab("run", PTX, *ARGS, "--grid", 8).output
    assert "row_sum.cu:4" in text and "sectors/request" in text and text.endswith("clean\n")


def test_a_race_is_exit_code_1_and_names_both_lines(tmp_path):
    path = tmp_path / "racy.ptx"
    path.write_text(RACY)
    found = lab("run", path, *ARGS, "--grid", 2)
    assert found.exit_code == 1 and "race" in found.output
    assert "row_sum.cu:8" in found.output and "row_sum.cu:5" in found.output


def test_trace_shows_what_a_thread_changes():
    text = lab("trace", PTX, "--arg", "float32:1x200:arange", "--arg", "float32:1", "--arg", 200, "--block", 128,
               "--thread", 3, "--line", 4).output
    assert "ld.global.f32" in text and " = 3.0" in text and " = 131.0" in text and "row_sum.cu:5" not in text
    assert lab("list", PTX).output.startswith("row_sum(.u64 ")


@pytest.mark.parametrize("args, said", [
    (("run", PTX, "--arg", "float99:3"), "--arg: expected a number"), (("run", PTX, "--arg", 3), "args: expected 3"),
    (("run", PTX, *ARGS, "--grid", "4xa"), "--grid: expected numbers"),
    (("run", PTX, *ARGS, "--gpu", "Z9"), "one of T4"),
    (("run", PTX, *ARGS, "--kernel", "colsum"), "kernel: expected one of row_sum")])
def test_wrong_arguments_are_one_clear_error(args, said):
    found = lab(*args)
    assert isinstance(found.exception, MinidlError) and said in str(found.exception)


def test_breakpoints_see_any_lane_and_may_stop():
    seen = []

    def look(at):
        seen.append((at.source, at.value("%r1"), at.value("%r1", thread=40), len(at.registers())))
        at.stop()

    x, y = np.ones((1, 64), "float32"), np.zeros(1, "float32")
    watch = simt.Stepper(thread=5, breakpoints={"row_sum.cu:5": look})
    assert watch.launch(simt.load(PTX), 1, 128, [x, y, 64]) is None
    (source, mine, other, count), = seen
    assert source.endswith("row_sum.cu:5") and other - mine in (0, 35) and count > 10
    assert y[0] == 0 and watch.steps and all(step.source.endswith((":1", ":2", ":3", ":4")) for step in watch.steps)
