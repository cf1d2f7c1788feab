"""Calls of device functions: a stack of return places per lane, parameters, and frames for recursion."""
import numpy as np

from .faults import Fault

DEEPEST = 512                    # nested calls


class Calls:
    """The call stacks of a machine's lanes."""

    def __init__(self, machine):
        self.machine, self.lanes = machine, machine.lanes
        self.depth = np.zeros(self.lanes, np.int32)
        self.returns, self.saved, self._storage = [], {}, {}
        self.sites = {}                                  # block behind a call -> the call
        layout = machine.layout
        self.top = np.full(self.lanes, layout.stack, np.uint64)
        self.frames = {name: np.full(self.lanes, layout.stack, np.uint64) for name in layout.frames}
        self._rows = {name: {} for name in layout.frames}        # offset -> frame + offset

    def reset(self):
        """Empty stacks."""
        self.depth[:] = 0
        self.top[:] = self.machine.layout.stack

    def local_row(self, function, offset):
        """Addresses of what lies at `offset` in the frames of a recursive function: a row that moves with them."""
        if offset not in self._rows[function]:
            self._rows[function][offset] = self.frames[function] + np.uint64(offset)
        return self._rows[function][offset]

    def _moved(self, function, lanes):
        """The frames of `lanes` have changed."""
        for offset, row in self._rows[function].items():
            row[lanes] = self.frames[function][lanes] + np.uint64(offset)

    def storage(self, function, name):
        """The bytes (lanes, size) of a .param variable of a device function, or of a call in any function."""
        key = function.name, name
        if key not in self._storage:
            variables = [*function.parameters, *function.returns, *function.variables.values()]
            size = next(v.size for v in variables if v.name == name)
            self._storage[key] = np.zeros((self.lanes, -(-size // 16) * 16), np.uint8)
        return self._storage[key]

    # -- entering and leaving --------------------------------------------------------------------------------------
    def enter(self, site, lanes, callee, following):
        """`lanes` (boolean) call `callee` at the instruction `site`, to return to block `following`."""
        self.sites[following] = site
        if callee.name in self.machine.program.recursive:
            self._save(callee, lanes)
        for formal, actual in zip(callee.parameters, site.operands[2].parts):
            self._copy(callee, formal, site.function, actual, lanes)
        depth = int(self.depth[lanes].max())
        if depth >= DEEPEST:
            raise self.machine.fault(site, f"more than {DEEPEST} nested calls", lanes)
        while len(self.returns) <= depth:
            self.returns.append(np.zeros(self.lanes, np.int32))
        for level in np.unique(self.depth[lanes]):
            here = lanes & (self.depth == level)
            self.returns[level][here] = following
        self.depth[lanes] += 1

    def leave(self, ins, lanes):
        """`lanes` return from the function of `ins`. Gives the block that each goes to (a row)."""
        callee, places = ins.function, np.zeros(self.lanes, np.int32)
        self.depth[lanes] -= 1
        for level in np.unique(self.depth[lanes]):
            here = lanes & (self.depth == level)
            places[here] = self.returns[level][here]
            if callee.name in self.machine.program.recursive:
                self._restore(callee, here, level)
        for place in np.unique(places[lanes]):
            site, here = self.sites[int(place)], lanes & (places == place)
            for formal, actual in zip(callee.returns, site.operands[0].parts):
                self._copy(callee, formal, site.function, actual, here, back=True)
        return places

    def _copy(self, callee, formal, caller, actual, lanes, back=False):
        """Copy an argument in, or with `back` a result out."""
        inside = self._place(callee, formal.name, formal.space, formal.kind)
        outside = self._place(caller, actual.name, "reg" if actual.name in caller.registers else "param", formal.kind) \
            if hasattr(actual, "name") else np.full(self.lanes, actual.value, inside.dtype)
        to, given = (outside, inside) if back else (inside, outside)
        if to.ndim == 2 and given.ndim == 1:
            to, given = to[:, :given.itemsize], np.ascontiguousarray(given).view(np.uint8).reshape(self.lanes, -1)
        elif to.ndim == 1 and given.ndim == 2:
            given = np.ascontiguousarray(given[:, :to.itemsize]).view(to.dtype)[:, 0]
        elif to.ndim == 2:
            width = min(to.shape[1], given.shape[1])
            to, given = to[:, :width], given[:, :width]
        to[lanes] = given[lanes]

    def _place(self, function, name, space, kind):
        if space == "reg":
            return self.machine.files[function.name].row(name, kind)
        return self.storage(function, name)

    # -- recursion ---------------------------------------------------------------------------------------------------
    def _kept(self, callee):
        """Everything that an inner activation of `callee` would overwrite."""
        rows = list(self.machine.files[callee.name].rows.values())
        rows += [self.storage(callee, v.name).T for v in callee.parameters if v.space == "param"]
        frame = self.frames.get(callee.name)
        return rows + ([frame[None]] if frame is not None else [])

    def _save(self, callee, lanes):
        kept = self._kept(callee)
        for level in np.unique(self.depth[lanes]):
            here = lanes & (self.depth == level)
            store = self.saved.setdefault((callee.name, int(level)), [])
            if not store:
                store += [np.empty_like(rows) for rows in kept]
            for saved, rows in zip(store, kept):
                saved[:, here] = rows[:, here]
        if callee.name in self.frames:
            size = np.uint64(self.machine.layout.frames[callee.name])
            self.frames[callee.name][lanes] = self.top[lanes]
            self.top[lanes] += size
            self._moved(callee.name, lanes)
            if (self.top[lanes] > self.machine.layout.local).any():
                most = self.machine.layout.local
                raise Fault(f"stack overflow in {callee.name}: more than {most} bytes of local memory")

    def _restore(self, callee, lanes, level):
        for saved, rows in zip(self.saved[callee.name, int(level)], self._kept(callee)):
            rows[:, lanes] = saved[:, lanes]
        if callee.name in self.frames:
            self.top[lanes] -= np.uint64(self.machine.layout.frames[callee.name])
            self._moved(callee.name, lanes)
