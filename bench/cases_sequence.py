"""Attention and recurrent networks."""
from .rows import Group, normal, ways

HEADS, WIDTH = 12, 64
STEPS, BATCH, INPUTS, HIDDEN = 100, 32, 256, 512


def _attention(length, causal):
    flops = 4 * HEADS * length ** 2 * WIDTH / (2 if causal else 1)
    return ways(f"L {length}{' causal' if causal else ''}", normal(*[(1, HEADS, length, WIDTH)] * 3),
                lambda lib, _, q, k, v: lib.F.scaled_dot_product_attention(q, k, v, is_causal=causal),
                flops=flops, times=3.5, shares=(0.7, 0.6) if length >= 512 else (0, 0))


def _recurrent(name, gates):
    return ways(f"{name} B{BATCH} T{STEPS} {INPUTS}-{HIDDEN}", normal((STEPS, BATCH, INPUTS)),
                lambda lib, module, x: module(x)[0], lambda lib: getattr(lib.nn, name)(INPUTS, HIDDEN),
                flops=2 * gates * STEPS * BATCH * HIDDEN * (INPUTS + HIDDEN))


GROUPS = [Group("attention", f"Attention, B1 H{HEADS} D{WIDTH}", [
              row for length in (128, 512, 2048) for causal in (False, True) for row in _attention(length, causal)],
              2.2, None),
          Group("lstm", "LSTM", _recurrent("LSTM", 4), None, 1.15),
          Group("gru", "GRU", _recurrent("GRU", 3), None, 2.5)]
