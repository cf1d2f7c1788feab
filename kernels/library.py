"""Compiles all kernels for GPUs into a folder: binaries, PTX, and a manifest that says what each of them is.

    python -m kernels.library makers                   # which of triton and cuda can be compiled here
    python -m kernels.library build FOLDER [--makers cuda triton] [--targets sm_80 sm_90 sm_100] [--jobs 2]
    python -m kernels.library check FOLDER             # are they within limits, and as resources.json says?
    python -m kernels.library table [FOLDER]           # writes resources.json; no FOLDER: builds in one that it forgets

The folder goes into the package as minidl/kernels/gpu; no compiler is needed where it is used. The PTX is that of the
oldest target: newer processors than those named compile it, and minidl.simt runs it.
"""
import argparse
import hashlib
import importlib.util
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from importlib import import_module
from pathlib import Path

SHARED = {"sm_80": 163 << 10, "sm_90": 227 << 10, "sm_100": 227 << 10}         # bytes that a block may have
TARGETS = tuple(SHARED)
MAKERS = ("cuda", "triton")
RESOURCES = Path(__file__).with_name("resources.json")
COLUMNS = ["registers", "spills", "shared", "matrix", "count"]                 # what it says of a kernel on a target


@cache
def compiler(maker):
    """The module that compiles a maker's kernels.

    Raises:
        ImportError, RuntimeError: it cannot be used here.
    """
    found = import_module(f"kernels.{maker}.compile")
    if maker == "cuda":
        found.compiler()
    return found


def makers():
    """Those whose compilers are here and that have kernels."""
    found = []
    for maker in MAKERS:
        try:
            found += [maker] if compiler(maker).families() else []
        except (ImportError, RuntimeError):
            continue
    return found


@cache
def variants(maker, family):
    """The variants of one file."""
    return compiler(maker).variants(family)


def fingerprint():
    """A hash of all sources of kernels for GPUs."""
    files = sorted(p for folder in MAKERS for p in Path(__file__).with_name(folder).iterdir() if p.is_file())
    return hashlib.sha256(b"".join(p.name.encode() + p.read_bytes() for p in files)).hexdigest()


def listing(of):
    """Every variant of the given makers."""
    return [v for maker in of for family in compiler(maker).families() for v in variants(maker, family)]


def record(variant):
    """What the manifest says of a variant, but for its binaries."""
    return {"kernel": variant.kernel, "maker": variant.maker, "key": variant.key, "signature": variant.signature,
            "constants": variant.constants, "divisible": list(variant.divisible), "cooperative": variant.cooperative,
            "scratch": compiler(variant.maker).SCRATCH}


def name(variant):
    """A file's name for a variant: its kernel and the values of its key."""
    return ".".join([variant.kernel, *[re.sub(r"\W", "", str(value)) for value in variant.key.values()]])


def build(folder, of=None, targets=TARGETS, jobs=None):
    """Compile the variants of the given makers (None: of all that can) for every target, and write the manifest."""
    folder = Path(folder)
    of = makers() if of is None else of
    tasks = [(str(folder), maker, family, target) for maker in of for family in compiler(maker).families()
             for target in targets]
    entries = {}
    with ProcessPoolExecutor(jobs or os.cpu_count()) as pool:
        for found in pool.map(_compile, *zip(*tasks)):
            for number, (shared, own) in found.items():
                entries.setdefault(number, {**shared, "targets": {}})["targets"].update(own)
    manifest = {"sources": fingerprint(), "compilers": {maker: compiler(maker).version() for maker in of},
                "entries": list(entries.values())}
    _write(folder / "manifest.json", json.dumps(manifest, indent=1).encode())


def _compile(folder, maker, family, target):
    """Compile one file's variants for one target; {(family, number): (what the manifest says, and of this target)}."""
    found = {}
    for number, variant in enumerate(variants(maker, family)):
        made = compiler(maker).compiled(variant, target)
        file = f"{target}/{name(variant) if maker == 'triton' else variant.source.removesuffix('.cu')}.cubin"
        own = {"file": file, **measured(made)}
        _write(Path(folder, file), without_debug(made["cubin"]))
        if target == TARGETS[0]:
            own["ptx"] = file.removesuffix(".cubin") + ".ptx"
            _write(Path(folder, own["ptx"]), made["ptx"].encode())
        found[maker, family, number] = record(variant), {target: own}
    return found


def without_debug(cubin):
    """A binary whose sections for debuggers (lines, the PTX, what relocates them) are empty, its code as it was.

    They would be two thirds of it. Their bytes stay, as zeros: nothing moves, and zeros take no room in a wheel.
    Source: System V ABI, Object Files (ELF-64).
    """
    at, = struct.unpack_from("<Q", cubin, 40)
    size, count, names = struct.unpack_from("<HHH", cubin, 58)
    headers = [struct.unpack_from("<IIQQQQ", cubin, at + i * size) for i in range(count)]
    made, text = bytearray(cubin), cubin[headers[names][4]:]
    for i, (name, _, _, _, start, length) in enumerate(headers):
        title = text[name:text.index(b"\0", name)]
        if b"debug" in title and b"frame" not in title:
            made[start:start + length] = bytes(length)
            struct.pack_into("<Q", made, at + i * size + 32, 0)
    return bytes(made)


def measured(made):
    """What the manifest says of what a compiler made of a variant."""
    symbol = made["symbol"]
    return {**{name: made[name] for name in ("symbol", "block", "shared", "product")},
            **resources(made["cubin"])[symbol], **matrix(entry_text(made["ptx"], symbol))}


