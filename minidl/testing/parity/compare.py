"""Compares a run with its case: outputs, gradients of some parameters, norms of all gradients."""
from dataclasses import dataclass

import numpy as np

from ... import Tensor, ops
from ...errors import MinidlError
from . import RUNNERS, load


@dataclass
class Verdict:
    """pass, fail or missing; the error that came nearest to its tolerance, or went furthest beyond."""

    case: str
    status: str
    what: str = ""
    error: float = 0.0
    tolerance: float = 0.0

    def __str__(self):
        if self.status == "missing":
            return f"missing {self.case}"
        return f"{self.status:7} {self.case} {self.error:.2e} {self.tolerance:.2e}  {self.what}"


def judge(directory, name):
    """The Verdict on a case of a directory; files that cannot be read are a failure, too."""
    try:
        return check(load(directory, name))
    except MinidlError:                                # (there is no such case)
        raise
    except Exception as error:
        return _failed(name, error)


def check(case):
    """The Verdict on one case; a runner's exception is a failure that is named."""
    if case.name not in RUNNERS:
        return Verdict(case.name, "missing")
    try:
        run = RUNNERS[case.name](case)
        rows = [*_outputs(case, run), *_gradients(case, run)]
    except Exception as error:
        return _failed(case.name, error)
    worst = max(rows, key=lambda r: (r[1] / r[2] if r[2] else np.inf if r[1] else 0.0))
    return Verdict(case.name, "pass" if worst[1] <= worst[2] else "fail", *worst)


def _failed(name, error):
    return Verdict(name, "fail", f"{type(error).__name__}: {error}", float("inf"))


def _outputs(case, run):
    for name, info in case.meta["outputs"].items():
        if name not in run.outputs:
            yield f"{name}: not given", float("inf"), info["tol"]
        else:
            yield name, *_error(run.outputs[name], case.outputs[name], info)


def _error(got, want, info):
    """(error as a share of the largest expected value, tolerance); a strided subset is backed up by two sums."""
    got = got.numpy() if isinstance(got, Tensor) else np.asarray(got)
    if list(got.shape) != info["shape"]:
        raise AssertionError(f"shape {list(got.shape)}, expected {info['shape']}")
    exact = want.dtype.kind in "iub" and want.dtype != np.uint8
    full, want = got.astype(np.float64).ravel(), want.astype(np.float64).ravel()
    if not np.isfinite(full).all():
        return float("inf"), info["tol"]
    step, tol = info.get("stride", 1), info["tol"]
    difference = np.abs(full[::step] - want).max(initial=0.0)
    if exact:
        return float(difference), 0.0
    top = (info.get("max") or np.abs(want).max(initial=0.0)) + 1e-12
    error = difference / top
    if step > 1:
        sums = abs(full.sum() - info["sum"]) / top, abs((full ** 2).sum() - info["sumsq"]) / (2.1 * top ** 2)
        error = max(error, *(s / full.size for s in sums))
    return float(error), tol


def _gradients(case, run):
    """Rows for the loss sum(out * cotangent) / out.size."""
    if "grad" not in case.meta:
        return
    spec = case.meta["grad"]
    out = run.outputs[spec["of"]]
    ops.sum(out * Tensor(case.grads["cotangent"]) / float(out.size)).backward()
    gradients = run.gradients()
    for name, info in spec["arrays"].items():
        yield f"grad:{name}", *_error(gradients[name], case.grads[name], info)
    largest = max(case.norms.values(), default=0.0)
    for name, want in case.norms.items():
        if name not in gradients:
            yield f"norm:{name}: no such parameter", float("inf"), spec["norm_tol"]
            continue
        got = float(np.linalg.norm(gradients[name].astype("f8")))
        yield f"norm:{name}", abs(got - want) / max(want, 1e-3 * largest, 1e-12), spec["norm_tol"]
