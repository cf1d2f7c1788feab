"""Writes, for one op, the function that calling it runs.

An op's declaration says everything a call needs to know: which arguments are
tensors, what the contract demands, what the rule names, whether kernels exist.
So a call need not look any of it up.  We write a plain function with just the
lines this op needs, and compile it, as `dataclasses` does for `__init__`.
`print(multiply.op.source)` shows it; tracebacks and debuggers step through it.  For
`multiply` (contract "a(...) b(...) -> (...)", rule `def _(g, a, b)`) it is

    def multiply(a, b):
        try:
            if isinstance(a, Tensor): a_ = a.data; a_edge = a.node
            elif type(a) is float or type(a) is int: a_ = a; a_edge = None
            else: a, a_, a_edge = operand(a)
            if isinstance(b, Tensor): b_ = b.data; b_edge = b.node
            elif type(b) is float or type(b) is int: b_ = b; b_edge = None
            else: b, b_, b_edge = operand(b)
            if type(a_) is ndarray and ((_d := a_.dtype) is float32 or _d is float64) and (type(b_) is ndarray \
                and b_.dtype is _d or type(b_) is float or type(b_) is int): _xp = numpy
            else: _xp = settle(op, a_, b_)
            _y = forward(_xp, a_, b_)
            if type(_y) is not ndarray: _y = result(op, _y)
        except Exception as _error:
            return rescue(op, _error, (a, b,), ())
        _out = new(Tensor)
        _out.data = _y
        if (a_edge is not None or b_edge is not None) and recording():
            _out.node = _node = new(Node)
            _node.op, _node.edges, _node.saved = op, (a_edge, b_edge,), (a, b,)
            _node.seq, _node.shape, _node.hooks = tick(), _y.shape, None
        else:
            _out.node = None
        return _out

Reading order of the templates below: operands, check, run, tape.
"""
import ast
import inspect
import linecache
import re
import textwrap

from . import dispatch

STUB = (lambda *args, **kwargs: op.start(args, kwargs)).__code__    # noqa: F821  (a body until the real one is written)


def input_names(contract):
    """The inputs that a contract's text names, without parsing the rest: imports are full of contracts."""
    return tuple(re.findall(r"(\w+)\(", contract.partition("->")[0]))


def write(op, watched=False):
    """The source of `op`'s body; `watched`: the one that goes through the door."""
    head = f"def {op.name}({_signature(op)}):"
    arguments = ", ".join([*op.inputs, *_passed(op)])
    if watched:
        return "\n".join([head, f"    return through(op, ({', '.join(op.inputs)},), "
                                f"dict({', '.join(f'{p}={p}' for p in op.params)}))"])
    lines = [head, "    try:"]
    lines += _indent(2, _operands(op) + _check(op) + _run(op, arguments))
    lines += ["    except Exception as _error:",
              f"        return rescue(op, _error, ({', '.join(op.inputs)},), ({''.join(p + ', ' for p in op.params)}))"]
    return "\n".join(lines + _indent(1, _tape(op)))


def write_pull(op):
    """The source of a backward step on bare arrays, for an arithmetic rule; `multiply`'s is

        def pull_multiply(node, g):
            a, b, = node.saved
            if isinstance(a, Tensor): a = a.data
            if isinstance(b, Tensor): b = b.data
            a_edge, b_edge, = node.edges
            return (None if a_edge is None else g * b, None if b_edge is None else g * a)

    The thunks of its rule, `return (lambda: g * b), (lambda: g * a)`, are opened in place:
    making and calling a function costs more than asking whether it is wanted.
    """
    first = next(iter(inspect.signature(op.rule).parameters))
    lines = [f"def pull_{op.name}(node, {first}):"]
    if op.wants:
        lines.append(f"    {', '.join(op.wants)}, = node.saved")
    lines += [f"    if isinstance({w}, Tensor): {w} = {w}.data" for w in op.wants if w in op.inputs]
    results = _results(op.rule)
    if results is None or len(results) != len(op.inputs):        # no source, or more than a return: call the rule
        return "\n".join([*lines, f"    return rule({', '.join([first, *op.wants])})"])
    if any(thunk for thunk, _ in results):
        lines.append(f"    {', '.join(f'{n}_edge' for n in op.inputs)}, = node.edges")
    parts = [f"None if {n}_edge is None else {text}" if thunk else text for n, (thunk, text) in zip(op.inputs, results)]
    return "\n".join([*lines, f"    return ({', '.join(parts)},)"])


