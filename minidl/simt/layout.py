"""Where a program's variables live: shared and local ones at offsets in their windows, those of the module in global
memory."""
import numpy as np

from .faults import PtxError
from .memory import CODE

STACK = 1 << 14                  # bytes of local memory per lane for the frames of recursive functions


def align(offset, to):
    """`offset` rounded up to a multiple of `to`."""
    return -(-offset // to) * to


class Layout:
    """Offsets of a program's shared and local variables.

    Attributes:
        static_shared: bytes of shared memory before the dynamic part.
        shared: (function name or None, variable) -> offset in shared memory.
        local: bytes of local memory per lane; frames of recursive functions grow from `stack` on.
        local_of: (function name, variable) -> offset in the lane's local memory, or in its function's frame.
        frames: recursive function with local variables -> bytes of its frame.
    """

    def __init__(self, program):
        self.static_shared, self.shared, self.local, self.local_of, self.frames = 0, {}, 0, {}, {}
        dynamic = []
        scopes = [(None, program.source.variables)] + [(f.name, f.variables) for f in program.functions]
        for scope, variables in scopes:
            for v in variables.values():
                if v.space == "shared" and v.size is None:
                    dynamic.append((scope, v.name))
                elif v.space == "shared":
                    offset = self.shared[scope, v.name] = align(self.static_shared, v.align)
                    self.static_shared = offset + v.size
        self.static_shared = align(self.static_shared, 16)
        self.shared |= dict.fromkeys(dynamic, self.static_shared)
        for function in program.functions:
            self._place_local(function, function.name in program.recursive)
        self.stack = align(self.local, 16)
        self.local = self.stack + STACK if self.frames else self.stack

    def _place_local(self, function, recursive):
        """A fixed place for each local variable; in recursive functions an offset in the frame."""
        offset = 0 if recursive else self.local
        for v in function.variables.values():
            if v.space == "local":
                offset = self.local_of[function.name, v.name] = align(offset, v.align)
                offset += v.size
        if not recursive:
            self.local = offset
        elif offset:
            self.frames[function.name] = align(offset, 16)


def place_variables(program, memory):
    """(function name or None, variable) -> address of every variable in global and constant memory. They are made,
    with their
    initial values, once per module and memory: a module's variables outlive a launch as long as the memory does."""
    known, fresh = memory.modules.setdefault(program.source, {}), []
    scopes = [(None, program.source.variables)] + [(f.name, f.variables) for f in program.functions]
    for scope, variables in scopes:
        for v in variables.values():
            if v.space in ("global", "const") and v.defined and (scope, v.name) not in known:
                known[scope, v.name] = memory.allocate(max(v.size or 0, 1), v.name)
                fresh.append((known[scope, v.name], v))
    for address, v in fresh:
        raw = memory.view(address, len(v.initial))
        raw[:] = np.frombuffer(v.initial, np.uint8)
        for offset, symbol in v.relocations:
            raw[offset:offset + 8] = np.array([_relocated(program, known, v, symbol)], np.uint64).view(np.uint8)
    return known


def function_address(program, name):
    """What a pointer to a device function holds."""
    return CODE + 16 * program.addresses[name]


def _relocated(program, known, variable, symbol):
    if symbol.name in program.addresses:
        return function_address(program, symbol.name) + symbol.offset
    if (None, symbol.name) in known:
        return known[None, symbol.name] + symbol.offset
    raise PtxError(f"[simt] variable {variable.name}: expected an initialiser of known names, got {symbol.name}")
