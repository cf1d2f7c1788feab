"""A table of a model: what each layer gives out, how many parameters it has, how much it computes."""
from dataclasses import dataclass, field

from .. import door
from ..dtypes import as_dtype, default_dtype
from ..errors import ArgumentError, message
from ..guests import flops, tensors_in
from ..ops.creation import zeros
from ..tape import no_grad
from .module import Module

COLUMNS = {"input_size": "Input shape", "output_size": "Output shape", "num_params": "Parameters",
           "flops": "FLOPs", "mult_adds": "Multiply-adds", "trainable": "Trainable"}


@dataclass
class Row:
    """One module of the tree."""

    name: str                      # of the attribute that holds it; of the model itself: ""
    depth: int
    module: Module
    shared: bool                   # it stood above already
    input_size: object = None      # shapes of the first call, one or a list of them; None: not called
    output_size: object = None
    flops: int = 0                 # of all its calls

    @property
    def num_params(self):
        """Parameters of the module and all below."""
        return self.module.num_parameters()

    def text(self, column):
        """The entry of a column."""
        if column == "trainable":
            wanted = {p.requires_grad for p in self.module.parameters()}
            return {(): "", (True,): "yes", (False,): "no"}.get(tuple(wanted), "partly")
        value = self.flops // 2 if column == "mult_adds" else getattr(self, column)
        if column == "num_params" and self.shared:
            return "(shared)"
        return "" if not value else f"{value:,}" if isinstance(value, int) else str(value)


@dataclass
class Summary:
    """What `summary` finds; printing it gives the table."""

    rows: list = field(repr=False)
    col_names: tuple
    depth: int
    total_params: int
    trainable_params: int
    params_bytes: int
    total_flops: int

    def __str__(self):
        shown = [r for r in self.rows if r.depth <= self.depth]
        labels = [f"{'  ' * r.depth}{type(r.module).__name__}{f' ({r.name})' if r.name else ''}" for r in shown]
        table = [["Layer", *(COLUMNS[c] for c in self.col_names)],
                 *([label, *(r.text(c) for c in self.col_names)] for label, r in zip(labels, shown))]
        widths = [max(map(len, column)) for column in zip(*table)]
        lines = ["  ".join([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]) for first, *rest in table]
        rule, size = "-" * len(lines[0]), f"{self.params_bytes / 1e6:,.2f} MB"
        totals = [f"Parameters: {self.total_params:,} ({self.trainable_params:,} trainable, {size})",
                  *([f"FLOPs: {self.total_flops:,}"] if self.total_flops else [])]
        return "\n".join([lines[0], rule, *lines[1:], rule, *totals])


class _Counter(door.Guest):
    """Adds each op's FLOPs to all modules that it runs in. What ops with a count of their own call inside is in it."""

    def __init__(self):
        self.by_module, self.total, self._counting = {}, 0, True

    def call(self, op, args, kwargs, proceed):
        if not self._counting or op.coster is None:
            return proceed()
        self._counting = False
        try:
            result = proceed()
        finally:
            self._counting = True
        cost = flops(op, args, kwargs)
        self.total += cost
        for module in {id(m): m for m in door.here.modules}.values():
            self.by_module[id(module)] = self.by_module.get(id(module), 0) + cost
        return result


def summary(model, input_size=None, input_data=None, *, depth=3, col_names=("output_size", "num_params", "flops"),
            dtypes=None):
    """Lay a model out as a table, one row per module.

    With an input the model runs once, in evaluation mode and without a tape, to see shapes and FLOPs.

    Args:
        model: a Module.
        input_size: the shape of the input, batch included; or a list of shapes for several. The inputs are zeros.
        input_data: instead of that the input itself: a tensor or array, a list or tuple of positional arguments,
            or a dict of arguments by name.
        depth: how many levels below the model the printed table shows.
        col_names: some of input_size, output_size, num_params, flops, mult_adds, trainable.
        dtypes: a dtype per input, for `input_size`; floating unless given.

    Returns:
        a Summary: `print` it; or read `.rows`, `.total_params`, `.trainable_params`, `.params_bytes`, `.total_flops`.

    Raises:
        ArgumentError: no such column; both kinds of input.
    """
    if not isinstance(model, Module):
        raise ArgumentError(message("summary", "model", "a Module", type(model).__name__))
    if unknown := [c for c in col_names if c not in COLUMNS]:
        raise ArgumentError(message("summary", "col_names", f"some of {', '.join(COLUMNS)}", repr(unknown)[1:-1]))
    if input_size is not None and input_data is not None:
        raise ArgumentError(message("summary", "input_size, input_data", "one of them", "both"))
    rows, seen = [], set()
    for path, module in model.named_modules(remove_duplicate=False):
        rows.append(Row(path.rpartition(".")[2], path.count(".") + bool(path), module, id(module) in seen))
        seen.add(id(module))
    counter = _Counter()
    if input_size is not None:
        input_data = _zeros(model, input_size, dtypes)
    if input_data is not None:
        _run(model, input_data, rows, counter)
    size = sum(p.size * p.dtype.itemsize for p in model.parameters())
    return Summary(rows, tuple(col_names), depth, model.num_parameters(), model.num_parameters(trainable_only=True),
                   size, counter.total)


def _zeros(model, input_size, dtypes):
    """One tensor of zeros per shape, where the model is."""
    single = not isinstance(input_size, (tuple, list)) or all(isinstance(n, int) for n in input_size)
    sizes = [input_size] if single else input_size
    dtypes = [default_dtype()] * len(sizes) if dtypes is None else [as_dtype(d, "summary") for d in dtypes]
    place = next((p.device for p in model.parameters()), "cpu")
    if len(sizes) != len(dtypes):
        raise ArgumentError(message("summary", "dtypes", f"one for each of {len(sizes)} inputs", len(dtypes)))
    return [zeros(size, dtype, place) for size, dtype in zip(sizes, dtypes)]


def _run(model, input_data, rows, counter):
    """One forward; fills in what the rows did not know."""
    rows_of = {}
    for row in rows:
        rows_of.setdefault(id(row.module), []).append(row)

    def seen(module, args, out):
        for row in rows_of[id(module)]:
            if row.output_size is None:
                row.input_size, row.output_size = _sizes(args), _sizes(out)

    modules = list(model.modules())
    modes = [m.training for m in modules]
    handles = [m.register_forward_hook(seen) for m in modules]
    keywords = input_data if isinstance(input_data, dict) else {}
    args = () if keywords else input_data if isinstance(input_data, (list, tuple)) else (input_data,)
    try:
        model.eval()
        with no_grad(), door.attach(counter):
            model(*args, **keywords)
    finally:
        for module, mode, handle in zip(modules, modes, handles):
            module.training = mode
            handle.remove()
    for row in rows:
        row.flops = counter.by_module.get(id(row.module), 0)


def _sizes(values):
    """The shape of the tensor among the values, or a list of those of several."""
    values = vars(values) if hasattr(values, "__dict__") else values
    values = tuple(values.values()) if isinstance(values, dict) else values
    shapes = [t.shape for t in tensors_in(values)]
    return shapes[0] if len(shapes) == 1 else shapes


Module.summary = summary
