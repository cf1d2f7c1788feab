"""`python -m bench run NAME [--json FILE] [--batches N]`, `python -m bench compare A.json B.json`."""
import argparse
import importlib
import json
import os
import sys

from . import harness

SUITES = ("engine",)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("suite", choices=SUITES)
    run.add_argument("--json")
    run.add_argument("--batches", type=int, default=15)
    compare = commands.add_parser("compare")
    compare.add_argument("before")
    compare.add_argument("after")
    args = parser.parse_args()
    if args.command == "compare":
        return harness.compare(args.before, args.after)
    for pinned in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        if pinned in os.environ:                       # (read when NumPy loads: too late to unset here)
            sys.exit(f"bench: {pinned} is set, and pins NumPy's BLAS to an older kernel. Unset it and run again.")
    suite = importlib.import_module(f"bench.{args.suite}")
    rows = harness.run(suite.cases(), args.batches) + getattr(suite, "extra", list)()
    if args.json:
        with open(args.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
