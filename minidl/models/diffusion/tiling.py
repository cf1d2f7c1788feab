"""Large images through an autoencoder, tile by tile, blended where tiles overlap: memory is that of a tile.

Source: diffusers, `enable_vae_tiling`; the blend is a mean weighted by the distance from a tile's edge.
"""
import numpy as np

from ...tape import no_grad
from ...tensor import Tensor


def tiled(function, x, tile, scale, overlap=0.25):
    """function(x), by tiles: near edges it is not the same, as a tile does not see its neighbours.

    Args:
        function: (N, C, h, w) -> (N, D, h * scale, w * scale).
        x (N, C, H, W).
        tile: height and width of a tile, in pixels of x; what is no larger goes through as a whole.
        scale: of the function: a number, below 1 where it shrinks.
        overlap: the share of a tile that it has in common with the next.

    Returns:
        (N, D, H * scale, W * scale).
    """
    height, width = x.shape[2:]
    if height <= tile and width <= tile:
        return function(x)
    unit = max(round(1 / scale), 1)                    # (where it shrinks, tiles begin at whole pixels of the result)
    rows, columns = ([unit * a for a in starts(size // unit, tile // unit, overlap)] for size in (height, width))
    total, weights = None, np.zeros((1, 1, round(height * scale), round(width * scale)), np.float32)
    with no_grad():
        for top in rows:
            for left in columns:
                part = function(x[:, :, top:top + tile, left:left + tile])
                at = (..., *(slice(round(a * scale), round(a * scale) + n)
                             for a, n in zip((top, left), part.shape[2:])))
                if total is None:
                    total = np.zeros((*part.shape[:2], *weights.shape[2:]), np.float32)
                window = np.minimum.outer(ramp(part.shape[2], tile * overlap * scale),
                                          ramp(part.shape[3], tile * overlap * scale))
                total[at] += part.numpy() * window
                weights[at] += window
    return Tensor(total / weights).to(x.device).astype(x.dtype)


def starts(size, tile, overlap):
    """Where tiles begin: as few as overlap by at least that share, the last one at the end."""
    if size <= tile:
        return [0]
    step = max(int(tile * (1 - overlap)), 1)
    count = -(-(size - tile) // step) + 1
    return [round(i * (size - tile) / (count - 1)) for i in range(count)]


def ramp(n, width):
    """(n): weights from an edge inwards, up to 1 at this distance."""
    from_edge = np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5)
    return np.minimum(from_edge / max(width, 1), 1).astype(np.float32)
