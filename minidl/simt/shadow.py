"""Who touched each cell of memory last: the race check's picture of shared and of global memory."""
import numpy as np

from .memory import GLOBAL, SHARED

MOST_LOGGED = 256                # reads of shared memory that wait to be entered


class Last:
    """The last access of some sort to each cell: its lane (-1: none), its time, the number of its instruction."""

    def __init__(self, cells):
        self.lane = np.full(cells, -1, np.int64)
        self.time, self.by = np.zeros(cells, np.int32), np.zeros(cells, np.int32)

    def note(self, cells, lanes, times, number):
        """These lanes access these cells. Of several in one cell one stays."""
        self.lane[cells], self.time[cells], self.by[cells] = lanes, times, number

    def others(self, cells, lanes):
        """Whether somebody else accessed each cell."""
        who = self.lane[cells]
        return (who >= 0) & (who != lanes)


class SharedShadow:
    """Shared memory of all blocks of a chunk.

    Per cell: the last writer, and per warp of its block the lanes that have read it since the warp last synchronised.
    Cells that an asynchronous copy is going to write are in flight.

    Reads matter only to writes that come before the next barrier of all blocks: until one comes, they wait in a log.
    """

    def __init__(self, races):
        self.races, self.clocks, machine = races, races.clocks, races.machine
        self.grain, self.threads, self.warps = races.grain["shared"], races.threads, races.threads // 32
        window = machine.spaces["shared"]
        self.count, self.stride = window.region.data.size // self.grain, window.stride // self.grain
        self.bit = np.uint32(1) << machine.lane_in_warp.astype(np.uint32)
        self.writer, self.strong, self.strong_reader = Last(self.count), np.zeros(self.count, bool), None
        self.readers = np.zeros((self.count, self.warps), np.uint32)             # lanes, as bits
        self.read_time, self.read_by = np.zeros((2, self.count, self.warps), np.int32)
        self.flying, self.flying_by, self.any_flying = None, None, False         # the lane that copies, plus 1
        self.log, self.fresh_reads, self.fresh_writes = [], False, False         # since the last barrier of all blocks

    def block_barrier(self, ctas):
        """These blocks (boolean) passed a barrier."""
        alive = self.races.machine.alive.bool.reshape(len(ctas), self.threads).any(1)
        if not (alive & ~ctas).any():
            self.log.clear()
            self.fresh_reads = self.fresh_writes = False

    def cells(self, region, at, effect):
        """The cells of each access: (lanes,) or (lanes, cells per access)."""
        per = max(1, effect.size // self.grain)
        first = at * effect.size // self.grain
        return first if per == 1 else first[:, None] + np.arange(per)

    def places(self, cells):
        """What flags are known by: cells of the whole grid, below zero."""
        first = cells if cells.ndim == 1 else cells[:, 0]
        return -1 - (first + self.races.machine.first_cta * self.stride)

    def _report(self, kind, number, earlier, lane, other, cell):
        address = SHARED + int(cell) % self.stride * self.grain
        other = int(other) + self.races.first * self.threads
        self.races.report("shared", kind, number, earlier, int(lane), other, address)

    def access(self, number, cells, lanes, effect, stored):
        """Check and note one instruction's accesses."""
        if self.any_flying:
            fly = self.flying[cells]
            if fly.any():
                k = int((fly > 0).argmax())
                by = self.flying_by[cells[k]]
                self._report("touches a copy in flight", number, by, lanes[k], fly[k] - 1, cells[k])
        if self.fresh_writes:
            self._after_write(number, cells, lanes, effect, stored)
        if effect.action != "read":
            self._enter_reads()
            if self.fresh_reads:
                self._after_read(number, cells, lanes)
            if self.strong_reader is not None and not effect.strong:
                self._after_strong_read(number, cells, lanes)
            self._note_write(number, cells, lanes, effect, stored)
        elif effect.strong:
            self.strong_reader = self.strong_reader or Last(self.count)
            self.strong_reader.note(cells, lanes, self.clocks.time[lanes], number)
        else:
            self.log.append((number, cells, lanes, self.clocks.time[lanes]))
            if len(self.log) > MOST_LOGGED:
                self._enter_reads()

    def _unordered(self, last, bad, cells, lanes):
        """`bad` without the accesses that are ordered behind what `last` remembers."""
        k = np.nonzero(bad)[0]
        bad[k] = self.clocks.unordered(last.time[cells[k]], last.lane[cells[k]], lanes[k])
        return bad

    def _after_write(self, number, cells, lanes, effect, stored):
        bad = self.writer.others(cells, lanes)
        if not bad.any():
            return
        bad &= self.writer.time[cells] > self.clocks.known.base[self.writer.lane[cells]]     # since the last barrier
        if effect.strong:
            bad &= ~self.strong[cells]
        if self._unordered(self.writer, bad, cells, lanes).any():
            k = int(bad.argmax())
            same = effect.action == "write" and not stored.differs(bad, lanes).any()
            kind = "read after write" if effect.action == "read" else "write after write" + " (same value)" * same
            cell = cells[k]
            self._report(kind, number, self.writer.by[cell], lanes[k], self.writer.lane[cell], cell)

    def _enter_reads(self):
        """Note the reads in the log."""
        readers, times, by = (rows.reshape(-1) for rows in (self.readers, self.read_time, self.read_by))
        for number, cells, lanes, time in self.log:
            flat = cells * self.warps + lanes // 32 % self.warps
            readers[flat[times[flat] != time]] = 0       # the warp has synchronised since
            times[flat], by[flat] = time, number
            np.bitwise_or.at(readers, flat, self.bit[lanes])
        self.fresh_reads |= bool(self.log)
        self.log.clear()

    def _after_read(self, number, cells, lanes):
        own, known = lanes // 32 % self.warps, self.clocks.known
        when, here = self.read_time[cells], np.arange(len(cells))
        base = known.base[::32].reshape(-1, self.warps)[lanes // self.threads]   # the last barrier of each warp
        read = self.readers[cells] * (when > base)
        mine = self.readers[cells, own] & ~self.bit[lanes]
        if mine.any():                                   # lanes of the own warp: ordered one by one
            late = known.peers[lanes] < when[here, own][:, None]
            mine &= np.bitwise_or.reduce(np.where(late, self.bit[:32], np.uint32(0)), axis=1)
        read[here, own] = np.where(when[here, own] > base[here, own], mine, 0)
        if known.wide is not None and read.any():
            self._drop_known(read, when, lanes, own)
        if read.any():
            k, warp = (int(x[0]) for x in np.nonzero(read))
            who = lanes[k] // self.threads * self.threads + warp * 32 + int(read[k, warp]).bit_length() - 1
            self._report("write after read", number, self.read_by[cells[k], warp], lanes[k], who, cells[k])

    def _drop_known(self, read, when, lanes, own):
        """Take out the readers that the writer knows through named barriers or flags."""
        known = self.clocks.known
        for k, warp in zip(*np.nonzero(read)):
            row = known.wide[lanes[k], warp * 32:warp * 32 + 32]
            if warp == own[k]:
                row = np.maximum(row, known.peers[lanes[k]])
            late = row < when[k, warp]
            read[k, warp] &= np.bitwise_or.reduce(np.where(late, self.bit[:32], np.uint32(0)))

    def _after_strong_read(self, number, cells, lanes):
        last = self.strong_reader
        bad = self._unordered(last, last.others(cells, lanes), cells, lanes)
        if bad.any():
            k = int(bad.argmax())
            self._report("write after read", number, last.by[cells[k]], lanes[k], last.lane[cells[k]], cells[k])

    def _note_write(self, number, cells, lanes, effect, stored):
        self.writer.note(cells, lanes, self.clocks.time[lanes], number)
        self.strong[cells], self.fresh_writes = effect.strong, True
        winner = self.writer.lane[cells]
        lost = winner != lanes
        if effect.action != "atomic" and lost.any():
            differing = stored.differs(lost, lanes, winner)
            if differing.any():
                k = int(differing.argmax())
                self._report("write after write in one instruction", number, number, lanes[k], winner[k], cells[k])
        if effect.action == "copy":
            if self.flying is None:
                self.flying, self.flying_by = np.zeros((2, self.count), np.int32)
            self.any_flying = True
            self.flying[cells], self.flying_by[cells] = lanes + 1, number

    def landed(self, lanes, index, size):
        """Copies have arrived: they are writes of the lanes that waited for them."""
        per = max(1, size // self.grain)
        cells = (index[:, None] * (size // self.grain) + np.arange(per)).reshape(-1)
        self.flying[cells] = 0
        self.writer.time[cells] = np.repeat(self.clocks.time[lanes], per)
        self.fresh_writes = True


class GlobalShadow:
    """The buffers that a launch writes, for all blocks of the grid. Reads of other buffers cannot race.

    Per cell: the last writer; the last weak reader and the last one of another warp; which blocks have read it since it
    was last written, as the number of an interned set of (block, barriers that the block had passed).

    Args:
        stored: (start, size) of the buffers, offsets in the arena, ascending.
        blocks: how many the grid has.
    """

    def __init__(self, races, stored, blocks):
        self.races, self.clocks, self.grain, self.threads = races, races.clocks, races.grain["global"], races.threads
        self.starts = np.array([start for start, _ in stored], np.int64)
        ends = np.cumsum([-(-size // self.grain) for _, size in stored], dtype=np.int64)
        self.count, self.bases = int(ends[-1]) if len(ends) else 0, np.concatenate([[0], ends])[:-1]
        self.first = dict(zip(self.starts.tolist(), self.bases.tolist()))        # start of a buffer -> its first cell
        self.writer = Last(self.count)
        self.strong = np.zeros(self.count, np.int8)      # of the last write: 1 within its block, 2 for all
        self.reader, self.other_reader, self.strong_reader = Last(self.count), Last(self.count), None
        self.many, self.other_many = np.zeros((2, self.count), bool)             # several lanes of that reader's warp
        self.readers = np.zeros(self.count, np.int32)
        self.sets, self.numbers, self.unions = [frozenset()], {frozenset(): 0}, {}
        self.passed = np.zeros(blocks, np.int32)         # barriers that each block has passed
        self.passed_at = {}                              # (block, barriers) -> its lanes' times at that barrier

    def block_barrier(self, ctas):
        """Count barriers."""
        base = self.clocks.known.base.reshape(-1, self.threads)
        for cta in np.nonzero(ctas)[0]:
            block = int(cta) + self.races.first
            if block < len(self.passed):
                self.passed_at[block, int(self.passed[block])] = base[cta].copy()
                self.passed[block] += 1

    def cells(self, region, at, effect):
        """The cells of each access, None for a buffer that nobody writes, -1 for such in an access to several."""
        per = max(1, effect.size // self.grain)
        first = at * effect.size // self.grain
        if region.start in self.first:
            first = first + self.first[region.start]
        elif not hasattr(region, "regions") or not len(self.starts):
            return None
        else:                                            # offsets from the start of the arena
            inside = np.array([r.start for r in region.regions])
            owner = inside[np.searchsorted(inside, at * effect.size, "right") - 1]
            place = np.minimum(np.searchsorted(self.starts, owner), len(self.starts) - 1)
            first = np.where(self.starts[place] == owner, first - owner // self.grain + self.bases[place], -1)
        return first if per == 1 else np.where(first[:, None] < 0, -1, first[:, None] + np.arange(per))

    def places(self, cells):
        """What flags are known by."""
        return cells if cells.ndim == 1 else cells[:, 0]

    def _report(self, kind, number, earlier, lane, other, cell):
        buffer = int(np.searchsorted(self.bases, cell, "right")) - 1
        address = GLOBAL + int(self.starts[buffer]) + (int(cell) - int(self.bases[buffer])) * self.grain
        self.races.report("global", kind, number, earlier, int(lane), other, address)

    def access(self, number, cells, lanes, effect, stored):
        """Check and note one instruction's accesses. `who` are lanes of the grid."""
        who = lanes + self.races.first * self.threads
        self._after_write(number, cells, lanes, who, effect, stored)
        if effect.action != "read":
            self._after_read(number, cells, lanes, who, effect)
            self._note_write(number, cells, lanes, who, effect, stored)
        elif effect.strong:
            self.strong_reader = self.strong_reader or Last(self.count)
            self.strong_reader.note(cells, who, self.clocks.time[lanes], number)
        else:
            self._note_read(number, cells, lanes, who)

    def _split(self, last, cells, who):
        """(accesses to what another block did last, to what another lane of the own block did)."""
        others, same = last.others(cells, who), last.lane[cells] // self.threads == who // self.threads
        return others & ~same, others & same

    def _unordered(self, last, across, inside, cells, lanes):
        """Both of `_split` without the accesses that are ordered behind what `last` remembers."""
        offset = self.races.first * self.threads
        k = np.nonzero(inside)[0]
        inside[k] = self.clocks.unordered(last.time[cells[k]], last.lane[cells[k]] - offset, lanes[k])
        k = np.nonzero(across)[0]
        across[k] = self.clocks.unordered_across(last.time[cells[k]], last.lane[cells[k]], lanes[k])
        return (across, "between blocks, "), (inside, "")

    def _after_write(self, number, cells, lanes, who, effect, stored):
        across, inside = self._split(self.writer, cells, who)
        if effect.strong:                                # two strong accesses do not race if each reaches the other
            inside &= self.strong[cells] == 0
            across &= (self.strong[cells] < 2) | (effect.scope == "cta")
        if not (across.any() or inside.any()):
            return
        for bad, prefix in self._unordered(self.writer, across, inside, cells, lanes):
            if bad.any():
                k = int(bad.argmax())
                same = effect.action == "write" and not stored.differs(bad, lanes).any()
                kind = "read after write" if effect.action == "read" else "write after write" + " (same value)" * same
                cell = cells[k]
                self._report(prefix + kind, number, self.writer.by[cell], lanes[k], self.writer.lane[cell], cell)

    # -- readers ------------------------------------------------------------------------------------------------------
    def _note_read(self, number, cells, lanes, who):
        time, last, other = self.clocks.time[lanes], self.reader, self.other_reader
        self._add_blocks(cells, who // self.threads)
        before = last.lane[cells]
        moved = before // 32 != who // 32                # the last reader was of another warp: keep it, too
        other.note(cells[moved], before[moved], last.time[cells[moved]], last.by[cells[moved]])
        self.other_many[cells[moved]] = self.many[cells[moved]]
        self.many[cells] = ~moved & (self.many[cells] | (before != who))
        last.note(cells, who, time, number)
        lost = last.lane[cells] != who                   # several lanes read the cell in this instruction
        if lost.any():
            near = lost & (last.lane[cells] // 32 == who // 32)
            self.many[cells[near]] = True
            far = lost & ~near
            other.note(cells[far], who[far], time[far], number)
            self.other_many[cells[far]] = True

    def _add_blocks(self, cells, blocks):
        """Enter reading blocks in the cells' sets; most cells of a tile share one set."""
        keys = self.readers[cells].astype(np.int64) << 32 | blocks
        for key in np.unique(keys).tolist():
            old, block = key >> 32, key & 0xFFFFFFFF
            item = old, block, int(self.passed[block])
            if item not in self.unions:
                grown = frozenset(x for x in self.sets[old] if x[0] != block) | {item[1:]}
                if grown not in self.numbers:
                    self.numbers[grown] = len(self.sets)
                    self.sets.append(grown)
                self.unions[item] = self.numbers[grown]
            self.readers[cells[keys == key]] = self.unions[item]

    def _after_read(self, number, cells, lanes, who, effect):
        sets = self.readers[cells]
        if sets.any():
            self._after_foreign_read(number, cells, lanes, sets)
            self._after_own_read(number, cells, lanes, who, self.reader, self.many)
            self._after_own_read(number, cells, lanes, who, self.other_reader, self.other_many)
        last = self.strong_reader
        if last is None or effect.strong and effect.scope != "cta":
            return
        across, inside = self._split(last, cells, who)
        inside &= not effect.strong
        for bad, prefix in self._unordered(last, across, inside, cells, lanes):
            if bad.any():
                k, cell = int(bad.argmax()), cells[bad.argmax()]
                self._report(prefix + "write after read", number, last.by[cell], lanes[k], last.lane[cell], cell)

    def _after_own_read(self, number, cells, lanes, who, last, many):
        """Lanes of the writer's block that have read."""
        known, reader = self.clocks.known, last.lane[cells]
        bad = (reader >= 0) & (reader // self.threads == who // self.threads)
        other, time = np.where(bad, reader - self.races.first * self.threads, 0), last.time[cells]
        own = many[cells] & (other // 32 == lanes // 32)                         # another lane of the own warp, too
        of_all = np.maximum(known.peers[lanes].min(1), known.base[other])
        bad &= np.where(own, time > of_all, self.clocks.unordered(time, other, lanes))
        if bad.any():
            k = int(bad.argmax())
            whom = "another lane of its warp" if own[k] else int(reader[k])
            self._report("write after read", number, last.by[cells[k]], lanes[k], whom, cells[k])

    def _after_foreign_read(self, number, cells, lanes, sets):
        """Blocks that have read a cell and that its writer is not ordered behind."""
        blocks = lanes // self.threads
        for key, cta in np.unique(np.stack([sets, blocks]), axis=1).T.tolist():
            others = [item for item in self.sets[key] if item[0] != cta + self.races.first]
            at = np.nonzero((sets == key) & (blocks == cta))[0] if others else ()
            for other, passed in others:
                for k in at:
                    if not self._ordered_behind(int(lanes[k]), other, passed, cells[k]):
                        self._report("between blocks, write after read", number, self.reader.by[cells[k]], lanes[k],
                                     self._reader_of(other, cells[k])[0], cells[k])
                        break
                    if not self.clocks.foreign:          # all threads of a block know the same
                        break

    def _reader_of(self, block, cell):
        """(a lane of a block that has read a cell, when); the block's first lane, None where that is forgotten."""
        for last in (self.reader, self.other_reader):
            if last.lane[cell] // self.threads == block:
                return int(last.lane[cell]), int(last.time[cell])
        return block * self.threads, None

    def _ordered_behind(self, lane, other, passed, cell):
        """Does a lane know of all reads of a cell by block `other` before its barrier number `passed`?"""
        row = self.clocks.knows_block(lane, other)
        if row is None:
            return False
        at = self.passed_at.get((other, passed))         # the barrier behind the read
        if at is not None and (row >= at).all():
            return True
        reader, time = self._reader_of(other, cell)
        return time is None or bool(row[reader % self.threads] >= time)          # forgotten: no report

    def _note_write(self, number, cells, lanes, who, effect, stored):
        self.writer.note(cells, who, self.clocks.time[lanes], number)
        self.strong[cells] = 0 if not effect.strong else 1 if effect.scope == "cta" else 2
        if effect.action != "atomic":                    # earlier readers are ordered before it, or were reported
            self.readers[cells], self.reader.lane[cells], self.other_reader.lane[cells] = 0, -1, -1
        winner = self.writer.lane[cells]
        lost = winner != who
        if not lost.any() or effect.strong and effect.scope != "cta":
            return
        apart = lost & (winner // self.threads != who // self.threads)           # blocks of one chunk come together
        differing = stored.differs(lost, lanes, winner - self.races.first * self.threads)
        if apart.any():
            k, same = int(apart.argmax()), " (same value)" * (not (differing & apart).any())
            self._report("between blocks, write after write" + same, number, number, lanes[k], winner[k], cells[k])
        elif not effect.strong and differing.any():
            k = int(differing.argmax())
            self._report("write after write in one instruction", number, number, lanes[k], winner[k], cells[k])
