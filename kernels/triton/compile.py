"""Compiles variants of Triton kernels ahead of time: no GPU, driver or torch is needed."""
import re
from importlib import import_module
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

FOLDER = Path(__file__).parent
SCRATCH = 2                                            # pointers that follow a compiled entry's own arguments


def families():
    """The files of kernels, by name: those that say which variants they have."""
    return [p.stem for p in sorted(FOLDER.glob("*.py")) if re.search(r"^def variants\(\)", p.read_text(), re.M)]


def variants(family):
    """The variants of one file."""
    return list(import_module(f"{__package__}.{family}").variants())


def version():
    """The compiler's."""
    return triton.__version__


def compiled(variant, target, binary=True):
    """Compile for "sm_80", "sm_90" or "sm_100". (Triton makes the binary, wanted or not, and keeps it in its cache.)

    Returns:
        dict: symbol, block, shared (bytes), ptx (text), cubin (bytes), product (does it multiply matrices?).

    Raises:
        ValueError: the variant does not fit its function, or asks for scratch memory, which launches do not give.
    """
    names = variant.function.arg_names
    given = {**variant.signature, **dict.fromkeys(variant.constants, "constexpr")}
    if set(given) != set(names) or list(variant.signature) != [n for n in names if n in variant.signature]:
        raise ValueError(f"[{variant.kernel}] signature: expected {names} in this order, got {list(given)}")
    source = ASTSource(fn=variant.function, signature={n: given[n] for n in names}, constexprs=variant.constants,
                       attrs={(names.index(n),): [["tt.divisibility", 16]] for n in variant.divisible})
    made = triton.compile(source, target=GPUTarget("cuda", int(target.removeprefix("sm_")), 32), options={
        "num_warps": variant.num_warps, "num_stages": variant.num_stages, "enable_fp_fusion": True})
    if made.metadata.global_scratch_size or made.metadata.num_ctas != 1:
        raise ValueError(f"[{variant.kernel}] {target}: expected neither scratch memory nor clusters")
    return {"symbol": made.metadata.name, "block": [32 * variant.num_warps, 1, 1], "shared": made.metadata.shared,
            "ptx": made.asm["ptx"], "cubin": made.asm["cubin"], "product": "tt.dot" in made.asm["ttir"]}
