"""A kernel bound to a number of lanes: registers, memory spaces, special registers, and closures for its blocks."""
import numpy as np

from ..errors import MinidlError
from .binding import Binding, Mask, RegisterFile
from .clusters import Grid
from .faults import Fault, Finding, PtxError, UnknownInstruction
from .fusion import limited
from .kinds import DTYPE, UNSIGNED
from .layout import function_address, place_variables
from .memory import Global, Window
from .schedule import Scheduler
from .syntax import Register, Symbol
from .table import find, load_families

load_families()
WARP = 32


class Machine:
    """Executes one kernel for a chunk of thread blocks at once; may be prepared for one launch after another.

    Lanes are all threads of all blocks of the chunk, block after block; a block's last warp is filled up with idle
    lanes.

    Args:
        program: the linked kernel.
        ctas: thread blocks per chunk.
        block: threads per block, three numbers.
        cluster: blocks per cluster, three numbers.
        dynamic_shared: bytes of dynamic shared memory per block.
        track: whether to notice reads of shared memory that nobody wrote.
        observed: whether observers will watch.
        tracer: called before every instruction, or None.

    Attributes:
        lanes: how many.
        threads: lanes per block, a multiple of 32.
        grid: the Grid of the launch.
        cluster_size: blocks per cluster.
        cta_of, warp_of: the block and the warp of every lane.
        files: function name -> RegisterFile.
        spaces: "global", "shared", "local" -> Space.
        parameters: kernel parameter -> its bytes.
        observers: the race check, the counters.
        warnings, printed: findings, and what printf wrote, since `prepare`.
    """

    def __init__(self, program, ctas, block, cluster=(1, 1, 1), dynamic_shared=0, track=False, observed=False,
                 tracer=None):
        self.program, self.source, self.block, self.ctas = program, program.source, block, ctas
        self.cluster, self.cluster_size = cluster, int(np.prod(cluster))
        self.size = int(np.prod(block))
        self.threads = -(-self.size // WARP) * WARP
        self.lanes, self.layout = ctas * self.threads, program.layout
        self.observed, self.observers, self.tracer = observed, [], tracer
        self.lane = np.arange(self.lanes)
        self.cta_of, self.warp_of, self.lane_in_warp = self.lane // self.threads, self.lane // WARP, self.lane % WARP
        self.files = {f.name: RegisterFile(f, program.written_in_order(f), self.lanes) for f in program.functions}
        self.shared_size, layout = self.layout.static_shared + dynamic_shared, self.layout
        self.spaces = {"global": Global(self),
                       "shared": Window("shared", self, ctas, self.shared_size, self.cta_of, track),
                       "local": Window("local", self, self.lanes if layout.local else 1, layout.local,
                                       self.lane if layout.local else np.zeros(self.lanes, np.int64))}
        self.spaces["shared"].together = self.cluster_size
        self.parameters = {v.name: np.zeros(v.size, np.uint8) for v in program.kernel.parameters}
        self._specials, self._bound, self._parts = self._special_registers(dynamic_shared), {}, {}
        self._addresses, self.first_cta = {}, 0
        self.carry = np.zeros(self.lanes, np.uint8)      # the flag CC.CF of add.cc and kin
        self.scratch_rows, self.alive, self.mask, self.guard = {}, Mask(self.lanes), Mask(self.lanes), Mask(self.lanes)
        self.schedule = Scheduler(self)

    @property
    def bytes(self):
        """About how much memory the machine takes."""
        rows = [rows for file in self.files.values() for rows in file.rows.values()] + [*self.scratch_rows.values()]
        windows = [self.spaces[name].region.data for name in ("shared", "local")]
        return sum(array.nbytes for array in (*rows, *windows)) + 4096 * len(self._bound)

    def prepare(self, memory, grid, arguments, observers=(), seed=None, limit=20_000_000):
        """Make ready for a launch.

        Args:
            memory: the GlobalMemory.
            grid: blocks, three numbers.
            arguments: the bytes of each kernel parameter, in order.
            observers: who watches.
            seed, limit: see `launch`.
        """
        self.memory, self.grid, self.observers[:] = memory, Grid(grid, self.cluster), observers
        self.warnings, self.printed, self._warned = [], [], set()
        self.spaces["global"].use(memory)
        for raw, given in zip(self.parameters.values(), arguments):
            raw[:] = np.frombuffer(given, np.uint8)
        self._variables = place_variables(self.program, memory)
        self._parameter_at = {name: memory.put(self.parameters[name], f"parameter {name}")
                              for name in self.program.parameters_in_memory}
        workspace = memory.allocate(64, "grid workspace")
        for name, value in [(f"%nctaid.{axis}", n) for axis, n in zip("xyz", grid)] + [
                (f"%nclusterid.{axis}", n // c) for axis, n, c in zip("xyz", grid, self.cluster)] + [
                ("%envreg1", workspace >> 32), ("%envreg2", workspace & 0xFFFFFFFF)]:
            self._specials[name][:] = value
        for (function, symbol), cell in self._addresses.items():
            cell[0] = self._address(function, symbol)
        self.schedule.prepare(seed, limit)

    # -- what operands refer to -----------------------------------------------------------------------------------
    def _special_registers(self, dynamic_shared):
        linear, (bx, by, _) = self.lane % self.threads, self.block
        lane = self.lane_in_warp.astype(np.uint64)
        below, full = (np.uint64(1) << lane) - np.uint64(1), np.uint64(0xFFFFFFFF)
        upto = below * np.uint64(2) + np.uint64(1)
        values = {"%laneid": lane, "%warpid": linear // WARP, "%nwarpid": self.threads // WARP, "%smid": 0, "%nsmid": 1,
                  "%gridid": 1, "%lanemask_lt": below, "%lanemask_eq": upto - below, "%lanemask_le": upto,
                  "%lanemask_gt": full & ~upto, "%lanemask_ge": full & ~below, "%total_smem_size": self.shared_size,
                  "%dynamic_smem_size": dynamic_shared, "%aggr_smem_size": self.shared_size,
                  "%is_explicit_cluster": self.cluster_size > 1, "%cluster_ctarank": self.cta_of % self.cluster_size,
                  "%cluster_nctarank": self.cluster_size}
        tid = linear % bx, linear // bx % by, linear // (bx * by)
        for axis, name in enumerate("xyz"):
            values |= {f"%tid.{name}": tid[axis], f"%ntid.{name}": self.block[axis], f"%nctaid.{name}": 0,
                       f"%ctaid.{name}": 0, f"%cluster_ctaid.{name}": 0, f"%cluster_nctaid.{name}": self.cluster[axis],
                       f"%nclusterid.{name}": 0, f"%clusterid.{name}": 0}
        values |= {f"%envreg{k}": 0 for k in range(32)}  # 1 and 2: the workspace of cooperative groups' grid barrier
        return {name: np.broadcast_to(np.asarray(v), self.lanes).astype(np.uint32) for name, v in values.items()}

    def special(self, name, kind):
        """The row of a special register read as `kind`.

        Raises:
            PtxError: there is no such register.
        """
        if name not in self._specials:
            raise PtxError(f"[simt] special register {name}: expected one of {', '.join(sorted(self._specials))}")
        row, dtype = self._specials[name], DTYPE[kind]
        return row.view(dtype) if row.itemsize == dtype.itemsize else row.astype(dtype)

    def address(self, symbol, ins):
        """The address (uint64) of a variable or function as `ins` sees it: one element, or one per lane.

        Raises:
            PtxError: there is nothing of that name.
        """
        function, calls = ins.function.name, self.schedule.calls
        if function in calls.frames and (function, symbol.name) in self.layout.local_of:
            return calls.local_row(function, self.layout.local_of[function, symbol.name] + symbol.offset)
        key = function, symbol
        if key not in self._addresses:
            self._addresses[key] = np.array([self._address(*key, ins)], np.uint64)
        return self._addresses[key]

    def _address(self, function, symbol, ins=None):
        if (function, symbol.name) in self.layout.local_of:
            return self.layout.local_of[function, symbol.name] + symbol.offset
        if symbol.name in self.program.addresses:
            return function_address(self.program, symbol.name)
        for places in (self.layout.shared, self._variables):
            for scope in (function, None):
                if (scope, symbol.name) in places:
                    return places[scope, symbol.name] + symbol.offset
        if symbol.name in self._parameter_at:
            return self._parameter_at[symbol.name] + symbol.offset
        raise PtxError(f"[simt] line {ins.line}: {symbol.name} is no variable, function or parameter: "
                       f"{self.describe(ins)}")

    def part(self, kind):
        """State that a family of instructions keeps for this machine, made when first asked for: an object of class
        `kind` (made from the machine) with a method `reset` that is called before each chunk of blocks."""
        if kind not in self._parts:
            self._parts[kind] = kind(self)
        return self._parts[kind]

    def scratch(self, kind, slot, shape):
        """A row for intermediate results that live within one closure; closures share it by `slot`."""
        key = DTYPE[kind], slot, shape
        if key not in self.scratch_rows:
            self.scratch_rows[key] = np.empty(shape, DTYPE[kind])
        return self.scratch_rows[key]

    # -- binding ---------------------------------------------------------------------------------------------------
    def bind_block(self, block, mode):
        """Closures of one block. `mode`: "all" lanes run; "alive": those that have not left the kernel; "some" do."""
        bound = []
        groups = [[ins] for ins in block.instructions] if self.tracer else limited(block.groups, self.lanes)
        for group in groups:
            key = group[0], len(group), mode
            if key not in self._bound:
                self._bound[key] = self.bind(group, mode)
            bound += ([self._traced(group[0], mode)] if self.tracer else []) + [self._bound[key]]
        if self.tracer and block.ending is not None:
            bound.append(self._traced(block.ending, mode))
        return bound

    def _traced(self, ins, mode):
        mask = {"all": None, "alive": self.alive, "some": self.mask}[mode]
        return lambda: self.tracer(self, ins, mask)

    def entry(self, ins):
        """The table's entry for an instruction.

        Raises:
            UnknownInstruction: there is none; the message names the instruction and its lines.
        """
        entry = find(ins)
        if entry is None:
            raise UnknownInstruction(f"[simt] {'.'.join(ins.opcode)}: not an instruction the laboratory executes, PTX "
                                     f"line {ins.line}: {self.describe(ins)}")
        return entry

    def bind(self, group, mode):
        """The closure of an instruction, or of several independent ones of one form."""
        ins = group[0]
        entry = self.entry(ins)
        mask = {"all": None, "alive": self.alive, "some": self.mask}[mode]
        if ins.guard:
            return self._guarded(group, entry, mode, mask)
        pure = entry.elementwise
        if pure and mode == "alive":                     # registers of lanes that have left may take any value
            mask = None
        return self._close(entry, group, mask, blend=mode == "some")

    def _close(self, entry, group, mask, blend):
        binding = Binding(self, group, mask, blend)
        return binding.closure(self._bound_by(entry, binding))

    def _bound_by(self, entry, binding):
        """What the instruction's family makes of it.

        Raises:
            UnknownInstruction: the family does not know this form, and stumbled over it.
        """
        try:
            return entry.bind(binding)
        except (AttributeError, LookupError, StopIteration, TypeError, ValueError) as error:
            if isinstance(error, MinidlError):
                raise
            ins = binding.ins
            raise UnknownInstruction(f"[simt] {'.'.join(ins.opcode)}: not a form of {ins.name} that the laboratory "
                                     f"executes, PTX line {ins.line}: {self.describe(ins)}") from error

    def _guarded(self, group, entry, mode, mask):
        register, negated = group[0].guard
        p, guard = self.files[group[0].function.name].row(register.name, "pred"), self.guard
        masked = self._close(entry, group, guard, blend=True)
        everyone = self._close(entry, group, None, blend=False) if mode == "all" else None

        def run():
            taken = ~p if negated else p
            if mask is not None:
                taken = taken & mask.bool
            raw = taken.tobytes()
            if everyone is not None and raw.find(0) < 0:
                everyone()
            elif raw.find(1) >= 0:
                guard.set(taken)
                masked()
        return run

    def bind_control(self, block):
        """The Transfer of a block's ending."""
        binding = Binding(self, [block.ending], None, False)
        binding.block = block
        return self._bound_by(self.entry(block.ending), binding)

    def members(self, ins, entry):
        """A closure: for every lane, the mask of the lanes of its warp that execute the collective `ins` together."""
        operand = entry.members(ins)
        if operand is None:
            everyone = np.full(1, 0xFFFFFFFF, np.uint32)
            return lambda: everyone
        row = Binding(self, [ins], None, False).read(operand, "u32")
        return lambda: row

    # -- running --------------------------------------------------------------------------------------------------
    def run(self, first_cta, ctas):
        """Run the `ctas` blocks of the grid that start at number `first_cta`: whole clusters."""
        for name, value, size in zip("xyz", self.grid.place(self.cta_of + first_cta), self.cluster):
            self._specials[f"%ctaid.{name}"][:] = value
            self._specials[f"%clusterid.{name}"][:] = value // size
            self._specials[f"%cluster_ctaid.{name}"][:] = value % size
        self.first_cta = first_cta
        self.spaces["shared"].clear()
        self.spaces["local"].clear()
        for part in self._parts.values():
            part.reset()
        for observer in self.observers:
            observer.begin(self, first_cta)
        with np.errstate(all="ignore"):
            self.schedule.run((self.lane % self.threads < self.size) & (self.cta_of < ctas))
        for observer in self.observers:
            observer.end(self)

    # -- reporting ----------------------------------------------------------------------------------------------------
    def where(self, ins):
        """Source line of an instruction."""
        return self.source.where(ins)

    def describe(self, ins):
        """An instruction and its source line."""
        return self.source.describe(ins)

    def fault(self, ins, what, lanes, addresses=()):
        """The Fault to raise when `lanes` (boolean, or the number of one) did `what` at an instruction."""
        first = self.lane_name(lanes if np.ndim(lanes) == 0 else lanes.argmax())
        return Fault(f"{what}, first {first}: {self.describe(ins)}", ins.text, self.where(ins), [first], addresses)

    def warn(self, kind, ins, what, lanes):
        """Note something wrong that the kernel survives; the same kind at the same instruction is noted once."""
        if (kind, ins) not in self._warned:
            self._warned.add((kind, ins))
            first = self.lane_name(lanes if np.ndim(lanes) == 0 else lanes.argmax())
            text = f"{what}, first {first}: {self.describe(ins)}"
            self.warnings.append(Finding(kind, text, ins.text, self.where(ins), (first,)))

    def lane_name(self, lane):
        """"thread (1,0,0) of block (0,0,0)": a lane of the chunk by its place in the grid."""
        cta, t = divmod(int(lane), self.threads)
        return thread_name(cta + self.first_cta, t, self.block, self.grid)

    def registers(self, lane, function=None):
        """The registers of one lane: name -> bits (a bool for predicates), of the kernel or of a device function."""
        file = self.files[function or self.program.kernel.name]
        values = {name: file.rows[width][number, lane] for name, (width, number) in file.place.items()}
        return {name: bool(v) if v.dtype == bool else int(v) for name, v in values.items()}

    def value(self, name, lane, function=None):
        """One register of one lane as its declared type: a float for .f32."""
        file = self.files[function or self.program.kernel.name]
        kind = file.function.registers[name]
        return file.row(name, kind if kind in DTYPE else f"b{file.width(name)}")[lane].item()


def thread_name(cta, t, block, grid):
    """The name of thread `t` of block `cta`, both counted from 0."""
    (bx, by, _), (x, y, z) = block, grid.place(cta)
    return f"thread ({t % bx},{t // bx % by},{t // (bx * by)}) of block ({x},{y},{z})"


__all__ = ["Machine", "Register", "Symbol", "UNSIGNED", "thread_name"]
