"""Damages checkpoints of every format, and sees that each gives a state or a CheckpointError.

    python -m minidl.testing.fuzz_checkpoints --count 100000 --seed 1

    valid files -> mutated (bits, pieces, lengths, opcodes) -> a worker under limits of memory and time
                -> load and weights, every array copied -> a state | a CheckpointError | a failure

Case `i` of a seed is the same file wherever it runs. A worker that dies or does not come back is replaced, and the
case at which it was is a failure; so is any other exception, and memory beyond twice the file's size and BASE.
"""
import argparse
import collections
import io as streams
import mmap
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import traceback
import zipfile
from pathlib import Path

import numpy as np

from ..errors import CheckpointError
from ..io import load, save, weights
from . import checkpoints as write

BASE = 1 << 28                                         # bytes that a case may take beside twice its file's size
MEMORY = "/dev/shm"                                    # where a file is written in no time
SECONDS = 20                                           # that a case may take
_NUMBERS = (0, 1, 2, 3, 4, 7, 8, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40,
            2**62, 2**63 - 1, 2**63, 2**64 - 1)
_OPCODES = bytes(range(0x80, 0x99)) + b"()]}.NJKMGXTUBCtaesuqrhjcRbQi012FILSVPdglop"


# -- valid files ----------------------------------------------------------------------------

def valid_files():
    """Small files of every format: {name: bytes}."""
    whole = np.random.default_rng(0).normal(size=(4, 6)).astype("f4")
    state = {"conv.weight": whole, "conv.bias": whole[1], "turned": whole.T, "half": whole.astype("f2"),
             "steps": np.array(3), "mask": np.array([True, False]), "empty": np.zeros((0, 3), "f4")}
    more = {"wide": np.broadcast_to(np.array([1.5]), (3, 4)), "u": np.arange(3, dtype="u4"), "c": np.ones(2, "c8")}
    run = {"epoch": 3, "arch": "résnet", "state_dict": state | more, "best": 0.5, "big": 2**70, "none": [None, (b"x",)],
           "optimizer": {"state": {0: {"momentum": whole}}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}}
    layer = write.module("torch.nn.modules.conv.Conv2d", {"weight": whole, "bias": None}, {"scale": whole[0]})
    model = {"ema": None, "model": write.module("models.yolo.Model", modules={"model": layer})}
    with tempfile.TemporaryDirectory() as folder:
        save({"model": {"a": whole, "b": [1.5, "text", None]}, "n": (1, float("inf"))}, Path(folder, "nest"))
        save(state, Path(folder, "flat"))
        ours = {f"safetensors {name}": Path(folder, name).read_bytes() for name in ("nest", "flat")}
    return ours | {
        "torch zip": write.torch_zip(run), "torch zip, a module": write.torch_zip(model),
        "torch legacy": write.torch_legacy(run), "torch legacy, a module": write.torch_legacy(model),
        "pickle of NumPy": write.pickled(state), "pickle of torch": write.pickled({"G": layer}, write.torch_array),
        "npz": write.npz(state), "npz, packed": write.npz(state, packed=True),
        "ctranslate2": write.ctranslate2({"a/weight": whole, "b/weight": (9 * whole).astype("i1"),
                                          "b/weight_scale": whole[:, 0], "n": np.array(3, "i2")}, [("c", "a/weight")]),
        "index": b'{"metadata": {"total_size": 240}, "weight_map": {"conv.weight": "shard", "conv.bias": "shard"}}'}


# -- mutations ------------------------------------------------------------------------------

def mutated(rng, data, others):
    """A damaged copy of a file.

    Args:
        rng: `random.Random`.
        data: the bytes of a valid file.
        others: those of all, for pieces of them.
    """
    if data[:4] == b"PK\3\4" and rng.random() < 0.7:   # inside an entry: what its checksum else would stop
        return _in_an_entry(rng, data, others)
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5, 10))):
        if data:
            rng.choice(_MUTATIONS)(rng, data, others)
    return bytes(data)


def _in_an_entry(rng, data, others):
    with zipfile.ZipFile(streams.BytesIO(data)) as archive:
        entries = [(info.filename, archive.read(info)) for info in archive.infolist()]
        packed = any(info.compress_type for info in archive.infolist())
    which = 0 if rng.random() < 0.6 else rng.randrange(len(entries))      # (the first is torch's pickle)
    name, content = entries[which]
    entries[which] = name, mutated(rng, content, others)
    return write.zipped(entries, packed)


def _flip(rng, data, others):
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(rng, data, others):
    data[rng.randrange(len(data))] = rng.randrange(256)


def _opcode(rng, data, others):
    data[rng.randrange(len(data))] = rng.choice(_OPCODES)


def _insert_opcodes(rng, data, others):
    at = rng.randrange(len(data))
    data[at:at] = bytes(rng.choices(_OPCODES, k=rng.randrange(1, 5))) * rng.choice((1, 1, 1, 10, 1000))


def _truncate(rng, data, others):
    del data[rng.randrange(len(data)):]


def _cut_out(rng, data, others):
    at = rng.randrange(len(data))
    del data[at:at + rng.randrange(1, 33)]


