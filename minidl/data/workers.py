"""Worker processes: they call one function with many arguments, and its results come back in order.

Each worker has a socket of its own and no lock in common with the others: one that dies takes nothing along.
They are forked by a small server process, never by this one, which may have threads.
"""
import multiprocessing
import os
import signal
import socket
import threading
import time
import traceback
import weakref
from collections import deque
from contextlib import suppress
from itertools import cycle
from multiprocessing.connection import wait

from ..dtypes import default_dtype, set_default_dtype
from ..errors import ArgumentError, WorkerError, message
from .channel import Parcel, receive

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["__main__", __name__])      # (imported by the server, once for all)
_START_LIMIT = 60.0                                    # seconds a worker may take to be ready
_STOP_LIMIT = 1.0                                      # seconds all of them may take to stop by themselves


class Pool:
    """Workers that run until they are closed, or garbage, or this process ends, in whatever way.

    Args:
        function: of (argument, note); it may call note("item 3") to say, for error messages, what it is at.
        count: of workers.
        timeout: seconds to wait for a result; 0: for ever.
        prefetch: how many results each worker may be ahead.

    Raises:
        ArgumentError: the function cannot be pickled.
        WorkerError: a worker does not start.
    """

    def __init__(self, function, count, timeout=0, prefetch=2):
        self.timeout, self.ahead, self.workers = timeout, count * prefetch, []
        self.close = weakref.finalize(self, _stop, self.workers, os.getpid())
        try:
            job = Parcel((function, default_dtype()))
        except Exception as error:                     # (what is pickled may raise anything)
            argument, expected = "dataset, transform, collate_fn", "what can be pickled"
            raise ArgumentError(message("DataLoader", argument, expected, repr(error),
                                        "Define it at the top of a module, or use num_workers=0.")) from error
        with job:
            for number in range(count):
                self.workers.append(_Worker(number, job))
        for worker in self.workers:
            self._result(worker, _START_LIMIT)

    def map(self, arguments):
        """The function's results for the arguments, in their order; arguments are taken as they are needed.

        Raises:
            WorkerError: the function raised an error, a worker died, or the timeout is over.
        """
        pending: deque = deque()
        for argument, worker in zip(arguments, cycle(self.workers)):
            with Parcel(argument) as parcel:
                worker.send(parcel)
            pending.append(worker)
            if len(pending) > self.ahead:
                yield self._result(pending.popleft(), self.timeout)
        while pending:
            yield self._result(pending.popleft(), self.timeout)

    def _result(self, worker, timeout):
        """The worker's next result; meanwhile the other workers are watched as well."""
        ready = wait([worker.socket, *(other.process.sentinel for other in self.workers)], timeout or None)
        if not ready:
            raise worker.error(worker.note.value, f"nothing for {timeout} s",
                               "It hangs, or the timeout is too short.")
        if worker.socket in ready:
            with suppress(EOFError, ConnectionError):
                succeeded, result = receive(worker.socket)
                if succeeded:
                    return result
                raise worker.error(*result)
        else:
            worker = next(other for other in self.workers if other.process.sentinel in ready)
        raise worker.death()


class _Worker:
    """A process, the socket to talk to it, and the memory where it notes what it is at."""

    def __init__(self, number, job):
        self.number, self.note = number, _PROCESSES.RawArray("c", 120)
        self.socket, theirs = socket.socketpair()
        with theirs:
            self.process = _PROCESSES.Process(target=_work, args=(theirs, self.note), daemon=True)
            self.process.start()
        self.send(job)

    def send(self, parcel):
        try:
            parcel.send(self.socket)
        except ConnectionError:
            raise self.death() from None

    def error(self, note, got, hint):
        """A WorkerError that says what came instead of what the worker noted to be at."""
        name, expected = f"worker {self.number} (pid {self.process.pid})", note.decode(errors="replace")
        return WorkerError(message("DataLoader", name, expected or "its start", got, hint))

    def death(self):
        """A WorkerError that says how the process ended."""
        self.process.join(_STOP_LIMIT)
        code = self.process.exitcode
        if code is None or code >= 0:
            end, hint = f"exit with status {code}", 'A script with workers needs `if __name__ == "__main__"`.'
        else:
            end, hint = f"death by {signal.Signals(-code).name}", "SIGKILL may mean that memory was short."
        return self.error(self.note.value, f"its {end}", hint)


def _stop(workers, owner):
    """End the workers: those that wait for work stop by themselves, the others by force."""
    if os.getpid() != owner:                           # (a fork of this process: the workers are not its own)
        return
    for worker in workers:
        worker.socket.close()
    end = time.monotonic() + _STOP_LIMIT
    for worker in workers:
        worker.process.join(max(0.0, end - time.monotonic()))
        worker.process.kill()
    for worker in workers:
        worker.process.join(_STOP_LIMIT)


# -- in the worker ------------------------------------------------------------------

def _work(sock, memory):
    """A worker's life: receive the function, then arguments; answer (True, result) or (False, error)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)       # Ctrl-C reaches all processes; the parent decides
    threading.Thread(target=_die_with_parent, daemon=True).start()
    function = None

    def begin():
        nonlocal function
        function, dtype = receive(sock, share=True)
        set_default_dtype(dtype)

    def note(text):
        memory.value = text.encode(errors="replace")[:len(memory) - 1]

    with suppress(EOFError, ConnectionError):          # the parent has closed its end
        _answer(sock, memory, begin)
        while True:
            _answer(sock, memory, function, receive(sock), note)


def _answer(sock, memory, function, *arguments):
    try:
        parcel = Parcel((True, function(*arguments)))
    except Exception as error:
        summary, hint = f"{type(error).__name__}: {error}", f"In the worker:\n{traceback.format_exc()}"
        parcel = Parcel((False, (memory.value, summary, hint)))
    with parcel:
        parcel.send(sock)


def _die_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)
