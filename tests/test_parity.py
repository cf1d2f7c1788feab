"""The committed reference cases: those that have a runner pass; the others are counted, never skipped."""
import shutil
from pathlib import Path

import numpy as np
import pytest

from minidl.testing import parity
from minidl.testing.parity.__main__ import main
from minidl.testing.parity.compare import check, judge

DIRECTORY = Path(__file__).parent / "parity"
RUN = sorted(parity.RUNNERS)


@pytest.mark.parametrize("name", RUN)
def test_agrees_with_the_reference(name):
    verdict = check(parity.load(DIRECTORY, name))
    assert verdict.status == "pass", str(verdict)


def test_what_is_missing_is_counted(capsys, monkeypatch):
    """Every case has its line: a runner that goes lost, or that no case asks for, shows here."""
    names = parity.cases(DIRECTORY)
    assert set(RUN) <= set(names)
    monkeypatch.delitem(parity.RUNNERS, "bert", raising=False)
    monkeypatch.setattr("sys.argv", ["parity", str(DIRECTORY), "--case", "lstm", "--case", "bert"])
    with pytest.raises(SystemExit) as end:
        main()
    out, summary = capsys.readouterr()
    assert [line.split()[:2] for line in out.splitlines()] == [["pass", "lstm"], ["missing", "bert"]]
    assert summary == "1 pass, 0 fail, 1 missing\n" and end.value.code == 0


@pytest.mark.parametrize("spoil", ["output", "gradient", "weights", "shape"])
def test_a_wrong_run_fails(monkeypatch, spoil):
    runner = parity.RUNNERS["lstm"]

    def spoiled(case):
        if spoil == "weights":
            case.weights["weight_hh_l0"] = case.weights["weight_hh_l0"] * np.float32(1.001)
        run = runner(case)
        if spoil == "output":
            run.outputs["hn"] = run.outputs["hn"] * 1.0001
        if spoil == "shape":
            run.outputs["hn"] = run.outputs["hn"][:1]
        if spoil == "gradient":
            run.parameters["bias_ih_l0"].hook(lambda g: g * 1.001)
        return run

    monkeypatch.setitem(parity.RUNNERS, "lstm", spoiled)
    assert check(parity.load(DIRECTORY, "lstm")).status == "fail"


@pytest.mark.parametrize("file, text", [("meta.json", "{"), ("inputs.npz", "PK no zip"), ("weights.json", "[[1]]")])
def test_a_damaged_case_is_one_failure(tmp_path, file, text):
    case = tmp_path / "cases" / "lstm"
    shutil.copytree(DIRECTORY / "cases" / "lstm", case)
    (case / file).write_text(text)
    assert judge(tmp_path, "lstm").status == "fail"