@cache
def _cuobjdump():
    """The path of the tool that looks into binaries: of a CUDA toolkit's or of Triton's."""
    found = shutil.which("cuobjdump")
    triton = importlib.util.find_spec("triton")
    return found or triton and f"{triton.submodule_search_locations[0]}/backends/nvidia/bin/cuobjdump"


def resources(cubin):
    """{symbol: {"registers": …, "spills": bytes of stack and local memory, "static": bytes of shared memory}}.

    Without cuobjdump, which CUDA toolkits and Triton bring along, the inner dictionaries are empty.
    """
    if not _cuobjdump():
        return defaultdict(dict)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        said = subprocess.run([_cuobjdump(), "-res-usage", file.name], capture_output=True, text=True, check=True)
    found = re.findall(r"Function (\w+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", said.stdout)
    return {name: {"registers": int(registers), "spills": int(stack) + int(local), "static": int(shared)}
            for name, registers, stack, shared, local in found}


def title(entry):
    """What resources.json calls an entry of a manifest."""
    return " ".join([entry["kernel"], *map(str, entry["key"].values())])


def table(manifest):
    """What a manifest's kernels need, as resources.json has it: {title: {target: numbers}}.

    Bytes of spills and of shared memory of a block; the instruction that multiplies matrices in an entry's loops (null
    where nothing is to be multiplied), and how many of them there are.
    """
    def numbers(t):
        return [t["registers"], t["spills"], t["shared"] + t["static"], t["matrix"] if t["product"] else None,
                t["count"] if t["product"] else 0]

    rows = {title(e): {target: numbers(t) for target, t in sorted(e["targets"].items())} for e in manifest["entries"]}
    return {"compilers": manifest["compilers"], "columns": COLUMNS, "rows": dict(sorted(rows.items()))}


def excesses(rows):
    """What of a table's rows no processor should be asked for: spills, too much shared memory, products by hand."""
    for name, targets in rows.items():
        for target, (_, spills, shared, instruction, _) in targets.items():
            if spills:
                yield f"{name} {target}: {spills} bytes of registers are spilled"
            if shared > SHARED[target]:
                yield f"{name} {target}: {shared} bytes of shared memory, a block has {SHARED[target]}"
            if instruction == "none":
                yield f"{name} {target}: no tensor cores in the loop of a product"


def differences(manifest):
    """Where a manifest's kernels need other than resources.json says, as far as the compilers are the same."""
    known, found = json.loads(RESOURCES.read_text()), table(manifest)
    same = [m for m, version in found["compilers"].items() if known["compilers"].get(m) == version]
    for name in [title(e) for e in manifest["entries"] if e["maker"] in same]:
        for target, numbers in found["rows"][name].items():
            listed = known["rows"].get(name, {}).get(target)
            if numbers != listed:
                yield f"{name} {target}: {dict(zip(COLUMNS, numbers))}, resources.json has {listed}"
    if found["compilers"] == known["compilers"]:
        yield from (f"{name}: resources.json alone has it" for name in known["rows"].keys() - found["rows"].keys())


def entry_text(ptx, symbol):
    """The part of a PTX text that is one entry's."""
    return re.search(rf"\.entry {symbol}\(.*?(?=\.entry |\.func |\Z)", ptx, re.S)[0]


def matrix(text):
    """The instruction that multiplies matrices inside loops of an entry, "wgmma", "tcgen05", "mma" or "none", and how
    many there are."""
    places = {found[1]: found.start() for found in re.finditer(r"^(\$\w+):", text, re.M)}
    loops = [(places[found[1]], found.start()) for found in re.finditer(r"\bbra(?:\.uni)?\s+(\$\w+)", text)
             if places.get(found[1], len(text)) < found.start()]
    for name, pattern in (("wgmma", r"wgmma\.mma_async"), ("tcgen05", r"tcgen05\.mma"), ("mma", r"mma\.sync")):
        count = sum(any(low < found.start() < high for low, high in loops) for found in re.finditer(pattern, text))
        if count:
            return {"matrix": name, "count": count}
    return {"matrix": "none", "count": 0}


def _write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _manifest(folder):
    return json.loads(Path(folder, "manifest.json").read_text())


def _write_table(manifest):
    made = table(manifest)
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in made.pop("rows").items())
    RESOURCES.write_text(json.dumps(made)[:-1] + f', "rows": {{\n{lines}\n}}}}\n')


def main():
    """The command line."""
    parser = argparse.ArgumentParser(prog="kernels.library", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("makers", help="which can be compiled here")
    building = commands.add_parser("build", help="compile them")
    building.add_argument("folder")
    building.add_argument("--makers", nargs="+", choices=MAKERS, default=None)
    building.add_argument("--targets", nargs="+", default=TARGETS)
    building.add_argument("--jobs", type=int, default=None)
    commands.add_parser("check", help="compare them with resources.json").add_argument("folder")
    commands.add_parser("table", help="write resources.json").add_argument("folder", nargs="?")
    args = parser.parse_args()
    if args.command == "makers":
        print(";".join(makers()))
    elif args.command == "build":
        build(args.folder, args.makers, args.targets, args.jobs)
    elif args.command == "check":
        manifest = _manifest(args.folder)
        wrong = [*excesses(table(manifest)["rows"]), *differences(manifest)]
        sys.exit("\n".join([*wrong, "if that is as it should be: python -m kernels.library table"]) if wrong else 0)
    elif args.folder:
        _write_table(_manifest(args.folder))
    else:
        with tempfile.TemporaryDirectory() as folder:
            build(folder)
            _write_table(_manifest(folder))


if __name__ == "__main__":
    main()