def _results(rule):
    """[(is it a thunk, its expression)] of a rule that is a single return; else None."""
    try:
        definition = ast.parse(textwrap.dedent(inspect.getsource(rule))).body[0]
    except (OSError, SyntaxError):
        return None
    # (a lambda's line is anything)
    *before, last = definition.body if isinstance(definition, ast.FunctionDef) else [None]
    if before or not isinstance(last, ast.Return):
        return None
    values = last.value.elts if isinstance(last.value, ast.Tuple) else [last.value]
    return [(True, ast.unparse(v.body)) if isinstance(v, ast.Lambda) else (False, ast.unparse(v)) for v in values]


def build(op, text, label=""):
    """Compile a source in the op's namespace, where debuggers and tracebacks find its lines; returns the function."""
    file = f"<minidl op {op.name}{label}>"
    linecache.cache[file] = len(text), None, text.splitlines(True), file
    scope = {}
    exec(compile(text, file, "exec"), op.namespace, scope)
    return scope.popitem()[1]


def is_arithmetic(rule):
    """True if a rule is nothing but operators on its arguments: it then runs on arrays as it does on tensors."""
    codes = [rule.__code__]
    for code in codes:
        codes += [c for c in code.co_consts if inspect.iscode(c)]
    return not any(code.co_names for code in codes) and rule.__closure__ is None


def _signature(op):
    parts = [f"{n}=None" if op.defaults.get(n, 1) is None else n for n in op.inputs]
    for name, default in op.params.items():
        if name in op.keyword_only and "*" not in parts:
            parts.append("*")
        parts.append(name if default is inspect.Parameter.empty else f"{name}=default_{name}")
    return ", ".join(parts)


def _passed(op):
    return [f"{n}={n}" if n in op.keyword_only else n for n in op.params]


def _operands(op):
    """Take each tensor apart: `x_` is its array, `x_edge` where it hangs on the tape. Numbers stay numbers."""
    lines = []
    for slot in op.contract.inputs:
        n = slot.name
        if slot.many:
            return [f"{n}, {n}_, {n}_edge = operands({n})"]
        lines.append(f"if isinstance({n}, Tensor): {n}_ = {n}.data; {n}_edge = {n}.node")
        if slot.optional:
            lines.append(f"elif {n} is None: {n}_ = {n}_edge = None")
        if slot.dims == ("...",):
            lines.append(f"elif type({n}) is float or type({n}) is int: {n}_ = {n}; {n}_edge = None")
        lines.append(f"else: {n}, {n}_, {n}_edge = operand({n})")
    return lines


def _check(op):
    """One device, one dtype, the contract's shapes. No explanation here: only a quick no."""
    tests, lead = [], False
    for slot in op.contract.inputs:
        n = f"{slot.name}_"
        test = f"type({n}) is ndarray"
        if slot.many:
            test = "False"
        elif slot.kind in ("int", "bool"):
            test += f" and {n}.dtype.kind == {slot.kind[0]!r}"
        elif slot.kind != "any":
            if lead:
                test += f" and {n}.dtype is _d"
            elif op.exact and slot.kind == "same":
                test += f" and ((_d := {n}.dtype) or True)" if len(op.inputs) > 1 else ""
            else:
                test += f" and ((_d := {n}.dtype) is float32 or _d is float64)"
            if lead and slot.dims == ("...",):             # a number, beside an array that can take it
                weak = f"type({n}) is float or type({n}) is int"
                weak = f"(_d is float32 or _d is float64) and ({weak})" if op.exact else weak
                test = f"({test} or {weak})"
            lead = True
        tests.append(f"({n} is None or {test})" if slot.optional else test)
    arrays = ", ".join(f"{n}_" for n in op.inputs)
    settled = "; _d = None" if _leads(op) else ""          # (_d tells _run that all is as usual)
    return [f"if {' and '.join(tests)}: _xp = numpy", f"else: _xp = settle(op, {arrays}){settled}",
            *op.contract.tests()]


def _leads(op):
    """Does the first input's dtype decide, and is it a NumPy array of one of two dtypes where the check passes?"""
    slot = op.contract.inputs[0]
    return slot.kind in ("same", "float") and not (op.exact or slot.many or slot.optional)


