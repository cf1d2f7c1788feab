"""Checks that hold for every op, kernel and model; shipped, so that those defined outside are checked alike."""
