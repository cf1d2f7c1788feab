"""Attention and recurrent networks."""
from .rows import Group, normal, ways

HEADS, WIDTH = 12, 64
STEPS, BATCH, INPUTS, HIDDEN = 100, 32, 256, 512


def attention(length, causal, batch=1, heads=HEADS, width=WIDTH):
    """Rows of one shape; the name says of batch, heads and width what differs from the table's title."""
    flops = 4 * batch * heads * length ** 2 * width / (2 if causal else 1)
    more = "" if (batch, heads, width) == (1, HEADS, WIDTH) else f"B{batch} H{heads} D{width} "
    return ways(f"{more}L {length}{' causal' if causal else ''}", normal(*[(batch, heads, length, width)] * 3),
                lambda lib, _, q, k, v: lib.F.scaled_dot_product_attention(q, k, v, is_causal=causal),
                flops=flops, times=3.5, shares=(0.7, 0.6) if length >= 512 else (0, 0))


def recurrent(name, gates):
    """Rows of one kind of network."""
    return ways(f"{name} B{BATCH} T{STEPS} {INPUTS}-{HIDDEN}", normal((STEPS, BATCH, INPUTS)),
                lambda lib, module, x: module(x)[0], lambda lib: getattr(lib.nn, name)(INPUTS, HIDDEN),
                flops=2 * gates * STEPS * BATCH * HIDDEN * (INPUTS + HIDDEN))


GROUPS = [Group("attention", f"Attention, B1 H{HEADS} D{WIDTH}", [
              row for length in (128, 512, 2048) for causal in (False, True) for row in attention(length, causal)],
              2.2, None),
          Group("lstm", "LSTM", recurrent("LSTM", 4), None, 1.15),
          Group("gru", "GRU", recurrent("GRU", 3), None, 2.5)]
