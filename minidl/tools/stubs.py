"""Writes the stubs that editors and type checkers read: ops and methods are made at run time, where they cannot look.

    python -m minidl.tools.stubs            writes minidl/tensor.pyi and minidl/ops/__init__.pyi
    python -m minidl.tools.stubs --check    says whether they are up to date
"""
import inspect
import sys
from pathlib import Path

import minidl

from ..tensor import Tensor

ROOT = Path(minidl.__file__).parent
HEAD = """\
# Written by `python -m minidl.tools.stubs`: do not edit.
import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np
"""
LIKE = "TensorLike = Tensor | np.ndarray | builtins.float | builtins.int | builtins.bool | list | tuple\n"
SIMPLE = (int, float, bool, str, type(None))


def _default(value):
    plain = isinstance(value, SIMPLE) or isinstance(value, tuple) and all(isinstance(v, SIMPLE) for v in value)
    return repr(value) if plain and value == value and value not in (float("inf"), -float("inf")) else "..."


def op_signature(op, method=None):
    """The declaration of an op, as a function or as a method of some name."""
    parts = []
    for slot in op.contract.inputs:
        kind = "Sequence[TensorLike]" if slot.many else "TensorLike | None" if slot.optional else "TensorLike"
        parts.append(f"{slot.name}: {kind}" + (" = None" if op.defaults[slot.name] is None else ""))
    if method:                                         # (operators meet anything: two classes may both answer)
        parts = ["self", *(["other: Any"] * (len(parts) - 1) if method.startswith("__") else parts[1:])]
    for name, default in op.params.items():
        if name in op.keyword_only and "*" not in parts:
            parts.append("*")
        parts.append(f"{name}: Any" if default is inspect.Parameter.empty else f"{name}: Any = {_default(default)}")
    return f"({', '.join(parts)}) -> {'tuple[Tensor, ...]' if op.contract.several else 'Tensor'}: ..."


def function_signature(function):
    """The declaration of a plain function; what it does not annotate is Any."""
    parts, starred = [], False
    parameters = list(inspect.signature(function).parameters.values())
    for i, p in enumerate(parameters):
        if p.kind is p.KEYWORD_ONLY and not starred:
            parts.append("*")
        starred = starred or p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
        mark = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        parts.append(f"{mark}{p.name}: Any" if p.default is p.empty and p.name != "self" or mark
                     else p.name if p.name == "self" else f"{p.name}: Any = {_default(p.default)}")
        if p.kind is p.POSITIONAL_ONLY and (i + 1 == len(parameters)
                                            or parameters[i + 1].kind is not p.POSITIONAL_ONLY):
            parts.append("/")
    return f"({', '.join(parts)}) -> Any: ..."


def ops_stub():
    """minidl/ops/__init__.pyi."""
    lines = [HEAD + "from ..tensor import Tensor\n\n" + LIKE]
    for name in sorted(n for n in dir(minidl.ops) if not n.startswith("_")):
        value = getattr(minidl.ops, name)
        if hasattr(value, "op"):
            lines.append(f"def {name}{op_signature(value.op)}")
        elif inspect.isfunction(value):
            lines.append(f"def {name}{function_signature(value)}")
        elif not inspect.ismodule(value) and not inspect.isclass(value):
            lines.append(f"{name}: Any")
    return "\n".join(lines) + "\n"


def tensor_stub():
    """minidl/tensor.pyi."""
    lines = [HEAD + LIKE, "class Tensor:"]
    for name, value in sorted(vars(Tensor).items()):
        function = getattr(value, "op", value)
        if isinstance(value, property):
            kind = {"shape": "tuple[builtins.int, ...]", "ndim": "builtins.int", "size": "builtins.int",
                    "device": "str",
                    "is_leaf": "builtins.bool", "requires_grad": "builtins.bool", "dtype": "np.dtype",
                    "grad": "Tensor | None"}.get(name, "Tensor")
            lines += ["    @property", f"    def {name}(self) -> {kind}: ..."]
            if value.fset:
                lines += [f"    @{name}.setter", f"    def {name}(self, value: Any) -> None: ..."]
        elif hasattr(value, "op"):
            # (tensors, where object says bool)
            override = "  # type: ignore[override]" if name in ("__eq__", "__ne__") else ""
            lines.append(f"    def {name}{op_signature(function, method=name)}{override}")
        elif inspect.isfunction(value):
            lines.append(f"    def {name}{_method(name, value)}")
    lines.insert(2, "    data: Any\n    node: Any")
    lines.append("\ndef as_array(data: Any, dtype: Any = None) -> np.ndarray: ...")
    return "\n".join(lines) + "\n"


def _method(name, function):
    kinds = {"__init__": "None", "__len__": "builtins.int", "__bool__": "builtins.bool", "__float__": "builtins.float",
             "__int__": "builtins.int", "__index__": "builtins.int", "__repr__": "str", "__hash__": "builtins.int",
             "numpy": "np.ndarray", "backward": "None", "assign": "None", "detach": "Tensor", "to": "Tensor",
             "__array__": "np.ndarray", "__reduce__": "tuple[Any, ...]", "__format__": "str"}
    returns = kinds.get(name, "Tensor" if name.startswith("__r") else "Any")
    text = function_signature(function)
    if not text.startswith("(self"):                   # (reflected operators are lambdas of x and other)
        text = "(self" + text[text.index(","):] if "," in text else "(self) -> Any: ..."
    return text.replace("-> Any", f"-> {returns}")


STUBS = {ROOT / "ops" / "__init__.pyi": ops_stub, ROOT / "tensor.pyi": tensor_stub}


def stale():
    """The stub files that do not say what the package does."""
    return [path for path, make in STUBS.items() if not path.exists() or path.read_text() != make()]


def main(arguments):
    """Write the stubs, or check them."""
    if "--check" in arguments:
        for path in stale():
            print(f"{path.relative_to(ROOT.parent)} is not up to date: run `python -m minidl.tools.stubs`")
        return bool(stale())
    for path, make in STUBS.items():
        path.write_text(make())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
