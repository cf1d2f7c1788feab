"""`minidl lab`: GPU kernels on the CPU: run one, look for races, count what it does, watch a thread."""
import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from .. import simt
from ..dtypes import as_dtype
from ..errors import ArgumentError, MinidlError, message
from ..simt import assembler, gpus

app = typer.Typer(no_args_is_help=True, help="GPU kernels on the CPU: run, race-check, count, trace.")

KERNEL = Annotated[Path, typer.Argument(help="A .cu or .ptx file.")]
NAME = Annotated[str | None, typer.Option("--kernel", help="Which kernel. Default: the first.")]
ARG = Annotated[list[str] | None, typer.Option("--arg", help="""In the kernel's order: a number (3, 1.5), `none`, an
array file (x.npy), or an array to make, as DTYPE:SHAPE[:FILL], such as float32:64x128:normal. Fills: zeros (default),
ones, arange, normal, uniform, empty.""")]
GRID = Annotated[str, typer.Option(help="Blocks: 4 or 4x2 or 4x2x1.")]
BLOCK = Annotated[str, typer.Option(help="Threads of a block, likewise.")]
SHARED = Annotated[int, typer.Option(min=0, help="Bytes of dynamic shared memory.")]
SEED = Annotated[int, typer.Option(help="Of random fills.")]
JSON = Annotated[bool, typer.Option("--json", help="One JSON object.")]

FILLS = {"zeros": lambda rng, shape: np.zeros(shape), "ones": lambda rng, shape: np.ones(shape),
         "arange": lambda rng, shape: np.arange(np.prod(shape)).reshape(shape),
         "normal": lambda rng, shape: rng.standard_normal(shape), "uniform": lambda rng, shape: rng.random(shape),
         "empty": lambda rng, shape: np.zeros(shape)}


def _three(option, text):
    try:
        return tuple([int(part) for part in text.split("x")])
    except ValueError:
        raise ArgumentError(message("lab", option, "numbers such as 4 or 4x2", repr(text))) from None


def argument(text, rng):
    """What `--arg` describes: a number, None or an array.

    Raises:
        ArgumentError: it is none of these.
    """
    if text.lower() in ("none", "null"):
        return None
    if text.endswith(".npy"):
        return np.load(text, allow_pickle=False)
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    dtype, _, rest = text.partition(":")
    shape, _, fill = rest.partition(":")
    try:
        sizes = [int(n) for n in shape.split("x")]
        return FILLS[fill or "zeros"](rng, sizes).astype(as_dtype(dtype))
    except (KeyError, TypeError, ValueError, MinidlError) as error:
        raise ArgumentError(message("lab", "--arg", "a number, none, FILE.npy or DTYPE:SHAPE[:FILL], with a fill of "
                                    f"{', '.join(FILLS)}", repr(text))) from error


def _arguments(texts, seed):
    rng = np.random.default_rng(seed)
    values = [argument(text, rng) for text in texts or []]
    return values, [i for i, text in enumerate(texts or []) if text.endswith(":empty")]


@app.command()
def run(file: KERNEL, kernel: NAME = None, arg: ARG = None, grid: GRID = "1", block: BLOCK = "128", shared: SHARED = 0,
        races: Annotated[bool, typer.Option(help="Look for races and reads of what nobody wrote.")] = True,
        counters: Annotated[bool, typer.Option(help="Count instructions, sectors, bank conflicts.")] = True,
        gpu: Annotated[str | None, typer.Option(help=f"Estimate for one of {', '.join(gpus.GPUS)}.")] = None,
        save: Annotated[Path | None, typer.Option(help="Folder for the arrays as they are afterwards.")] = None,
        seed: SEED = 0, as_json: JSON = False):
    """Run a kernel; exit code 1 if there were races or warnings."""
    module, (values, empty) = simt.load(file), _arguments(arg, seed)
    program = module.program(kernel)
    grid, block = _three("--grid", grid), _three("--block", block)
    result = simt.launch(module, grid, block, values, program.kernel.name, shared, races, counters or gpu is not None,
                         uninit=races, empty=empty)
    arrays = {f"arg{i}": value for i, value in enumerate(values) if isinstance(value, np.ndarray)}
    if save:
        save.mkdir(parents=True, exist_ok=True)
        for name, array in arrays.items():
            np.save(save / f"{name}.npy", array)
    report = _report(module, program.kernel.name, result, arrays, block, shared, gpu)
    print(json.dumps(report) if as_json else _text(report, result))
    raise typer.Exit(0 if result.clean else 1)