def _splice(rng, data, others):
    other, at = rng.choice(others), rng.randrange(len(data))
    start, length = rng.randrange(len(other)), rng.randrange(1, 200)
    data[at:at + rng.choice((0, length))] = other[start:start + length]


def _repeat(rng, data, others):
    at = rng.randrange(len(data))
    data[at:at] = data[at:at + rng.randrange(1, 100)] * rng.choice((1, 2, 100))


def _swap(rng, data, others):
    a, b = sorted((rng.randrange(len(data)), rng.randrange(len(data))))
    length = min(rng.randrange(1, 100), b - a)
    data[a:a + length], data[b:b + length] = data[b:b + length], data[a:a + length]


def _number(rng, data, others):
    """A length, a count, an offset: another number where one may be."""
    form = rng.choice(("<B", "<H", "<I", "<Q"))
    size, at = struct.calcsize(form), rng.randrange(len(data))
    if at + size <= len(data):
        value = rng.choice((rng.choice(_NUMBERS), struct.unpack_from(form, data, at)[0] + rng.choice((-1, 1, 8, -8))))
        struct.pack_into(form, data, at, value % (1 << 8 * size))


def _digits(rng, data, others):
    """A number in a text, as JSON and NumPy's headers have them."""
    places = [i for i, byte in enumerate(data) if 0x30 <= byte < 0x3a]
    if places:
        at = rng.choice(places)
        data[at:at + 1] = str(rng.choice((*_NUMBERS, -1))).encode()


_MUTATIONS = (_flip, _set, _opcode, _opcode, _insert_opcodes, _truncate, _cut_out, _splice, _splice, _repeat, _swap,
              _number, _number, _digits)


# -- workers --------------------------------------------------------------------------------

def case(files, seed, number):
    """The name of the file that a case damages, and its damaged bytes."""
    rng = random.Random(f"{seed} {number}")
    name = rng.choice(sorted(files))
    return name, mutated(rng, files[name], [files[n] for n in sorted(files)])


def judge(path):
    """What a file gives: "state" or "error".

    Raises:
        Exception: it gives something else.
    """
    outcome = "error"
    for read in (load, lambda path: [np.array(array) for array in weights(path).values()]):
        try:
            read(path)
            outcome = "state"
        except CheckpointError as error:
            assert str(path.parent) in str(error)
    return outcome


def _work(files, seed, numbers, folder, progress):
    """Judges cases one after another; `progress` says which, and how many gave what."""
    path = Path(folder, "case")
    Path(folder, "shard").write_bytes(files["safetensors flat"])
    used = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
    signal.signal(signal.SIGALRM, signal.SIG_DFL)      # (an alarm ends the process)
    for number in numbers:
        progress[0] = number
        _, data = case(files, seed, number)
        path.write_bytes(data)
        resource.setrlimit(resource.RLIMIT_AS, (used + BASE + 2 * len(data), resource.RLIM_INFINITY))
        signal.alarm(SECONDS)
        try:
            progress[1 + (judge(path) == "error")] += 1
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        finally:
            signal.alarm(0)
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def fuzz(count, seed, corpus=None, report=lambda done, failures: None):
    """Judges `count` damaged files, one worker at a time.

    Args:
        count, seed: which.
        corpus: a directory with more valid files; None: only `valid_files`.
        report: called with how many are done and the failures, now and then.

    Returns:
        ({"state": n, "error": n}, [(number, name of the valid file, how it failed)]).
    """
    files = valid_files()
    for path in Path(corpus).iterdir() if corpus else ():
        if path.is_file():
            files[path.name] = path.read_bytes()
    failures: list = []
    shared = mmap.mmap(-1, 24)
    progress, at, step = memoryview(shared).cast("q"), 0, 10_000
    with tempfile.TemporaryDirectory(dir=MEMORY if os.path.isdir(MEMORY) else None) as folder:
        while at < count:
            end = min(at + step, count)
            worker = os.fork()
            if not worker:
                _work(files, seed, range(at, end), folder, progress)
                os._exit(0)
            status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
            at = end
            if status:
                at = progress[0] + 1
                how = {1: "an exception", -signal.SIGALRM: f"not back after {SECONDS} s"}.get(status, f"died: {status}")
                failures.append((progress[0], case(files, seed, progress[0])[0], how))
            report(at, failures)
    return collections.Counter(state=progress[1], error=progress[2]), failures


def main():
    """The command line; the exit status is 1 where a case failed."""
    parser = argparse.ArgumentParser(prog="python -m minidl.testing.fuzz_checkpoints", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--corpus", help="a directory with more valid files")
    parser.add_argument("--write", type=int, metavar="NUMBER", help="only write the file of a case to stdout")
    args = parser.parse_args()
    if args.write is not None:
        sys.stdout.buffer.write(case(valid_files(), args.seed, args.write)[1])
        return
    outcomes, failures = fuzz(args.count, args.seed, args.corpus, lambda done, failed: print(
        f"{done} of {args.count}, {len(failed)} failures", file=sys.stderr, flush=True))
    for number, name, how in failures:
        print(f"case {number} ({name}): {how}")
    print(f"{args.count} damaged files of seed {args.seed}: {outcomes['state']} gave a state, {outcomes['error']} a "
          f"CheckpointError, {len(failures)} failed")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
