"""Who touched each cell of memory last: the race check's picture of shared and of global memory."""
import numpy as np

from .memory import GLOBAL, SHARED

WEAK, STRONG = 0, 1


MOST_LOGGED = 256                # reads that wait to be entered


class SharedShadow:
    """Shared memory of all blocks of a chunk.

    Per cell: the last writer (lane, time, instruction, whether strong) and, per warp of its block, the lanes that
    have read it since the warp last synchronised. Cells that an asynchronous copy is going to write are in flight.

    Reads matter only to writes that come before the next barrier of all blocks: until one comes, they wait in a log.
    """

    def __init__(self, races):
        self.races, self.clocks, machine = races, races.clocks, races.machine
        self.grain, self.threads, self.warps = races.grain["shared"], machine.threads, machine.threads // 32
        window = machine.spaces["shared"]
        cells = window.region.data.size // self.grain
        self.stride = window.stride // self.grain
        self.lane, self.bit = machine.lane, np.uint32(1) << machine.lane_in_warp.astype(np.uint32)
        self.writer, self.time = np.full(cells, -1, np.int32), np.zeros(cells, np.int32)
        self.by, self.strong = np.zeros(cells, np.int32), np.zeros(cells, bool)
        self.readers, self.read_time, self.read_by = (np.zeros((cells, self.warps), t) for t in (np.uint32, np.int32, np.int32))
        self.strong_reader = None                        # (lane, time, instruction) of the last strong read, when there is any
        self.flying, self.flying_by, self.any_flying = None, None, False
        self.log, self.fresh_reads, self.fresh_writes = [], False, False     # since the last barrier of all blocks

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
        return -1 - (first + self.races.first_cta * self.stride)

    def _report(self, kind, number, earlier, lane, other, cell):
        if not isinstance(other, str):
            other = int(other) + self.races.first_cta * self.threads
        self.races.report("shared", kind, number, earlier, int(lane), other, SHARED + int(cell) % self.stride * self.grain)

    def access(self, number, cells, lanes, effect, stored):
        """Check and note one instruction's accesses."""
        if self.any_flying:
            fly = self.flying[cells]
            if fly.any():
                k = int((fly > 0).argmax())
                self._report("touches a copy in flight", number, self.flying_by[cells[k]], lanes[k], fly[k] - 1, cells[k])
        reading = effect.action == "read"
        if self.fresh_writes:
            self._after_write(number, cells, lanes, effect, reading, stored)
        if reading and effect.strong:
            self._note_strong_read(number, cells, lanes)
        elif reading:
            self.log.append((number, cells, lanes, self.clocks.time[lanes]))
            if len(self.log) > MOST_LOGGED:
                self._enter_reads()
        else:
            self._enter_reads()
            if self.fresh_reads:
                self._after_read(number, cells, lanes, effect)
            self._after_strong_read(number, cells, lanes, effect)
            self._note_write(number, cells, lanes, effect, stored)

    def _after_write(self, number, cells, lanes, effect, reading, stored):
        writer, time = self.writer[cells], self.time[cells]
        bad = (writer >= 0) & (writer != lanes)
        if not bad.any():
            return
        bad &= time > self.clocks.known.base[writer]     # since the block's last barrier
        if effect.strong:
            bad &= ~self.strong[cells]
        if bad.any():
            k = np.nonzero(bad)[0]
            bad[k] = self.clocks.unordered(time[k], writer[k], lanes[k])
        if bad.any():
            k = int(bad.argmax())
            same = not reading and effect.action == "write" and not stored.differs(bad, lanes).any()
            kind = "read after write" if reading else "write after write" + " (same value)" * same
            self._report(kind, number, self.by[cells[k]], lanes[k], writer[k], cells[k])

    def _note_strong_read(self, number, cells, lanes):
        if self.strong_reader is None:
            self.strong_reader = [np.full(len(self.writer), -1, np.int32), np.zeros(len(self.writer), np.int32),
                                  np.zeros(len(self.writer), np.int32)]
        for row, value in zip(self.strong_reader, (lanes, self.clocks.time[lanes], number)):
            row[cells] = value

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

    def _after_read(self, number, cells, lanes, effect):
        own, known = lanes // 32 % self.warps, self.clocks.known
        when, here = self.read_time[cells], np.arange(len(cells))
        base = known.base[::32].reshape(-1, self.warps)[lanes // self.threads]           # (cells, warps): the last barrier
        read = self.readers[cells] * (when > base)
        mine = self.readers[cells, own] & ~self.bit[lanes]
        if mine.any():                                   # lanes of the own warp: ordered one by one
            late = known.peers[lanes] < when[here, own][:, None]
            mine &= np.bitwise_or.reduce(np.where(late, self.bit[:32], np.uint32(0)), axis=1)
        read[here, own] = np.where(when[here, own] > base[here, own], mine, 0)
        if known.wide is not None and read.any():
            self._drop_known(read, when, lanes, own, known)
        if read.any():
            k, warp = (int(x[0]) for x in np.nonzero(read))
            who = lanes[k] // self.threads * self.threads + warp * 32 + int(read[k, warp]).bit_length() - 1
            self._report("write after read", number, self.read_by[cells[k], warp], lanes[k], who, cells[k])

    def _after_strong_read(self, number, cells, lanes, effect):
        if self.strong_reader is None or effect.strong:
            return
        reader, time, by = (row[cells] for row in self.strong_reader)
        bad = (reader >= 0) & (reader != lanes)
        bad[bad] = self.clocks.unordered(time[bad], reader[bad], lanes[bad])
        if bad.any():
            k = int(bad.argmax())
            self._report("write after read", number, by[k], lanes[k], reader[k], cells[k])

    def _drop_known(self, read, when, lanes, own, known):
        """Take out readers of other warps that the writer knows through named barriers or flags."""
        for k, warp in zip(*np.nonzero(read)):
            row = known.wide[lanes[k], warp * 32:warp * 32 + 32]
            if warp == own[k]:
                row = np.maximum(row, known.peers[lanes[k]])
            late = row < when[k, warp]
            read[k, warp] &= np.bitwise_or.reduce(np.where(late, self.bit[:32], np.uint32(0)))

    def _note_write(self, number, cells, lanes, effect, stored):
        self.writer[cells], self.time[cells], self.by[cells] = lanes, self.clocks.time[lanes], number
        self.strong[cells], self.fresh_writes = effect.strong, True
        winner = self.writer[cells]
        lost = winner != lanes
        if lost.any() and effect.action != "atomic":
            differing = stored.differs(lost, lanes, winner)
            if differing.any():
                k = int(differing.argmax())
                self._report("write after write in one instruction", number, number, lanes[k], winner[k], cells[k])
        if effect.action == "copy":
            if self.flying is None:
                self.flying, self.flying_by = np.zeros(len(self.writer), np.int32), np.zeros(len(self.writer), np.int32)
            self.any_flying = True
            self.flying[cells], self.flying_by[cells] = lanes + 1, number

    def landed(self, lanes, index, size):
        """Copies have arrived: they are writes of the lanes that waited for them."""
        per = max(1, size // self.grain)
        cells = (index[:, None] * (size // self.grain) + np.arange(per)).reshape(-1)
        self.flying[cells] = 0
        self.time[cells] = np.repeat(self.clocks.time[lanes], per)
        self.fresh_writes = True


class GlobalShadow:
    """The buffers that a launch writes, for all blocks of the grid. Reads of other buffers cannot race.

    Per cell: the last writer; the last weak reader and the last one of another warp; which blocks have read it since
    it was last written, as the number of an interned set of (block, barriers the block had passed).
    """

    def __init__(self, races, stored, blocks):
        self.races, self.clocks, self.grain, self.threads = races, races.clocks, races.grain["global"], races.threads
        self.first, cells = {}, 0                        # start of a buffer -> its first cell
        self.starts, self.bases = [], []
        for start, size in stored:
            self.first[start] = cells
            self.starts.append(start)
            self.bases.append(cells)
            cells += -(-size // self.grain)
        self.writer, self.time, self.by = np.full(cells, -1, np.int64), np.zeros(cells, np.int32), np.zeros(cells, np.int32)
        self.strong = np.zeros(cells, np.int8)           # 0 weak, 1 strong within its block, 2 strong
        self.reader, self.read_time, self.read_by = np.full((2, cells), -1, np.int64), np.zeros((2, cells), np.int32), np.zeros((2, cells), np.int32)
        self.many = np.zeros((2, cells), bool)           # several lanes of that warp
        self.strong_reader = None
        self.readers = np.zeros(cells, np.int32)
        self.sets, self.numbers, self.unions = [frozenset()], {frozenset(): 0}, {}
        self.passed = np.zeros(blocks, np.int32)         # barriers that each block has passed
        self.passed_at = {}                              # (block, barriers) -> the times (threads,) at that barrier

    def block_barrier(self, ctas):
        """Count barriers."""
        for cta in np.nonzero(ctas)[0]:
            block = int(cta) + self.races.first_cta
            if block < len(self.passed):
                self.passed_at[block, int(self.passed[block])] = self.clocks.known.base[cta * self.threads:(cta + 1) * self.threads].copy()
                self.passed[block] += 1

    def cells(self, region, at, effect):
        """The cells of each access, None for a buffer that nobody writes, -1 for such in an access to several."""
        per = max(1, effect.size // self.grain)
        first = at * effect.size // self.grain
        if region.start in self.first:
            first = first + self.first[region.start]
        elif not hasattr(region, "regions"):
            return None
        else:                                            # offsets from the start of the arena
            number = np.searchsorted(self.starts, at * effect.size, "right") - 1
            inside = np.array([r.start for r in region.regions])
            owner = inside[np.searchsorted(inside, at * effect.size, "right") - 1]
            base = np.array(self.bases)[number] if self.bases else number
            first = np.where((number >= 0) & np.isin(owner, self.starts), first - owner // self.grain + base, -1)
        return first if per == 1 else np.where(first[:, None] < 0, -1, first[:, None] + np.arange(per))

    def places(self, cells):
        """What flags are known by."""
        return cells if cells.ndim == 1 else cells[:, 0]

    def _report(self, kind, number, earlier, lane, other, cell):
        buffer = int(np.searchsorted(self.bases, cell, "right")) - 1
        address = GLOBAL + self.starts[buffer] + (int(cell) - self.bases[buffer]) * self.grain
        self.races.report("global", kind, number, earlier, int(lane), other, address)

    def access(self, number, cells, lanes, effect, stored):
        """Check and note one instruction's accesses."""
        offset = self.races.first_cta * self.threads
        who, reading = lanes + offset, effect.action == "read"
        self._after_write(number, cells, lanes, who, effect, stored, offset)
        if reading:
            self._note_read(number, cells, lanes, who, effect)
            return
        self._after_read(number, cells, lanes, who, effect, offset)
        self._note_write(number, cells, lanes, who, effect, stored, offset)

    def _after_write(self, number, cells, lanes, who, effect, stored, offset):
        writer, time = self.writer[cells], self.time[cells]
        others = (writer >= 0) & (writer != who)
        if not others.any():
            return
        across = others & (writer // self.threads != who // self.threads)
        inside = others & ~across
        if effect.strong:                                # two strong accesses do not race if each reaches the other
            inside &= self.strong[cells] == 0
            across &= (self.strong[cells] < 2) | (effect.scope == "cta")
        if inside.any():
            k = np.nonzero(inside)[0]
            inside[k] = self.clocks.unordered(time[k], writer[k] - offset, lanes[k])
        if across.any():
            k = np.nonzero(across)[0]
            across[k] = self.clocks.unordered_across(time[k], writer[k], lanes[k])
        for bad, prefix in ((across, "between blocks, "), (inside, "")):
            if bad.any():
                k = int(bad.argmax())
                same = effect.action == "write" and not stored.differs(bad, lanes).any()
                kind = "read after write" if effect.action == "read" else "write after write" + " (same value)" * same
                self._report(prefix + kind, number, self.by[cells[k]], lanes[k], writer[k], cells[k])

    # -- readers ---------------------------------------------------------------------------------------------------------
    def _note_read(self, number, cells, lanes, who, effect):
        time = self.clocks.time[lanes]
        if effect.strong:
            if self.strong_reader is None:
                self.strong_reader = [np.full(len(self.writer), -1, np.int64), np.zeros(len(self.writer), np.int32),
                                      np.zeros(len(self.writer), np.int32)]
            for row, value in zip(self.strong_reader, (who, time, number)):
                row[cells] = value
            return
        self._add_blocks(cells, who // self.threads)
        reader, many = self.reader, self.many
        before, moved = reader[0, cells], reader[0, cells] // 32 != who // 32
        for rows in (reader, self.read_time, many, self.read_by):
            rows[1, cells[moved]] = rows[0, cells[moved]]
        many[0, cells] = ~moved & (before >= 0) & (many[0, cells] | (before != who))
        reader[0, cells], self.read_time[0, cells], self.read_by[0, cells] = who, time, number
        lost = reader[0, cells] != who                   # several lanes read the cell in this instruction
        if lost.any():
            near = lost & (reader[0, cells] // 32 == who // 32)
            many[0, cells[near]] = True
            far = lost & ~near
            reader[1, cells[far]], self.read_time[1, cells[far]], many[1, cells[far]] = who[far], time[far], True
            self.read_by[1, cells[far]] = number

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

    def _after_read(self, number, cells, lanes, who, effect, offset):
        sets = self.readers[cells]
        if sets.any():
            self._after_foreign_read(number, cells, lanes, sets)
            for reader, time, many, by in zip(self.reader[:, cells], self.read_time[:, cells], self.many[:, cells], self.read_by[:, cells]):
                late = (reader >= 0) & (reader // self.threads == who // self.threads)
                other = np.where(late, reader - offset, 0)
                own = many & (other // 32 == lanes // 32)   # another lane of the writer's own warp read it, too
                known = np.maximum(self.clocks.known.peers[lanes].min(1), self.clocks.known.base[other])
                late &= np.where(own, time > known, self.clocks.unordered(time, other, lanes))
                if late.any():
                    k = int(late.argmax())
                    self._report("write after read", number, by[k], lanes[k], "another lane of its warp" if own[k] else int(reader[k]), cells[k])
        if self.strong_reader is not None and (not effect.strong or effect.scope == "cta"):
            self._after_strong_read(number, cells, lanes, who, effect, offset)

    def _after_foreign_read(self, number, cells, lanes, sets):
        """Blocks that have read a cell and that its writer is not ordered behind."""
        for key in np.unique(np.stack([sets, lanes // self.threads]), axis=1).T:
            block = int(key[1]) + self.races.first_cta
            others = [(b, passed) for b, passed in self.sets[key[0]] if b != block]
            at = np.nonzero((sets == key[0]) & (lanes // self.threads == key[1]))[0] if others else ()
            for other, passed in others:
                for k in at:
                    if not self._ordered_behind(int(lanes[k]), other, passed, cells[k]):
                        reader = next((int(r) for r in self.reader[:, cells[k]] if r // self.threads == other), other * self.threads)
                        self._report("between blocks, write after read", number, self.read_by[0, cells[k]], lanes[k], reader, cells[k])
                        break
                    if not self.clocks.foreign:          # all threads of a block know the same
                        break

    def _ordered_behind(self, lane, other, passed, cell):
        """Does a lane know of all reads of a cell by block `other` before its barrier number `passed`?"""
        row = self.clocks.knows_block(lane, other)
        if row is None:
            return False
        at = self.passed_at.get((other, passed))         # the barrier behind the read
        if at is not None and (row >= at).all():
            return True
        for reader, time in zip(self.reader[:, cell], self.read_time[:, cell]):
            if reader // self.threads == other:
                return bool(row[reader % self.threads] >= time)
        return True                                      # who read it is forgotten, and the block did publish something: no report

    def _after_strong_read(self, number, cells, lanes, who, effect, offset):
        reader, time, by = (row[cells] for row in self.strong_reader)
        bad = (reader >= 0) & (reader != who)
        across = bad & (reader // self.threads != who // self.threads)
        inside = bad & ~across
        if effect.strong:
            inside[:] = False
        inside[inside] = self.clocks.unordered(time[inside], reader[inside] - offset, lanes[inside])
        across[across] = self.clocks.unordered_across(time[across], reader[across], lanes[across])
        for bad, prefix in ((across, "between blocks, "), (inside, "")):
            if bad.any():
                k = int(bad.argmax())
                self._report(prefix + "write after read", number, by[k], lanes[k], int(reader[k]), cells[k])

    def _note_write(self, number, cells, lanes, who, effect, stored, offset):
        strength = 0 if not effect.strong else 1 if effect.scope == "cta" else 2
        self.writer[cells], self.time[cells], self.by[cells], self.strong[cells] = who, self.clocks.time[lanes], number, strength
        if effect.action != "atomic":                    # readers before this write are ordered before it, or were reported
            self.readers[cells] = 0
            self.reader[:, cells] = -1
        winner = self.writer[cells]
        lost = winner != who
        if not lost.any():
            return
        apart = lost & (winner // self.threads != who // self.threads)       # blocks of one chunk come here together
        if effect.strong and effect.scope != "cta":
            return
        differing = stored.differs(lost, lanes, winner - offset)
        if apart.any():
            k = int(apart.argmax())
            same = " (same value)" * (not (differing & apart).any())
            self._report("between blocks, write after write" + same, number, number, lanes[k], int(winner[k]), cells[k])
        elif not effect.strong and (differing & ~apart).any():
            k = int(differing.argmax())
            self._report("write after write in one instruction", number, number, lanes[k], int(winner[k]), cells[k])
