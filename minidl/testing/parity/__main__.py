"""`python -m minidl.testing.parity DIRECTORY [--case NAME]...`

Prints a line per case, `pass|fail|missing NAME worst-error tolerance`, and what was nearest to its tolerance.
"""
import argparse
import json
import sys

from ...errors import MinidlError
from . import cases
from .compare import judge


def main():
    """The command line; the exit status is 1 where a case failed."""
    parser = argparse.ArgumentParser(prog="python -m minidl.testing.parity", description=__doc__)
    parser.add_argument("directory")
    parser.add_argument("--case", action="append", help="only this case (may be given several times)")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    args = parser.parse_args()
    verdicts = []
    try:
        for name in args.case or cases(args.directory):
            verdicts.append(judge(args.directory, name))
            print(json.dumps(vars(verdicts[-1])) if args.json else verdicts[-1], flush=True)
    except MinidlError as error:
        sys.exit(f"parity: {error}")
    counts = {s: sum(v.status == s for v in verdicts) for s in ("pass", "fail", "missing")}
    print(*(f"{n} {s}" for s, n in counts.items()), sep=", ", file=sys.stderr)
    sys.exit(bool(counts["fail"]))


if __name__ == "__main__":
    main()
