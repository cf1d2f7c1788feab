"""Flow of control as compilers emit it: loops, switches, calls, recursion, function pointers, printf, asserts."""

import struct

import numpy as np
import pytest
from fixtures import MAKERS, module

from minidl import simt

T = np.arange(32)
SEEDS = [None, 1, 2]


@pytest.fixture(params=MAKERS)
def run(request):
    """run(kernel, threads, *args): a launch of one block."""
    kernels = module("control", request.param)
    return lambda kernel, threads, *args, **options: simt.launch(kernels, 1, threads, args, kernel, **options)


def integers(n=32):
    return np.zeros(n, np.int32)


def collatz(n):
    steps = 0
    while n != 1:
        n, steps = 3 * n + 1 if n % 2 else n // 2, steps + 1
    return steps


def nested(t, n):
    total = 0
    for i in range(n):
        if (i + t) % 3 == 0:
            continue
        for j in range(i, n):
            if i * j > 40 + t:
                break
            total += i * j
            if total > 1000:
                return -total
    return total


def jump(t):
    i, total, first = 0, 0, t % 2
    while True:
        total += 0 if first else 10
        total, i, first = total + i, i + 1, False
        if i >= t % 7:
            return total


def sum_of(values, n, depth):
    mine = [v + depth for v in values[:n]]
    return 0 if n == 0 else mine[n - 1] + 2 * sum_of(mine, n - 1, depth + 1)


def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_divergence(run, seed):
    y = integers()
    run("loops", 32, y, seed=seed)
    assert y.tolist() == [collatz(t + 1) for t in T]
    run("nested", 32, y, 25, seed=seed)
    assert y.tolist() == [nested(t, 25) for t in T]
    run("jump", 32, y, seed=seed)
    assert y.tolist() == [jump(t) for t in T]
    x = (T * 5 % 13).astype(np.int32)
    run("choose", 32, x, y, seed=seed)
    cases = [5, 7, -6 ^ 5, 3 ^ 5, 32, 2, 2, -7, -9, 729]
    assert y.tolist() == [cases[v] if v < 10 else 99 for v in x]


@pytest.mark.parametrize("seed", SEEDS)
def test_calls(run, seed):
    y = integers(96)
    run("recursion", 32, y, seed=seed)
    assert y[:32].tolist() == [fibonacci(t % 9) for t in T]
    assert y[32:64].tolist() == [int(t % 2 == 0) for t in T]
    assert y[64:].tolist() == [sum_of([i * t for i in range(8)], t % 8, 1) for t in T]
    f = np.zeros(32, np.float32)
    run("virtuals", 32, f, seed=seed)
    shape = np.where(T % 2, 3.0 * T * T, 3 + 3.0 * T * T)
    assert f.tolist() == shape.tolist()
    x = np.linspace(-2, 2, 32, dtype=np.float32)
    functions = [lambda v: v + 1, lambda v: v * 2, lambda v: v * v]
    run("pointers", 32, x, f, 4, seed=seed)
    assert f.tolist() == [functions[(t + 4) % 3](functions[t % 2](x[t])) for t in T]


def test_records(run):
    record, y = struct.pack("i5fdb7x", 7, 1, 2, 3, 4, 5, 2.5, -3), np.zeros(32)
    run("records", 32, record, y)
    assert y.tolist() == [7 + 2 * t + 5.0 - 3 for t in T]


def test_print(run):
    printed = run("print", 32, 42, 3.14159).printed
    assert printed == [f"{t}:  3.14 text c 7 1099511627776 ff %   42 3.1 3.141590e+00 44\n" for t in (0, 2)]


def test_barriers(run):
    y = integers(64)
    run("barriers", 64, y, 10)
    assert (y == 10 + 1000 + 10000).all()
    for threads, n in ((128, 100), (50, 33), (96, 96)):
        y = integers(128)
        assert run("exits", threads, y, n, races=True).clean
        assert y[:n].tolist() == list(range(n))[::-1] and not y[n:].any()


def test_heap(run):
    y = integers()
    run("heap", 32, y, 5, 0, uninit=True, races=True)
    assert y.tolist() == (10 * T).tolist()
    for mistake, what in ((1, "out of bounds"), (2, "freed"), (3, "freed before")):
        with pytest.raises(simt.Fault, match=what):
            run("heap", 32, y, 64, mistake)


def fault(run, *args, **options):
    with pytest.raises(simt.Fault) as caught:
        run(*args, **options)
    return caught.value


def test_faults_name_instruction_line_and_threads(run):
    found = fault(run, "checked", 32, 5)
    assert "n < 3" in str(found) and "control.cu" in str(found) and "32 lanes" in str(found)
    run("checked", 32, 2)
    found = fault(run, "trapped", 32, 7)
    assert (
        found.instruction == "trap"
        and found.lanes == ("thread (7,0,0) of block (0,0,0)",)
        and "control.cu:" in found.source
    )
    run("trapped", 32, 32)
    warning, = run("divergent_barrier", 128, np.zeros(128, np.float32)).warnings
    assert (
        warning.kind == "divergent barrier" and warning.text.count("bar.sync") == 2 and "control.cu:" in warning.source
    )
    found = fault(run, "stuck", 32, np.zeros(32, np.float32))
    assert "poll memory that nobody changes" in str(found)
    found = fault(run, "endless", 32, integers(1), limit=10_000)
    assert "gave up" in str(found) and "control.cu" in found.source