def _run(op, arguments):
    arrays = [f"{n}_" for n in op.inputs]
    call = f"(_xp, {', '.join(arrays + _passed(op))})"
    by_definition = f"return definition({arguments})"
    if op.stage == "definition" and not op.has_kernels:
        return [by_definition]
    lines, run = [], "forward"
    if op.has_kernels:
        params = f"dict({', '.join(f'{p}={p}' for p in op.params)})" if op.params else "{}"
        first = _first(op)
        ask = f"chosen = choose(op.name, DEVICE, ({', '.join(arrays)},), {params})"
        on_cpu, elsewhere = dispatch.least(op.name, "cpu"), dispatch.least(op.name, "cuda")
        least = f"({on_cpu} if _where == 'cpu' else {elsewhere})"
        enough = f" if {_size(op)} >= {least} else None" if on_cpu or elsewhere else ""
        lines = [f"_where = device({first})", ask.replace("DEVICE", "_where") + enough]
        if not op.exact:
            lines.append(f"if chosen is None and getattr({first}, 'dtype', None) in HALVES: raise Halves")
        if _leads(op):                                     # an array of NumPy's, no half: less to ask
            enough = f" if {arrays[0]}.size >= {on_cpu} else None" if on_cpu else ""
            usual = ask.replace("DEVICE", "'cpu'") + enough if dispatch.has_kernels(op.name, "cpu") else "chosen = None"
            lines = [f"if _d is not None: {usual}", "else:", *_indent(1, lines)]
        run = "(forward if chosen is None else chosen.forward)"
        if op.stage == "definition":
            lines.append(f"if chosen is None: {by_definition}")
            run = "chosen.forward"
    lines.append(f"{'_y' if op.stage == 'primitive' else '_y, kept'} = {run}{call}")
    if not op.contract.several:
        lines.append("if type(_y) is not ndarray: _y = result(op, _y)")
    return lines


def _first(op):
    """The first input; its neighbour, where it is a number."""
    first, *rest = [f"{n}_" for n in op.inputs]
    numbers = op.contract.inputs[0].dims == ("...",) and rest
    return f"({rest[0]} if type({first}) is float or type({first}) is int else {first})" if numbers else first


def _size(op):
    """How many elements the first input has; a number there takes its neighbour's."""
    first = _first(op)
    return f"{first}.size" if op.contract.inputs[0].dims != ("...",) else f"getattr({first}, 'size', 0)"


def _tape(op):
    if op.stage == "definition" and not op.has_kernels:
        return []
    edges = [f"{n}_edge" for n in op.inputs]
    if op.contract.inputs[0].many:
        taped, group = f"any([e is not None for e in {edges[0]}]) and recording()", edges[0]
    else:
        taped = " or ".join(f"{e} is not None" for e in edges)
        taped = (f"({taped})" if len(edges) > 1 else taped) + " and recording()"
        group = f"({', '.join(edges)},)"
    refusal = [f"if {taped}: raise no_rule(op)"] if op.differentiable and not op.has_rule else []
    if op.contract.several:
        return [*refusal, f"if {taped}: return several(op, _xp, _y, {group}, {_saved(op)})" if op.has_rule else "",
                "return several(op, _xp, _y)"]
    if not op.has_rule:
        return [*refusal, "_out = new(Tensor)", "_out.data, _out.node = _y, None", "return _out"]
    whose = "op if chosen is None else op.served_by(chosen)" if op.has_kernels and op.stage == "primitive" else "op"
    return ["_out = new(Tensor)",
            "_out.data = _y",
            f"if {taped}:",
            "    _out.node = _node = new(Node)",
            f"    _node.op, _node.edges, _node.saved = {whose}, {group}, {_saved(op)}",
            "    _node.seq, _node.shape, _node.hooks = tick(), _y.shape, None",
            "else:",
            "    _out.node = None",
            "return _out"]


def _saved(op):
    """A tuple of just what the rule names, in its order."""
    words = []
    for want in op.wants:
        if want == "out":
            words.append("_y")                                   # the array: its tensor would be a cycle
        elif want.endswith("_shape") and want[:-6] in op.inputs:
            many = op.contract.inputs[0].many
            words.append(f"[a.shape for a in {want[:-6]}_]" if many else f"{want[:-6]}_.shape")
        elif want == "chosen":
            words.append("chosen" if op.has_kernels else "None")
        elif want in op.inputs or want in op.params or want == "kept":
            words.append(want)
        else:
            raise TypeError(f"[{op.name}] rule: expected names of inputs, parameters, `<input>_shape` or `out`; "
                            f"got {want!r}.")
    return f"({''.join(w + ', ' for w in words)})"


def _indent(depth, lines):
    return ["    " * depth + line for line in lines if line]