def _report(module, kernel, result, arrays, block, shared, gpu):
    """Everything that is known of a launch, for JSON."""
    report = {"kernel": kernel, "seconds": round(result.seconds, 4), "races": list(map(str, result.races)),
              "warnings": list(map(str, result.warnings)), "printed": result.printed,
              "arrays": {name: _extremes(array) for name, array in arrays.items()}}
    if result.counters:
        counts = result.counters
        report |= {"instructions": dict(counts.instructions()), "lane_use": round(counts.lane_use, 4),
                   "tensor_flops": dict(counts.tensor), "global": counts.total("global"),
                   "shared": counts.total("shared")}
    if gpu:
        report["estimate"] = str(counts.roofline(gpu))
        try:
            taken = assembler.resources(module.ptx, kernel, max(80, gpus.find(gpu).sm))
            held = gpus.occupancy(gpu, int(np.prod(block)), taken.registers, taken.shared + shared)
            report |= {"registers": taken.registers, "spills": taken.spills, "occupancy": str(held)}
        except simt.CompileError as error:
            report["registers"] = f"unknown: {str(error).splitlines()[0]}"
    return report


def _extremes(array):
    shown = {"dtype": str(array.dtype), "shape": list(array.shape)}
    return {**shown, "min": float(array.min()), "max": float(array.max())} if array.size else shown


def _text(report, result):
    lines = [f"{report['kernel']}: {report['seconds']:.3f} s in the laboratory", *result.printed]
    for name, found in report["arrays"].items():
        lines.append(f"{name}: {found['dtype']} {tuple(found['shape'])}, from {found.get('min')} to {found.get('max')}")
    if "instructions" in report:
        by_kind = ", ".join([f"{kind} {n}" for kind, n in sorted(report["instructions"].items(), key=lambda p: -p[1])])
        lines += [f"warp instructions: {by_kind}; {report['lane_use']:.0%} of lanes at work"]
        lines += [result.counters.table()]
    lines += [f"{what}: {report[what]}" for what in ("registers", "spills", "occupancy") if what in report]
    lines += [report["estimate"]] if "estimate" in report else []
    lines += [f"race: {race}" for race in report["races"]] + [f"warning: {text}" for text in report["warnings"]]
    found = f"{len(report['races'])} races, {len(report['warnings'])} warnings"
    return "\n".join([*lines, "clean" if result.clean else found])


@app.command()
def trace(file: KERNEL, kernel: NAME = None, arg: ARG = None, grid: GRID = "1", block: BLOCK = "32", shared: SHARED = 0,
          thread: Annotated[int, typer.Option(min=0, help="Which thread of the first block.")] = 0,
          line: Annotated[int | None, typer.Option(help="Only instructions of this source line.")] = None,
          most: Annotated[int, typer.Option(min=1, help="Stop after so many instructions.")] = 200,
          seed: SEED = 0):
    """Print what one thread executes: source line, instruction, and the registers that it changed."""
    module, (values, _) = simt.load(file), _arguments(arg, seed)
    stepper = simt.Stepper(thread, line, most, lambda step: print(step))
    stepper.launch(module, _three("--grid", grid), _three("--block", block), values, kernel, shared)


@app.command("list")
def list_kernels(file: KERNEL):
    """The kernels of a file and their parameters."""
    module = simt.load(file)
    for name in module.kernels:
        parameters = [f".{p.kind} {p.name}" + (f" of {p.size} bytes" if p.size > 8 else "")
                      for p in module.program(name).kernel.parameters]
        print(f"{name}({', '.join(parameters)})")


@app.command("gpus")
def list_gpus():
    """The GPUs that estimates are known for."""
    for gpu in gpus.GPUS.values():
        print(f"{gpu.name:9} sm_{gpu.sm}, {gpu.processors} multiprocessors at {gpu.clock} GHz, "
              f"{gpu.bandwidth / 1e9:.0f} GB/s, TFLOP/s: float32 {gpu.scalar / 1e12:.0f}, tensor f16 "
              f"{gpu.tensor['f16'] / 1e12:.0f}")
