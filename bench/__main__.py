"""Benchmarks: minidl beside its rivals, in one interleaved run.

    run engine                            what a call costs
    compare torch                         minidl's kernels beside PyTorch's (and NumPy's BLAS)
    gpu                                   minidl's kernels beside PyTorch's, cuDNN's and cuBLAS's on a GPU
    gpu --tune KERNEL...                  which configs of Triton kernels are the quickest there
    forecast                              LSTM, GRU, TCN and Transformer on real series, beside ETS
    classify                              LSTM, GRU and TCN on series of the UCR and UEA archives
    compare BEFORE.json AFTER.json        two runs on one machine
    table FILE.json...                    a run, or the parts of one, as Markdown
    plot FILE.json... --out FILE.png      and as a picture
"""
import argparse
import json
import os
import sys
from importlib import import_module
from pathlib import Path

from . import harness, machine, report


def _write(path, text):
    """To a file, or to the screen."""
    Path(path).write_text(text) if path else print(text)


def _picture(document, path):
    import_module("bench.plot").plot(_groups(document), document, path)


def _engine(args):
    machine.refuse_pins()
    suite = import_module("bench.engine")
    rows = harness.run(suite.cases(), args.batches) + suite.extra()
    if args.json:
        _write(args.json, json.dumps({"suite": "engine", **machine.header(), "rows": rows}, indent=1))


def _compare(args):
    if args.what != ["torch"]:
        if len(args.what) != 2:
            sys.exit('bench: compare takes "torch", or two files of results.')
        return report.compare(*args.what)
    machine.refuse_pins()
    versus = import_module("bench.versus")
    document = versus.run(args.only or (), versus.plan(args.threads), args.quick)
    if args.json:
        _write(args.json, json.dumps(document, indent=1))
    _write(args.markdown, _tables(document))
    if args.plot:
        _picture(document, args.plot)
    return any("error" in row for row in document["rows"])


def _gpu(args):
    suite, device = import_module("bench.gpu"), import_module("bench.device").found()
    only, kinds = args.only or (), args.dtypes or suite.KINDS
    if args.tune:
        import_module("bench.tune").run(device, args.tune, only, kinds, args.quick, args.write, jobs=os.cpu_count())
        return False
    document = suite.run(device, only, kinds, args.quick)
    if args.json:
        _write(args.json, json.dumps(document, indent=1))
    _write(args.markdown, _tables(document))
    if args.plot:
        _picture(document, args.plot)
    return any("error" in row for row in document["rows"])


def _forecast(args):
    _write(args.markdown, import_module("bench.forecast").run(args.only or (), args.plot))


def _classify(args):
    _write(args.markdown, import_module("bench.classify").run(args.only or (), args.seeds))


def _of_gpu(document):
    return document["suite"] == "gpu"


def _groups(document):
    return import_module("bench.cases_gpu" if _of_gpu(document) else "bench.cases").GROUPS


def _tables(document):
    return (import_module("bench.report_gpu") if _of_gpu(document) else report).markdown(_groups(document), document)


def _table(args):
    _write(args.out, _tables(report.merged(args.files)))


def _plot(args):
    _picture(report.merged(args.files), args.out or "bench.png")


def _peak(args):
    print(json.dumps(import_module("bench.versus").peak(args.row, args.library, args.threads)))


def _parser():
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    def command(name, run):
        found = commands.add_parser(name)
        found.set_defaults(run=run)
        return found.add_argument

    add = command("run", _engine)
    add("suite", choices=["engine"])
    add("--json")
    add("--batches", type=int, default=15)
    add = command("compare", _compare)
    add("what", nargs="+", help='"torch", or two files of results')
    add("--only", action="append", metavar="PATTERN", help='rows: "conv/*3x3*", "attention"; may be repeated')
    add("--threads", default="1,2", help="numbers of threads")
    add("--quick", action="store_true", help="each 4th row, for a 4th of the time")
    add("--json")
    add("--markdown")
    add("--plot")
    add = command("gpu", _gpu)
    add("--only", action="append", metavar="PATTERN", help='rows: "conv/*3x3*", "attention"; may be repeated')
    add("--dtypes", nargs="+", choices=("float16", "bfloat16", "float32", "tf32"), help="all, unless said")
    add("--quick", action="store_true", help="each 6th row")
    add("--json")
    add("--markdown")
    add("--plot")
    add("--tune", nargs="+", metavar="KERNEL", help="measure all configs of these instead")
    add("--write", action="store_true", help="with --tune: the best into kernels/triton/configs.json")
    add = command("forecast", _forecast)
    add("--only", action="append", metavar="WORD", help="series whose names hold it; may be repeated")
    add("--markdown")
    add("--plot")
    add = command("classify", _classify)
    add("--only", action="append", metavar="WORD", help="sets whose names hold it; may be repeated")
    add("--seeds", type=int, default=3)
    add("--markdown")
    for name, run in (("table", _table), ("plot", _plot)):
        add = command(name, run)
        add("files", nargs="+")
        add("--out")
    add = command("peak", _peak)                       # (what a comparison runs in processes of their own)
    add("row")
    add("library")
    add("threads", type=int)
    return parser


def main():
    """The command line."""
    args = _parser().parse_args()
    sys.exit(args.run(args))


if __name__ == "__main__":
    main()
