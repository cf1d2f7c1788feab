"""Compiles all kernels for GPUs into a folder: binaries, PTX, and a manifest that says what each of them is.

    python -m kernels.library makers                   # which of triton and cuda can be compiled here
    python -m kernels.library build FOLDER [--makers cuda triton] [--targets sm_80 sm_90 sm_100] [--jobs 2]
    python -m kernels.library table FOLDER             # writes resources.json, which a test compares

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
import subprocess
import tempfile
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from importlib import import_module
from pathlib import Path

TARGETS = ("sm_80", "sm_90", "sm_100")
MAKERS = ("cuda", "triton")
RESOURCES = Path(__file__).with_name("resources.json")


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
        own = {"symbol": made["symbol"], "block": made["block"], "shared": made["shared"], "file": file,
               **resources(made["cubin"])[made["symbol"]], "product": made["product"],
               "matrix": matrix(entry_text(made["ptx"], made["symbol"]))}
        _write(Path(folder, file), made["cubin"])
        if target == TARGETS[0]:
            own["ptx"] = file.removesuffix(".cubin") + ".ptx"
            _write(Path(folder, own["ptx"]), made["ptx"].encode())
        found[maker, family, number] = record(variant), {target: own}
    return found


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


def table(manifest):
    """What a manifest's kernels need, as resources.json has it: {kernel and key: {target: numbers}}."""
    columns = "registers", "spills", "shared", "matrix"
    rows = {" ".join([e["kernel"], *map(str, e["key"].values())]): {
        target: [t["shared"] + t["static"] if c == "shared" else t[c] for c in columns]
        for target, t in sorted(e["targets"].items())} for e in manifest["entries"]}
    return {"compilers": manifest["compilers"], "columns": columns, "rows": dict(sorted(rows.items()))}


def entry_text(ptx, symbol):
    """The part of a PTX text that is one entry's."""
    return re.search(rf"\.entry {symbol}\(.*?(?=\.entry |\.func |\Z)", ptx, re.S)[0]


def matrix(text):
    """The instruction that multiplies matrices inside a loop of an entry: "wgmma", "tcgen05", "mma" or None."""
    places = {found[1]: found.start() for found in re.finditer(r"^(\$\w+):", text, re.M)}
    loops = [(places[found[1]], found.start()) for found in re.finditer(r"\bbra(?:\.uni)?\s+(\$\w+)", text)
             if places.get(found[1], len(text)) < found.start()]
    for name, pattern in (("wgmma", r"wgmma\.mma_async"), ("tcgen05", r"tcgen05\.mma"), ("mma", r"mma\.sync")):
        if any(low < found.start() < high for found in re.finditer(pattern, text) for low, high in loops):
            return name
    return None


def _write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


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
    tabling = commands.add_parser("table", help="write resources.json")
    tabling.add_argument("folder")
    args = parser.parse_args()
    if args.command == "makers":
        print(";".join(makers()))
    elif args.command == "table":
        made = table(json.loads(Path(args.folder, "manifest.json").read_text()))
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in made.pop("rows").items())
        RESOURCES.write_text(json.dumps(made)[:-1] + f', "rows": {{\n{lines}\n}}}}\n')
    else:
        build(args.folder, args.makers, args.targets, args.jobs)


if __name__ == "__main__":
    main()
