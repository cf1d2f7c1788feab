"""Textures: arrays that kernels read through cudaTextureObject_t and cudaSurfaceObject_t, filtered and addressed.

    image = simt.Texture(array, filter="linear", address="wrap", normalized=True)     # in the place of the object
    simt.launch(module, grid, block, [image, y])

Source: CUDA C++ Programming Guide, "Texture Memory" and "Texture Fetching".
"""
import numpy as np

from ..errors import message
from .faults import PtxError

HANDLE = 0x000200000000          # texture k is HANDLE + k
FILTERS, ADDRESSES = ("point", "linear"), ("clamp", "border", "wrap", "mirror")


class Texture:
    """An array as a texture or a surface.

    Args:
        array: (W), (H, W), (D, H, W); of 8- to 32-bit integers, float16 or float32. Copied to the device, and back if a
            surface is written to.
        channels: 1, 2 or 4: a last axis of the array, if more than 1, holds them.
        filter: "point" or "linear" (between the centres of texels, weights of 8 bits).
        address: what is beyond: "clamp" (the edge), "border" (0); of normalized coordinates also "wrap", "mirror".
        normalized: coordinates from 0 to 1 instead of texels.
        as_float: integers are read as fractions of their largest.

    Raises:
        PtxError: what hardware refuses.
    """

    def __init__(self, array, channels=1, filter="point", address="clamp", normalized=False, as_float=False):
        self.array, self.channels, self.filter, self.address = array, channels, filter, address
        self.normalized, self.as_float = normalized, as_float
        self.shape = array.shape if channels == 1 else array.shape[:-1]
        whole = array.dtype.kind in "iu" and not as_float
        for name, good, wanted in (
                ("array", array.flags.c_contiguous and 1 <= len(self.shape) <= 3, "a contiguous one of 1 to 3 axes"),
                ("channels", channels in (1, 2, 4) and (channels == 1 or array.shape[-1] == channels), "1, 2 or 4"),
                ("filter", filter in FILTERS and not (whole and filter == "linear"), "point, or linear for floats"),
                ("address", address in ADDRESSES and (normalized or address in ADDRESSES[:2]),
                 "clamp or border, or of normalized coordinates wrap or mirror")):
            if not good:
                raise PtxError(message("simt.Texture", name, wanted, f"{vars(self)[name]!r}"[:60]))

    def values(self, memory):
        """The texels (..., channels) as they are in device memory (bytes), as what is read of them."""
        held = memory.view(self.array.dtype).reshape(*self.shape, self.channels)
        if not self.as_float or held.dtype.kind == "f":
            return held.astype(np.float32) if held.dtype == np.float16 else held
        most = np.float32(np.iinfo(held.dtype).max)
        return np.maximum(held.astype(np.float32) / most, np.float32(-1))

    def scaled(self, coordinates):
        """Coordinates (innermost first) in texels."""
        if not self.normalized:
            return coordinates
        return [x * np.float32(n) for x, n in zip(coordinates, self.shape[::-1])]

    def taken(self, texels, places):
        """Texels at whole-numbered places (innermost first), as the address mode says of those beyond."""
        inside, index = True, []
        for at, size in zip(places, self.shape[::-1]):
            if self.address == "wrap":
                at = at % size
            elif self.address == "mirror":
                at = np.where(at % (2 * size) < size, at % size, size - 1 - at % size)
            elif self.address == "border":
                inside = inside & (at >= 0) & (at < size)
            index.insert(0, np.clip(at, 0, size - 1))
        found = texels[tuple(index)]
        return found if inside is True else np.where(np.asarray(inside)[..., None], found, found.dtype.type(0))

    def sampled(self, memory, coordinates):
        """What is read at float coordinates (innermost first): (lanes, channels)."""
        texels, at = self.values(memory), self.scaled(coordinates)
        if self.filter == "point":
            return self.taken(texels, [np.floor(x).astype(np.int64) for x in at])
        low = [np.floor(x - np.float32(0.5)) for x in at]
        weights = [np.rint((x - np.float32(0.5) - lower) * 256) / 256 for x, lower in zip(at, low)]
        total = np.float32(0)
        for corner in np.ndindex(*(2,) * len(at)):
            share = np.prod([w if c else 1 - w for w, c in zip(weights, corner)], axis=0)
            total = total + share[..., None] * self.taken(texels, [x.astype(np.int64) + c for x, c in zip(low, corner)])
        return total.astype(np.float32)

    def fetched(self, memory, places):
        """What is read at whole-numbered texels: (lanes, channels); 0 beyond."""
        texels, inside = self.values(memory), True
        for at, size in zip(places, self.shape[::-1]):
            inside = inside & (at >= 0) & (at < size)
        found = texels[tuple(np.clip(at, 0, size - 1) for at, size in zip(places[::-1], self.shape))]
        return np.where(inside[..., None], found, found.dtype.type(0))

    def gathered(self, memory, coordinates, channel):
        """One channel of the four texels that linear filtering of an image would mix: (lanes, 4)."""
        texels = self.values(memory)
        x, y = (np.floor(c - np.float32(0.5)).astype(np.int64) for c in self.scaled(coordinates))
        corners = ((0, 1), (1, 1), (1, 0), (0, 0))
        return np.stack([self.taken(texels, [x + dx, y + dy])[..., channel] for dx, dy in corners], -1)
