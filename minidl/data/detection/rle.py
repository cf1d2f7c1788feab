"""Masks as run lengths, COCO's way: how many pixels are 0, then 1, then 0, ..., down the columns.

    polygons, mask (H, W), COCO's dict -> RLE -> mask (H, W), area, box, overlaps, COCO's dict

Source: Lin et al. 2014, "Microsoft COCO", arXiv:1405.0312; the compressed form and the raster of polygons: the
description in the COCO API's mask header.
"""
from dataclasses import dataclass

import numpy as np

from ...errors import ArgumentError, ShapeError, message

FINE = 5                           # polygons are drawn on a grid so many times finer than the pixels


@dataclass(frozen=True, eq=False)
class RLE:
    """A binary mask, as runs.

    Args:
        size: (height, width), in pixels.
        counts (R): int64, the lengths of runs of 0 and 1 in turn, the first of 0; they sum to height * width.
    """

    size: tuple
    counts: np.ndarray

    # -- from and to other forms ------------------------------------------------------

    @classmethod
    def encode(cls, mask):
        """The RLE of a mask (H, W), of bool or of numbers, of which all but 0 count.

        Raises:
            ShapeError: it has not two axes.
        """
        mask = np.asarray(mask)
        if mask.ndim != 2:
            raise ShapeError(message("RLE", "mask", "(H, W)", mask.shape))
        flat = (mask != 0).T.ravel()
        return cls._between(mask.shape, np.flatnonzero(np.diff(flat, prepend=False)))

    @classmethod
    def _between(cls, size, changes):
        """From the places (C), down the columns and sorted, where 0 and 1 change, the first to 1."""
        end = size[0] * size[1]
        ends = np.concatenate([[0], changes[changes < end], [end]])
        return cls(tuple(map(int, size)), np.diff(ends).astype(np.int64))

    @classmethod
    def from_polygons(cls, polygons, size):
        """The union of polygons' insides.

        Args:
            polygons: lists of x0, y0, x1, y1, ..., pixels from the left upper edge of the image, closed by themselves.
            size: (height, width) of the image.

        Raises:
            ArgumentError: a polygon has no three corners, half a one, or one that is no number or far outside.
        """
        return cls.union([cls._between(size, _raster(_corners(p, size), *size)) for p in polygons], size)

    @classmethod
    def from_coco(cls, segmentation, size):
        """The mask of an annotation: polygons, or {"size", "counts"} with counts as numbers or compressed.

        Args:
            segmentation: what COCO's JSON has.
            size: (height, width) of the image.

        Raises:
            ArgumentError: it is neither; or is of another size; or the counts do not make up the image.
        """
        if isinstance(segmentation, list):
            return cls.from_polygons(segmentation, size)
        if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
            raise _wrong("segmentation", "polygons, or an RLE with size and counts", repr(segmentation)[:60])
        told, counts = segmentation["size"], segmentation["counts"]
        if not isinstance(told, (list, tuple)) or tuple(told) != tuple(size):
            raise _wrong("size", f"{list(size)}, that of the image", told)
        counts = decompress(counts) if isinstance(counts, (str, bytes)) else _whole(counts)
        pixels = size[0] * size[1]
        outside = counts[(counts < 0) | (counts > pixels)]
        if len(outside) or counts.sum() != pixels:
            got = f"one of {outside[0]}" if len(outside) else f"a sum of {counts.sum()}"
            raise _wrong("counts", f"lengths >= 0 that sum to {pixels}", got)
        return cls(tuple(size), counts)

    def to_coco(self, compress=True):
        """{"size", "counts"}, ready for JSON: counts as a string, or as numbers."""
        counts = compressed(self.counts) if compress else self.counts.tolist()
        return {"size": list(self.size), "counts": counts}

    def decode(self):
        """The mask (H, W), bool."""
        height, width = self.size
        return np.repeat(np.arange(len(self.counts)) % 2 == 1, self.counts).reshape(width, height).T

    # -- what is in it ------------------------------------------------------------------

    @property
    def area(self):
        """How many pixels are 1."""
        return int(self.counts[1::2].sum())

    @property
    def runs(self):
        """(starts, ends) of the runs of 1, places down the columns."""
        ends = np.cumsum(self.counts)
        return (ends - self.counts)[1::2], ends[1::2]

    @property
    def box(self):
        """The least box around it, x1, y1, x2, y2 in pixels; zeros if it is empty."""
        starts, ends = self.runs
        starts, last = starts[ends > starts], ends[ends > starts] - 1
        if not len(starts):
            return np.zeros(4)
        height = self.size[0]
        (x1, top), (x2, bottom) = np.divmod(starts, height), np.divmod(last, height)
        whole = x1 < x2                                          # a run over the end of a column touches both edges
        y1, y2 = np.where(whole, 0, top).min(), np.where(whole, height - 1, bottom).max()
        return np.array([x1.min(), y1, x2.max() + 1, y2 + 1], np.float64)

    @classmethod
    def union(cls, masks, size):
        """What at least one of some masks covers.

        Raises:
            ShapeError: one is of another size.
        """
        runs = [_of_size(mask, size).runs for mask in masks]
        places = np.concatenate([np.zeros(0, np.int64), *(side for run in runs for side in run)])
        steps = np.repeat(np.tile([1, -1], len(runs)), [len(side) for run in runs for side in run])
        order = np.argsort(places, kind="stable")
        covered = np.cumsum(steps[order]) > 0
        last = np.flatnonzero(np.diff(places[order], append=-1))             # of several changes in one place
        covered, places = covered[last], places[order][last]
        return cls._between(size, places[np.diff(covered, prepend=False)])


