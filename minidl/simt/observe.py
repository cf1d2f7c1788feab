"""What watches a run: the race check and the counters derive from Observer."""
from typing import NamedTuple


class Effect(NamedTuple):
    """What an instruction does to memory.

    Attributes:
        action: "read", "write", "atomic" (reads and writes as one) or "copy" (a write that lands later: cp.async).
        size: bytes per lane.
        order: "weak", "relaxed", "acquire", "release", "acq_rel" or "sc".
        scope: how far the order reaches: "cta", "cluster", "gpu" or "sys"; "" for weak accesses.
        form: a name for tables: "ld", "st", "ldmatrix", ...
    """
    action: str
    size: int
    order: str = "weak"
    scope: str = ""
    form: str = ""

    @property
    def strong(self):
        """Whether other threads may touch the place at the same time without a race."""
        return self.order != "weak"


class Observer:
    """Hooks, none of which does anything here. Lanes are given as boolean rows; None means all."""

    def begin(self, machine, first_cta):
        """A chunk of blocks starts, the first of which has the number `first_cta` in the grid."""

    def access(self, ins, space, region, index, effect, active, values=None):
        """Lanes touch element `index[lane]` (of effect.size bytes) of `region` in `space`. `values`, of a store: the
        typed view it writes into and the rows it writes there."""

    def sweep(self, ins, space, region, at, effect, lane):
        """One lane (its number) touches many elements, `at`, at once: a bulk copy."""

    def landed(self, lanes, index, size):
        """Asynchronous copies of `lanes` to element `index` of shared memory have arrived."""

    def block_barrier(self, ctas):
        """All threads of these blocks (boolean per block of the chunk) met."""

    def cluster_barrier(self, clusters):
        """All threads of these clusters (boolean per cluster of the chunk) met."""

    def arrive(self, lanes):
        """Lanes (boolean) have arrived at a barrier and go on without waiting."""

    def some_barrier(self, arrived, waited):
        """Lanes that waited at a barrier are ordered behind lanes that arrived."""

    def warp_barrier(self, lanes, members):
        """`lanes` met at bar.warp.sync; `members[lane]` is the mask that each named."""

    def fence(self, ins, active, scope):
        """A memory fence."""

    def matrix(self, kind, flops, warps):
        """`warps` warps did a tensor-core instruction on operands of type `kind`, `flops` operations in all."""

    def end(self, machine):
        """The chunk has ended."""
