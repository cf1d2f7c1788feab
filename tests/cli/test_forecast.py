"""`minidl forecast`."""
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from minidl.cli import app
from minidl.errors import ArgumentError

QUICK = ["--set", "steps=30", "--set", "members=1", "--set", "hidden=8", "--horizon", "4"]


@pytest.fixture
def file(tmp_path):
    """Four years of months."""
    rows = [f"20{20 + i // 12}-{i % 12 + 1:02},{5 + np.sin(i * np.pi / 6):.4f}" for i in range(72)]
    (tmp_path / "t.csv").write_text("\n".join(["month,level", *rows]))
    return tmp_path / "t.csv"


def run(*args):
    result = CliRunner().invoke(app, ["forecast", *map(str, args)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_a_file_is_forecast(file):
    told = json.loads(run(file, *QUICK, "--json"))
    assert told["column"] == "level" and told["season"] == 12
    assert [step["time"] for step in told["forecast"]] == ["2026-01", "2026-02", "2026-03", "2026-04"]
    for step in told["forecast"]:
        levels = list(step["quantiles"].values())
        assert levels == sorted(levels) and len(levels) == 5 and 2 < step["mean"] < 8
    assert json.loads(run(file, *QUICK, "--json")) == told
    lines = run(file, *QUICK).splitlines()
    assert lines[0].split() == ["0.1", "0.25", "0.5", "0.75", "0.9"] and lines[1].split()[0] == "2026-01"


def test_a_test_hides_the_last_steps(file, tmp_path):
    told = json.loads(run(file, *QUICK, "--test", "--model", "gru", "--plot", tmp_path / "p.png", "--json"))
    assert told["forecast"][-1]["time"] == "2025-12" and told["test"].keys() == {
        "mase", "mase_seasonal_naive", "pinball", "pinball_seasonal_naive"}
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ArgumentError, match="--plot: expected a name that ends in"):
        run(file, *QUICK, "--plot", tmp_path / "p.txt")
    with pytest.raises(ArgumentError, match="in a folder that is there"):
        run(file, *QUICK, "--plot", tmp_path / "x" / "p.png")


def test_errors_are_in_the_format_of_the_house(file):
    option = r"--set: expected one of context, .*, got "
    for args, problem in ((["--set", "width=3"], option + "'width'"), (["--set", "seed=2"], option + "'seed'"),
                          (["--set", "lr=x"], r"\[Forecaster\] lr: expected a number"),
                          (["--set", "steps=0"], r"\[Forecaster\] steps: expected an integer"),
                          (["--set", "steps"], "--set: expected FIELD=VALUE"),
                          (["--model", "arima"], r"\[Forecaster\] model: expected one of lstm"),
                          (["--horizon", "60"], r"\[Forecaster\] series: expected at least"),
                          (["--column", "x"], r"\[read_series\] column: expected one of month, level, got 'x'")):
        with pytest.raises(ArgumentError, match=problem):
            run(file, *QUICK, *args)