def mask_iou(masks1, masks2, crowd=None):
    """Overlap of masks: intersection over union, every one with every one.

    Args:
        masks1 (N), masks2 (M): RLEs of one size.
        crowd (M): bool; where True the share of the first mask that the second covers, instead.

    Returns:
        (N, M) float64: in [0, 1].

    Raises:
        ShapeError: the sizes differ.
    """
    result, crowd = np.zeros((len(masks1), len(masks2))), False if crowd is None else np.asarray(crowd, bool)
    if not result.size:
        return result
    runs = [_of_size(mask, masks1[0].size).runs for mask in masks2]
    starts, ends = (np.concatenate(side) for side in zip(*runs))
    owner = np.repeat(np.arange(len(masks2)), [len(run[0]) for run in runs])
    area = np.array([mask.area for mask in masks2], np.float64)
    for row, mask in zip(result, masks1):
        _of_size(mask, masks1[0].size)
        places = np.concatenate([[0], np.cumsum(mask.counts)])
        before = np.concatenate([[0], np.cumsum(mask.counts * (np.arange(len(mask.counts)) % 2))])    # pixels so far
        shared = np.interp(ends, places, before) - np.interp(starts, places, before)
        both = np.bincount(owner, shared, len(masks2))
        union = np.where(crowd, mask.area, area + mask.area - both)
        np.divide(both, union, out=row, where=both > 0)
    return result


def check_segmentation(segmentation, size):
    """Raise what `RLE.from_coco` would, without drawing polygons."""
    if not isinstance(segmentation, list):
        return RLE.from_coco(segmentation, size)
    for polygon in segmentation:
        _corners(polygon, size)


# -- the compressed form --------------------------------------------------------------

def _differences(counts):
    """Each count less the last but one, from the fourth on."""
    steps = counts.copy()
    steps[3:] -= counts[1:-2]
    return steps


def compressed(counts):
    """Counts (R) as text: differences from the last but one, six bits a letter, the lowest five first."""
    rest, letters, used = _differences(counts), [], []
    going = np.ones(len(rest), bool)
    while going.any():
        low, rest = rest & 31, rest >> 5
        used.append(going)
        going = going & np.where(low & 16, rest != -1, rest != 0)            # (bit 16 of the last one is the sign)
        letters.append(low + 32 * going + 48)
    shape = len(letters), len(rest)
    table, used = np.array(letters, np.uint8).reshape(shape), np.array(used, bool).reshape(shape)
    return table.T[used.T].tobytes().decode("ascii")


