"""Whatever happens to a worker, or to its consumer: a clear error within seconds, and nothing is left."""
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import loader_cases as cases
import pytest
from loader_cases import Numbers, Pids, holdings

from minidl.data import DataLoader
from minidl.errors import ArgumentError, WorkerError


def running(pids):
    """Those that have not ended (a zombie has)."""
    def state(pid):
        with suppress(OSError):
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return [pid for pid in pids if state(pid) not in (None, "Z")]


def all_end(pids, within=5.0):
    end = time.monotonic() + within
    while running(pids) and time.monotonic() < end:
        time.sleep(0.01)
    return not running(pids)


@contextmanager
def workers_end():
    """Yields a list for pids; afterwards none runs, and no descriptor and no shared memory is left."""
    list(DataLoader(Numbers(2), num_workers=1))        # (the server of the workers is there from now on)
    before, pids = holdings(), []
    yield pids
    assert pids and all_end(pids) and holdings() == before


def consume(loader, pids):
    """An epoch of pids, to its end."""
    for batch in loader:
        pids.append(batch.item())


FAULTS = {cases.kill: "its death by SIGKILL", cases.segfault: "its death by SIGSEGV",
          cases.leave: "its exit with status 3", cases.hang: "nothing for 1 s",
          cases.fail: r"ZeroDivisionError: as asked\. .*Traceback .*in fail"}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("persistent", [False, True])
def test_a_fault_in_a_worker_is_a_clear_error_within_5_s(fault, persistent):
    with workers_end() as pids:
        data = Pids(40, at=21, fault=fault)
        loader = DataLoader(data, num_workers=3, timeout=1, persistent_workers=persistent)
        start = time.monotonic()
        with pytest.raises(WorkerError) as caught:
            consume(loader, pids)
        assert time.monotonic() - start < 5 and len(set(pids)) == 3
        pattern = rf"(?s)^\[DataLoader\] worker 0 \(pid {pids[0]}\): expected item 21, got {FAULTS[fault]}"
        assert re.search(pattern, str(caught.value))
        assert loader.state_dict()["batches"] == len(pids) <= 21      # (a death may be seen early)
        assert all_end(pids)                           # before the error, with all that it refers to, is gone
        del loader, caught


def test_the_death_of_one_worker_is_seen_while_another_is_awaited():
    start = time.monotonic()
    with pytest.raises(WorkerError, match=r"worker 1 .* item 1, got its death by SIGKILL"):
        list(DataLoader(cases.KillsItsNeighbour(10), num_workers=2))
    assert time.monotonic() - start < 5


def test_after_an_error_the_loader_can_be_used_again():
    loader = DataLoader(Numbers(6, at=3, fault=cases.fail), num_workers=2, persistent_workers=True)
    for _ in range(2):
        with pytest.raises(WorkerError, match="item 3"):
            list(loader)
    loader.dataset.at = -1
    assert [batch.item() for batch in loader] == list(range(6))


@pytest.mark.parametrize("arguments, expected", [
    ({"collate_fn": cases.collate_and_fail}, r"the batch of items \[0\], got ZeroDivisionError"),
    ({"collate_fn": cases.batch_that_cannot_be_sent}, r"the batch of items \[0\], got .*local object"),
    ({"dataset": cases.Unpicklable(3)}, "its start, got ZeroDivisionError: as asked")])
def test_other_errors_in_a_worker(arguments, expected):
    with pytest.raises(WorkerError, match=expected):
        list(DataLoader(**{"dataset": Numbers(3), "num_workers": 2} | arguments))


def test_what_cannot_be_pickled():
    with pytest.raises(ArgumentError, match=r"^\[DataLoader\] .*lambda.* num_workers=0"):
        list(DataLoader(Numbers(3), num_workers=2, transform=lambda item, key: item))


def leave_by_break(loader, pids):
    for batch in loader:
        pids.append(batch.item())
        if len(pids) == 10:
            break


def leave_by_error(loader, pids):
    with suppress(KeyError):
        for batch in loader:
            pids.append(batch.item())
            {}[len(pids)]


def forget_the_iterator(loader, pids):
    batches = iter(loader)
    pids.extend(next(batches).item() for _ in range(10))


@pytest.mark.parametrize("consume", [leave_by_break, leave_by_error, forget_the_iterator, consume])
@pytest.mark.parametrize("persistent", [False, True])
def test_workers_end_with_their_consumer(consume, persistent):
    with workers_end() as pids:
        consume(DataLoader(Pids(40), num_workers=2, persistent_workers=persistent), pids)


def test_workers_end_with_the_epoch():
    with workers_end() as pids:
        loader = DataLoader(Pids(40), num_workers=2)
        consume(loader, pids)
        assert all_end(pids)
        del loader


def test_a_break_does_not_wait_for_slow_items():
    with workers_end() as pids:
        start = time.monotonic()
        leave_by_break(DataLoader(Pids(40, at=11, fault=cases.doze), num_workers=2), pids)
        assert time.monotonic() - start < 5


@contextmanager
def consumer(fault):
    """A process within an epoch, one of whose workers is caught in an item; yields it and the workers."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    path = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, cases.__file__, fault]
    with subprocess.Popen(command, **pipes, env=path, start_new_session=True) as process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 2 and running(pids) == pids
        time.sleep(0.2)
        yield process, pids
        process.kill()


@pytest.mark.parametrize("fault", ["hang", "doze"])
def test_workers_do_not_outlive_a_consumer_that_is_killed(fault):
    with consumer(fault) as (process, pids):
        process.kill()
        assert all_end(pids)


@pytest.mark.parametrize("fault", ["hang", "doze"])
def test_ctrl_c_ends_consumer_and_workers_with_one_traceback(fault):
    with consumer(fault) as (process, pids):
        os.killpg(process.pid, signal.SIGINT)          # as a terminal does: to all of them
        assert process.wait(5) != 0 and all_end(pids)
        errors = process.stderr.read()
        assert errors.count("Traceback") == 1 and errors.rstrip().endswith("KeyboardInterrupt")
