"""The compiled kernels of an installation: a manifest that says what each is, binaries per processor, and PTX.

kernels/library.py writes the folder when minidl is built.
"""
import json
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path


def extension():
    """`minidl.kernels._gpu`, which checks arguments and talks to the driver.

    Raises:
        ImportError: it was not compiled.
    """
    return import_module("minidl.kernels._gpu")


@dataclass(frozen=True, eq=False)
class Entry:
    """A compiled kernel, as the manifest has it."""

    kernel: str
    maker: str                                         # "triton" or "cuda"
    key: dict                                          # what callers ask for: {"dtype": "float16", "head": 64}
    signature: dict                                    # its arguments -> "*fp16", "i32", "fp32", …, in order
    constants: dict                                    # what grids depend on: {"BLOCK_M": 128}
    divisible: tuple                                   # arguments (addresses, integers) that are multiples of 16
    cooperative: bool                                  # do its blocks wait for each other?
    scratch: int                                       # null pointers that follow its arguments
    targets: dict = field(default_factory=dict)        # "sm_80" -> {"symbol", "block", "shared", "file", …}

    def bound(self, target, image=b""):
        """What checks its arguments and launches its binary `image` for a target, `minidl.kernels._gpu.Kernel`."""
        signature = [(name, kind, name in self.divisible) for name, kind in self.signature.items()]
        return extension().Kernel(self.kernel, target["symbol"], image, signature, target["block"], target["shared"],
                                  self.scratch, self.cooperative)


class Library:
    """A folder of compiled kernels.

    Args:
        folder: with a manifest.json; None: no kernels.
    """

    def __init__(self, folder):
        self.folder = folder

    @classmethod
    def installed(cls):
        """The one that came with this installation."""
        folders = [Path(place, "gpu") for place in import_module("minidl.kernels").__path__]
        return cls(next((f for f in folders if (f / "manifest.json").exists()), None))

    @cached_property
    def manifest(self):
        """What was compiled, by what, from which sources."""
        return json.loads((self.folder / "manifest.json").read_text()) if self.folder else {"entries": []}

    @cached_property
    def entries(self):
        """{(kernel, its key's items): Entry}."""
        return {(row["kernel"], frozenset(row["key"].items())): Entry(**row) for row in self.manifest["entries"]}

    def find(self, kernel, key):
        """An entry, or None."""
        return self.entries.get((kernel, frozenset(key.items())))

    def binary(self, entry, capability):
        """(target, image) of an entry for a device's compute capability (major, minor): what was compiled for it,
        or PTX, which the driver compiles."""
        major, minor = capability
        exact = entry.targets.get("sm_80" if major == 8 else f"sm_{major}{minor}")
        if exact:
            return exact, (self.folder / exact["file"]).read_bytes()
        oldest = entry.targets["sm_80"]
        return oldest, (self.folder / oldest["ptx"]).read_bytes() + b"\0"
