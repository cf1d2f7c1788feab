"""The allocator under NumPy: aligned, counted, bounded, given back on demand; and what happens without it."""
import subprocess
import sys
import threading

import numpy as np
import pytest

import minidl as ml
from minidl.errors import ArgumentError
from minidl.kernels import cpu

compiled = pytest.mark.skipif(cpu is None, reason="no compiled kernels here: NumPy's own allocator serves")
MB = 2**20


@pytest.fixture
def clean():
    """Nothing is kept, before and after; a limit that does not depend on the machine."""
    limit = ml.memory().limit
    ml.empty_cache()
    ml.set_cache_limit(1024 * MB)
    yield
    ml.set_cache_limit(limit)
    ml.empty_cache()


@compiled
def test_what_is_freed_is_kept_counted_and_given_back(clean):
    before = ml.memory().in_use
    a = np.empty(8 * MB, "uint8")
    address = a.ctypes.data
    assert address % 64 == 0 and 8 * MB <= ml.memory().in_use - before <= 11 * MB
    del a
    assert ml.memory().in_use == before and ml.memory().cached >= 8 * MB
    a = np.empty(8 * MB - 100, "uint8")
    assert a.ctypes.data == address and ml.memory().cached < 8 * MB      # the same block again
    del a
    ml.empty_cache()
    assert ml.memory().cached == 0


@compiled
def test_the_peak_and_the_limit(clean):
    ml.reset_peak_memory()
    start = ml.memory().peak
    a = ml.zeros((4 * MB,))
    del a
    assert ml.memory().peak - start >= 16 * MB
    ml.set_cache_limit(MB)
    assert ml.memory().cached <= MB and ml.memory().limit == MB
    b = ml.zeros((4 * MB,))
    del b
    assert ml.memory().cached <= MB
    for wrong in (-1, 1.5, "1 GB"):
        with pytest.raises(ArgumentError, match=r"\[set_cache_limit\] n: expected bytes"):
            ml.set_cache_limit(wrong)


@compiled
@pytest.mark.parametrize("size", [1, 63, 64, 1000, 65536, 3 * MB])
def test_zeros_are_zero_in_used_memory_and_resizing_keeps_values(size, clean):
    dirty = np.full(size, 255, "uint8")
    del dirty
    assert not np.zeros(size, "uint8").any()
    grown = np.arange(size, dtype="uint8")
    grown.resize(3 * size, refcheck=False)
    np.testing.assert_array_equal(grown[:size], np.arange(size, dtype="uint8"))
    assert not grown[size:].any() and grown.ctypes.data % 64 == 0


@compiled
def test_arrays_outlive_the_cache_and_may_be_freed_by_other_threads(clean):
    kept = [np.full(n * 1000, n, "float32") for n in range(1, 30)]
    ml.empty_cache()
    def drop():
        kept.pop()
        np.ones(5000)                                  # (a new thread: NumPy's own memory)
    threads = [threading.Thread(target=drop) for _ in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all((a == n).all() for n, a in enumerate(kept, 1))


@compiled
def test_more_than_there_is_is_an_error():
    with pytest.raises(MemoryError):
        np.empty(2**60, "uint8")


def run(code):
    return subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=120)


def test_without_the_extension_the_references_run_and_it_is_said_once():
    done = run("import sys; sys.modules['minidl.kernels._cpu'] = None\n"
               "import minidl as ml, minidl.nn, minidl.kernels\n"
               "x = ml.tensor([[1.0, 2.0]], requires_grad=True); ml.layer_norm(x).sum().backward()\n"
               "assert ml.kernels.cpu is None and ml.memory().limit == 0; ml.empty_cache(); ml.set_num_threads(1)\n"
               "print(x.grad.shape)")
    assert done.returncode == 0 and done.stdout.strip() == "(1, 2)", done.stderr
    assert done.stderr.count("[minidl] kernels: expected the compiled extension") == 1


@compiled
def test_threads_instruction_sets_and_kernels_are_chosen_by_hand_and_after_a_fork():
    done = run("import os, numpy as np\nos.environ['MINIDL_ISA'] = 'base'\nimport minidl as ml\n"
               "assert ml.kernels.cpu.isa() == 'base'; ml.set_num_threads(3); assert ml.get_num_threads() == 3\n"
               "x = ml.tensor(np.random.rand(512, 512).astype('f')); y = ml.layer_norm(x).data\n"
               "child = os.fork()\n"
               "same = np.array_equal(y, ml.layer_norm(x).data)\n"
               "if not child: os._exit(0 if same else 1)\n"
               "assert same and os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0; print('ok')")
    assert done.stdout.strip() == "ok", done.stderr
