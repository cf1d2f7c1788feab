"""Benchmarks: minidl and its rivals in one interleaved run. `python -m bench --help`."""
