"""Happens-before between threads: which earlier accesses of others a thread may rely on.

Every warp has a clock that any synchronisation of one of its lanes advances. An access is stamped with its lane and
that clock. A thread knows, of every lane, the time up to which that lane's accesses precede its own; lanes of one
warp are not ordered by running in lockstep. Knowledge travels

* through barriers of a thread block: everything before precedes everything after, for all of its threads;
* through bar.warp.sync, among the lanes that one mask names, and through named barriers;
* through memory: a thread that has executed a fence (or a release) and then writes a flag by a strong operation
  publishes what it knew at the fence; a thread that reads the flag so and then executes a fence (or reads it by an
  acquire) learns it. What a fence made visible may also reach the writer of the flag through a barrier.

Source: PTX ISA, "Memory consistency model"; Lustig et al. 2019, "A Formal Analysis of the NVIDIA PTX Memory
    Consistency Model".
"""
import numpy as np

SCOPES = ("cta", "gpu")          # how far a fence reaches; clusters and the system are taken as the GPU


class Knowledge:
    """For every lane of a chunk, the times up to which it relies on the other lanes of its block.

    Attributes:
        base: (lanes,): known of each lane by its whole block, since the last barrier.
        peers: (lanes, 32): known by each lane of the lanes of its warp.
        wide: (lanes, threads) or None: known by each lane of all lanes of its block; made when first needed.
    """

    def __init__(self, lanes, threads):
        self.lanes, self.threads = lanes, threads
        self.base, self.peers, self.wide = np.zeros(lanes, np.int32), np.zeros((lanes, 32), np.int32), None

    def row(self, lane):
        """What one lane knows of the lanes of its block: (threads,)."""
        block = lane // self.threads * self.threads
        known = self.base[block:block + self.threads].copy()
        warp = slice(lane // 32 * 32 - block, lane // 32 * 32 - block + 32)
        known[warp] = np.maximum(known[warp], self.peers[lane])
        return known if self.wide is None else np.maximum(known, self.wide[lane])

    def widen(self):
        """The (lanes, threads) array."""
        if self.wide is None:
            self.wide = np.zeros((self.lanes, self.threads), np.int32)
        return self.wide

    def learn(self, lane, row):
        """One lane learns a row (threads,)."""
        wide = self.widen()
        np.maximum(wide[lane], row, out=wide[lane])

    def of(self, lanes, others):
        """What each of `lanes` knows of the lane beside it in `others` (of the same block)."""
        known = self.base[others]
        same = lanes // 32 == others // 32
        known = np.where(same, np.maximum(known, self.peers[lanes, others % 32]), known)
        return known if self.wide is None else np.maximum(known, self.wide[lanes, others % self.threads])

    def meet(self, lanes, members):
        """Lanes of warps exchange what they know: each with those that its mask names."""
        whole = (lanes & (members == np.uint32(0xFFFFFFFF))).reshape(-1, 32).all(1)
        for rows in (self.peers, self.wide):
            if rows is None:
                continue
            table = rows.reshape(-1, 32, rows.shape[1])
            if whole.any():
                table[whole] = table[whole].max(1, keepdims=True)
            for warp, mask in _sets(lanes & ~np.repeat(whole, 32), members):
                table[warp, mask] = table[warp, mask].max(0)


def _sets(lanes, members):
    """(warp, boolean of its lanes) for every set of lanes that met."""
    here, masks = lanes.reshape(-1, 32), np.broadcast_to(members, lanes.shape).reshape(-1, 32)
    for warp in np.nonzero(here.any(1))[0]:
        for mask in np.unique(masks[warp][here[warp]]):
            yield warp, here[warp] & (mask >> np.arange(32, dtype=np.uint32) & np.uint32(1) == 1)


class Clocks:
    """Times of a chunk's lanes, what they know, and what was published through memory (by all chunks)."""

    def __init__(self, threads):
        self.threads, self.warps = threads, threads // 32
        self.published = {}                              # place -> {scope: {block: row}}
        self.foreign_of_block = {}                       # block -> {other block: row}, known since its last barrier
        self.pending_of_block = {}                       # block -> the same, read from flags but not yet behind a fence

    def begin(self, machine, first_cta):
        """A chunk starts: its lanes know nothing."""
        self.lanes, self.first_cta = machine.lanes, first_cta
        self.time = np.ones(self.lanes, np.int32)        # the warp's clock, in every lane of it
        self.arrived_at = np.zeros(self.lanes, np.int32)
        self.known = Knowledge(self.lanes, self.threads)
        self.visible = {}                                # scope -> Knowledge of what fences have made visible
        self.fenced = {}                                 # scope -> (lanes,): fenced since the block's last barrier
        self.foreign, self.pending = {}, {}              # lane -> {other block: row}

    # -- barriers ---------------------------------------------------------------------------------------------------
    def block_barrier(self, ctas):
        """All threads of these blocks (boolean) meet."""
        lanes = np.repeat(ctas, self.threads)
        for scope, visible in self.visible.items():
            self._spread(visible, self.fenced[scope], ctas)
            self.fenced[scope][lanes] = False
        self.known.base[lanes] = self.time[lanes]
        self.time[lanes] += 1
        for per_lane, per_block in ((self.foreign, self.foreign_of_block), (self.pending, self.pending_of_block)):
            for lane in [lane for lane in per_lane if ctas[lane // self.threads]]:
                join(per_block.setdefault(self._block(lane), {}), per_lane.pop(lane))

    def _spread(self, visible, fenced, ctas):
        """What some thread of a block has made visible, all know to be visible after the barrier."""
        own = visible.peers.reshape(-1, 32, 32).max(1).reshape(-1)           # of each lane, by any lane of its warp
        if visible.wide is not None:
            wide = visible.wide.reshape(-1, self.threads, self.threads).max(1).reshape(-1)
            own = np.maximum(own, wide)
        somebody = np.repeat(fenced.reshape(-1, self.threads).any(1), self.threads)
        own = np.maximum(own, np.where(somebody, self.known.base, 0))
        lanes = np.repeat(ctas, self.threads)
        visible.base[lanes] = np.maximum(visible.base, own)[lanes]

    def warp_barrier(self, lanes, members):
        """Lanes meet at bar.warp.sync."""
        self._note_own(self.known, lanes)
        self.known.meet(lanes, members)
        for visible in self.visible.values():
            visible.meet(lanes, members)
        for per_lane in (self.foreign, self.pending):
            if per_lane:
                for warp, mask in _sets(lanes, members):
                    self._share(per_lane, [warp * 32 + k for k in np.nonzero(mask)[0]])
        self._advance(lanes)

    @staticmethod
    def _share(per_lane, lanes):
        together = {}
        for lane in lanes:
            join(together, per_lane.get(lane, {}))
        if together:
            per_lane.update((lane, dict(together)) for lane in lanes)

    def arrive(self, lanes):
        """`lanes` (boolean) arrive at a named barrier that they do not wait at: what they do next is behind it for
        nobody."""
        self.arrived_at[lanes] = self.time[lanes]
        self._advance(lanes)

    def some_barrier(self, arrived, waited):
        """Named barrier of one block: lanes that waited are behind those that arrived."""
        come, times = np.nonzero(arrived)[0], np.where(waited, self.time, self.arrived_at)
        start = come[0] // self.threads * self.threads
        for knowledge, own in [(self.known, times)] + [(v, None) for v in self.visible.values()]:
            wide = knowledge.widen()
            joined = np.maximum(wide[come].max(0), knowledge.base[start:start + self.threads])
            for warp in np.unique(come // 32):
                columns = slice(warp * 32 - start, warp * 32 - start + 32)
                joined[columns] = np.maximum(joined[columns], knowledge.peers[come[come // 32 == warp]].max(0))
            if own is not None:
                joined[come - start] = np.maximum(joined[come - start], own[come])
            wide[waited] = np.maximum(wide[waited], joined)
        self._advance(arrived)

    def _note_own(self, knowledge, lanes):
        """A lane relies on its own accesses so far, and so do those it meets."""
        which = np.nonzero(lanes)[0]
        knowledge.peers[which, which % 32] = self.time[which]

    def _advance(self, lanes):
        self.time += np.repeat(lanes.reshape(-1, 32).any(1), 32)

    # -- through memory -----------------------------------------------------------------------------------------------
    def fence(self, lanes, scope):
        """`lanes` (boolean) execute a fence: what they know becomes visible, what they read from flags becomes
        known."""
        self._note_own(self.known, lanes)
        for reach in SCOPES if scope != "cta" else SCOPES[:1]:
            if reach not in self.visible:
                self.visible[reach] = Knowledge(self.lanes, self.threads)
                self.fenced[reach] = np.zeros(self.lanes, bool)
            visible = self.visible[reach]
            visible.peers[lanes] = np.maximum(visible.peers[lanes], self.known.peers[lanes])
            if self.known.wide is not None:
                wide = visible.widen()
                wide[lanes] = np.maximum(wide[lanes], self.known.wide[lanes])
            self.fenced[reach] |= lanes
        self._advance(lanes)
        if self.pending or self.pending_of_block:
            for lane in np.nonzero(lanes)[0].tolist():
                rows = dict(self.pending_of_block.get(self._block(lane), {}))
                self._learn(lane, join(rows, self.pending.pop(lane, {})))

    def strong(self, lanes, places, effect):
        """Strong operations of `lanes` (numbers) at `places`: atomics, volatile, relaxed, acquire, release."""
        reads, writes = effect.action != "write", effect.action != "read"
        acquires, releases = effect.order in ("acquire", "acq_rel", "sc"), effect.order in ("release", "acq_rel", "sc")
        if not releases and not self.visible and not self.published and not self.foreign_of_block and not self.foreign:
            return
        for lane, place in zip(lanes.tolist(), places.tolist()):
            found = self.published.get(place)
            if reads and found:
                self._observe(lane, found, acquires, effect.scope)
            if writes:
                fresh = self._publication(lane, releases, effect.scope)
                if effect.action == "atomic" and found:  # a read-modify-write hands on what it found
                    for scope in SCOPES:
                        join(fresh[scope], found[scope])
                if any(fresh.values()) or found:
                    self.published[place] = fresh
        if releases:
            which = np.zeros(self.lanes, bool)
            which[lanes] = True
            self._advance(which)

    def release(self, lanes, place):
        """`lanes` (numbers) publish all they know at `place` (any hashable), as a release by a whole block would."""
        for lane in lanes.tolist():
            fresh = self._publication(lane, True, "gpu")
            found = self.published.setdefault(place, {scope: {} for scope in SCOPES})
            for scope in SCOPES:
                join(found[scope], fresh[scope])
        which = np.zeros(self.lanes, bool)
        which[lanes] = True
        self._advance(which)

    def acquire(self, lanes, place):
        """`lanes` (numbers) learn what was published at `place`."""
        found = self.published.get(place)
        if found:
            for lane in lanes.tolist():
                self._observe(lane, found, True, "gpu")

    def forget(self, place):
        """What was published at `place` is void."""
        self.published.pop(place, None)

    def _block(self, lane):
        return int(lane) // self.threads + self.first_cta

    def _publication(self, lane, releases, scope):
        """{scope: {block: row}} of what a lane's strong write makes known."""
        block, result = self._block(lane), {}
        for reach in SCOPES:
            rows = dict(self.foreign_of_block.get(block, {}))
            join(rows, self.foreign.get(lane, {}))
            row = None
            if releases and (reach == "cta" or scope != "cta"):
                row = self.known.row(lane)
                row[lane % self.threads] = self.time[lane]
            elif reach in self.visible:
                row = self.visible[reach].row(lane)
                if self.fenced[reach][lane]:
                    start = lane // self.threads * self.threads
                    row = np.maximum(row, self.known.base[start:start + self.threads])
            if row is not None and row.any():
                join(rows, {block: row})
            result[reach] = rows
        return result

    def _observe(self, lane, found, acquires, scope):
        """A lane reads a flag: it learns at once, or with its next fence."""
        block = self._block(lane)
        rows = dict(found["gpu"]) if scope != "cta" else {}
        if block in found["cta"]:
            join(rows, {block: found["cta"][block]})
        if acquires:
            self._learn(lane, rows)
        elif rows:
            join(self.pending.setdefault(lane, {}), rows)

    def _learn(self, lane, rows):
        block = self._block(lane)
        for other, row in rows.items():
            if other == block:
                self.known.learn(lane, row)
            else:
                join(self.foreign.setdefault(lane, {}), {other: row})

    # -- questions ---------------------------------------------------------------------------------------------------
    def unordered(self, times, others, lanes):
        """For lanes of one block each: is the access of `others` (lane numbers) at `times` not known to precede?"""
        return (others != lanes) & (times > self.known.of(lanes, others))

    def unordered_across(self, times, others, lanes):
        """The same for lanes of other blocks; `others` are numbers in the grid."""
        result = np.ones(len(lanes), bool)
        if not self.foreign_of_block and not self.foreign:
            return result
        blocks, their = lanes // self.threads + self.first_cta, others // self.threads
        for block in np.unique(blocks):
            known = self.foreign_of_block.get(int(block))
            for other in known or ():
                at = np.nonzero((blocks == block) & (their == other))[0]
                result[at] = times[at] > known[other][others[at] % self.threads]
        for k in np.nonzero(result)[0]:
            row = self.foreign.get(int(lanes[k]), {}).get(int(their[k]))
            if row is not None:
                result[k] = times[k] > row[others[k] % self.threads]
        return result

    def knows_block(self, lane, other):
        """What a lane knows of another block: its row, or None."""
        both = self.foreign_of_block.get(self._block(lane), {}), self.foreign.get(int(lane), {})
        rows = [known[other] for known in both if other in known]
        return np.maximum.reduce(rows) if rows else None


def join(into, rows):
    """Take over what `rows` know more; gives `into`."""
    for block, row in rows.items():
        mine = into.get(block)
        into[block] = row if mine is None else np.maximum(mine, row)
    return into