def decompress(text):
    """The counts (R), int64, of such a text.

    Raises:
        ArgumentError: it is none.
    """
    text = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if not len(codes):
        return codes
    last = codes & 32 == 0
    ends = np.flatnonzero(last)
    lengths = np.diff(ends, prepend=-1)
    if (codes < 0).any() or (codes > 63).any() or not last[-1] or lengths.max() > 12:
        raise _wrong("counts", "a compressed RLE", f"{text[:20]!r}...")
    starts = ends + 1 - lengths
    place = 5 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    steps = np.add.reduceat((codes & 31) << place, starts)
    steps -= np.where(codes[ends] & 16, 1 << 5 * lengths, 0)
    for first in 1, 2:
        steps[first::2] = np.cumsum(steps[first::2])
    return steps


# -- the raster of a polygon ------------------------------------------------------------

def _corners(polygon, size):
    """Polygon as (K, 2) float64, of which no corner is further from an image of `size` than that is large."""
    try:
        flat = np.asarray(polygon, np.float64)
    except (TypeError, ValueError):
        flat = np.zeros(0)
    if flat.ndim != 1 or len(flat) < 6 or len(flat) % 2 or not np.isfinite(flat).all():
        raise _wrong("polygon", "x, y of at least three corners, finite", repr(polygon)[:60])
    corners, limits = flat.reshape(-1, 2), np.array(size[::-1])
    if (far := (corners < -limits) | (corners > 2 * limits)).any():
        raise _wrong("polygon", f"corners near an image of {limits[0]} x {limits[1]} pixels", f"{corners[far][0]:g}")
    return corners


def _raster(corners, height, width):
    """Where, down the columns, a scan enters or leaves the polygon (K, 2): places that come twice are not there.

    The outline is drawn on a grid FINE times finer; where it passes the middle of a column, all below changes.
    """
    corners = (FINE * corners + 0.5).astype(np.int64)
    first, second = corners, np.roll(corners, -1, 0)
    steps = abs(second - first).max(1)                                       # of each edge
    down = abs(second - first)[:, 1] > abs(second - first)[:, 0]             # edges that are drawn row by row
    along = np.where(down[:, None], first[:, ::-1], first), np.where(down[:, None], second[:, ::-1], second)
    back = along[0][:, 0] > along[1][:, 0]                                   # (drawn from the lower end in any case)
    low, high = np.where(back[:, None], along[1], along[0]), np.where(back[:, None], along[0], along[1])
    slope = (high[:, 1] - low[:, 1]) / np.maximum(steps, 1)
    edge = np.repeat(np.arange(len(corners)), steps + 1)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(steps + 1) - steps - 1, steps + 1)
    step = np.where(back[edge], steps[edge] - step, step)
    main, side = low[edge, 0] + step, (low[edge, 1] + slope[edge] * step + 0.5).astype(np.int64)
    x, y = np.where(down[edge], side, main), np.where(down[edge], main, side)
    left, top = np.minimum(x[1:], x[:-1]), np.minimum(y[1:], y[:-1])
    column, rest = np.divmod(left, FINE)
    crossed = (x[1:] != x[:-1]) & (rest == FINE // 2) & (column >= 0) & (column < width)
    row = np.ceil(np.clip((top[crossed] + 0.5) / FINE - 0.5, 0, height)).astype(np.int64)
    places, times = np.unique(column[crossed] * height + row, return_counts=True)
    return places[times % 2 == 1]


# -- refusals -----------------------------------------------------------------------------

def _of_size(mask, size):
    if mask.size != tuple(size):
        raise ShapeError(message("RLE", "masks", f"masks of one size, {tuple(size)}", mask.size))
    return mask


def _whole(counts):
    try:
        counts = np.asarray(counts)
        if counts.ndim == 1 and (counts.dtype.kind in "iu" or not counts.size):
            return counts.astype(np.int64)
    except ValueError:
        pass
    raise _wrong("counts", "a list of whole numbers, or a compressed RLE", "something else")


def _wrong(argument, expected, got):
    return ArgumentError(message("RLE", argument, expected, got))
