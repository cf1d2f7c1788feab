"""Where a program's variables live: module variables in global memory, shared and local ones at offsets in their windows."""
import numpy as np

from .faults import PtxError
from .memory import CODE
from .syntax import Symbol

STACK = 1 << 14                  # bytes of local memory per lane for the frames of recursive functions
HEAP = 1 << 20                   # bytes that device-side malloc may give, all in all


def align(offset, to):
    """`offset` rounded up to a multiple of `to`."""
    return -(-offset // to) * to


class Layout:
    """Addresses of everything a program names.

    Attributes:
        static_shared: bytes of shared memory before the dynamic part.
        local: bytes of local memory per lane; frames of recursive functions grow from `stack`.
        local_of: (function name, variable) -> offset in its function's frame, or in the lane's local memory.
        frames: recursive function -> bytes of its frame.
        parameters: kernel parameter -> its bytes.
        workspace: address of cooperative groups' grid barrier.
    """

    def __init__(self, program, memory):
        self.program, self.memory = program, memory
        self.static_shared, self._shared, self._dynamic = 0, {}, []
        self.local, self.local_of, self.frames = 0, {}, {}
        used = {f.name for f in program.functions}
        for variable in program.source.variables.values():
            if variable.space == "shared":
                self._place_shared(None, variable)
        for function in program.functions:
            self._place_local(function)
            for variable in function.variables.values():
                if variable.space == "shared":
                    self._place_shared(function.name, variable)
        self.static_shared = align(self.static_shared, 16)
        self.stack = self.local = align(self.local, 16)
        if self.frames:
            self.local += STACK
        self.globals = self._globals(used)
        self.workspace = memory.allocate(64, "grid workspace")
        self.parameters = {v.name: np.zeros(v.size, np.uint8) for v in program.kernel.parameters}
        self.parameter_at = {}

    def find(self, function, name):
        """The address of a shared or global variable or of a kernel parameter named `name` in `function`, None if there is none."""
        for key in ((function, name), (None, name)):
            if key in self._shared:
                return self._shared[key]
            if key in self._dynamic:
                return self.static_shared
            if key in self.globals:
                return self.globals[key]
        return self.parameter_at.get(name)

    def place_parameters(self):
        """Put those of the kernel's parameters into memory whose address it takes."""
        taken = {o.name for ins in self.program.kernel.instructions if "param" not in ins.opcode
                 for o in ins.operands if isinstance(o, Symbol)}
        for name in taken & self.parameters.keys():
            self.parameter_at[name] = self.memory.put(self.parameters[name], f"parameter {name}")

    def _place_shared(self, function, variable):
        if variable.size is None:
            self._dynamic.append((function, variable.name))
            return
        offset = align(self.static_shared, max(variable.align, 1))
        self._shared[function, variable.name] = offset
        self.static_shared = offset + variable.size

    def _place_local(self, function):
        """A fixed place for each local variable; in recursive functions an offset in the frame."""
        offset = 0 if function.name in self.program.recursive else self.local
        start = offset
        for variable in function.variables.values():
            if variable.space == "local":
                offset = align(offset, max(variable.align, 1))
                self.local_of[function.name, variable.name] = offset
                offset += variable.size
        if function.name in self.program.recursive:
            if offset:
                self.frames[function.name] = align(offset, 16)
        elif offset != start:
            self.local = align(offset, 16)

    def _globals(self, used):
        """Addresses of module and function variables in global and constant memory; made once per memory and module."""
        source, memory = self.program.source, self.memory
        known = memory.modules.setdefault(source, {})
        fresh = []
        scopes = [(None, source.variables)] + [(f.name, f.variables) for f in source.functions.values()]
        for scope, variables in scopes:
            for v in variables.values():
                if v.space in ("global", "const") and (scope, v.name) not in known and v.defined:
                    known[scope, v.name] = memory.allocate(max(v.size or 0, 1), v.name)
                    fresh.append((known[scope, v.name], v))
        for address, variable in fresh:
            raw = memory.view(address, len(variable.initial))
            raw[:] = np.frombuffer(variable.initial, np.uint8)
            for offset, symbol in variable.relocations:
                raw[offset:offset + 8] = np.array([self._relocated(known, variable, symbol)], np.uint64).view(np.uint8)[:len(raw) - offset]
        return known

    def _relocated(self, known, variable, symbol):
        if symbol.name in self.program.addresses:
            return CODE + 16 * self.program.addresses[symbol.name] + symbol.offset
        if (None, symbol.name) in known:
            return known[None, symbol.name] + symbol.offset
        raise PtxError(f"[simt] variable {variable.name}: expected an initialiser of known names, got {symbol.name}")
