"""LSTM and GRU in CUDA C++: one launch for all steps; blocks hold the recurrent weights, and wait for each other."""
from .arrays import multiplied
from .launch import cdiv, constants, lacks, launch, most_together
from .matmul import rows_padded
from .recurrent import Recurrences, Sequences

UNITS = 8, 16                          # of a block: the fewer, the more blocks share the work


def _blocks(cell, dtype, hidden):
    """{units of a block: (blocks that hold a layer's weights, sequences that they take at a time)}, where they can."""
    found = {}
    for units in UNITS:
        known = constants(f"{cell}_forward_cuda", dtype=dtype.name, units=units)
        if hidden * dtype.itemsize <= known["ROW_BYTES"] and cdiv(hidden, units) <= most_together():
            found[units] = cdiv(hidden, units), known["ROWS"]
    return found


class HeldSequences(Sequences):
    """All steps in one launch."""

    def forth(self, cell, arrays, biases):
        """See recurrent.py."""
        self._launch(cell, "forward", (*arrays, self.weight, *biases))

    def back(self, cell, arrays):
        """See recurrent.py."""
        self._launch(cell, "backward", (*arrays, rows_padded(self.xp, self.weight[:, :self.hidden].T)))

    def _launch(self, cell, way, arrays):
        units, (blocks, rows) = next(iter(_blocks(cell, self.dtype, self.hidden).items()))
        parts = min(cdiv(self.rows, rows), most_together() // blocks)          # of the sequences
        parts = cdiv(self.rows, cdiv(cdiv(self.rows, rows), parts) * rows)     # (without empty ones)
        launch(f"{cell}_{way}_cuda", (blocks, parts),
               (*arrays, self.lengths, self.xp.zeros(parts, "uint32"), self.steps, int(self.reverse), self.rows,
                self.hidden), dtype=multiplied(self.x), units=units)

    @staticmethod
    def unserved(cell, x, h):
        """See recurrent.py."""
        dtype, hidden = x.dtype, h.shape[1]
        if reason := lacks(f"{cell}_forward_cuda", dtype=dtype.name, units=UNITS[0]) or lacks(
                "matmul", dtype=dtype.name, weights=dtype.name, layout="nt"):
            return reason
        if len(x) == 1:
            return "a single step: nothing to hold weights for"
        return None if _blocks(cell, dtype, hidden) else f"recurrent weights of {hidden} units in {dtype.name}: more " \
            f"than the registers of {most_together()} multiprocessors hold"


Recurrences("cuda", HeldSequences).register(first=True)
