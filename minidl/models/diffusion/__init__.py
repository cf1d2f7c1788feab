"""Diffusion: schedulers, networks that take noise away, and what trains them."""
