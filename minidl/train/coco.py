"""COCO's measure of detectors: the twelve numbers of its summary, for boxes or masks.

    detections and truth of each image -> overlaps -> matches by class, area range, threshold -> precision over recall

Source: Lin et al. 2014, "Microsoft COCO", arXiv:1405.0312, and the rules on cocodataset.org, "Detection evaluation".
"""
import numpy as np

from ..data.detection.rle import RLE, mask_iou
from ..errors import ArgumentError, ShapeError, message
from ..tensor import Tensor
from .metrics import Metric

THRESHOLDS = np.linspace(0.5, 0.95, 10)                # of overlap
RECALLS = np.linspace(0, 1, 101)                       # where precision is read
LIMITS = 1, 10, 100                                    # detections of an image that count, of each class
AREAS = {"": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}    # in pixels
NAMES = ("map", "map50", "map75", "map_small", "map_medium", "map_large",
         "mar1", "mar10", "mar100", "mar_small", "mar_medium", "mar_large")
_LEAST, _MOST = np.array(list(AREAS.values())).T[:, :, None]       # (A, 1)


class CocoMetric(Metric):
    """Mean average precision and recall as COCO defines them.

    Args:
        kind: "boxes" or "masks": whose overlaps count.

    Args of `update`: for each image of a batch, detections {"boxes" (n, 4) x1, y1, x2, y2 in pixels, "labels" (n),
    "scores" (n)[, "masks" (n, H, W) bool, or numbers of which those above 0.5 count, or n RLEs]}, and the truth
    {"boxes" (m, 4), "labels" (m)[, "masks"][, "crowd" (m) bool: a region that any number of detections may meet,
    and that need not be found][, "area" (m): what sorts it into small, medium and large; else its mask's or box's]}.

    Raises:
        ArgumentError: another kind; a part is missing, or its lengths differ.

    Of equal scores the earlier image's count first, as in COCO's own tools where images come by their numbers.
    """

    def __init__(self, kind="boxes"):
        if kind not in ("boxes", "masks"):
            raise ArgumentError(message("CocoMetric", "kind", "boxes or masks", repr(kind)))
        self.kind = kind
        super().__init__()

    name = property(lambda self: "map" if self.kind == "boxes" else "mask_map")

    def reset(self):
        """Forget all images."""
        self.found = {}                                # {class: [(scores (n), hits, ignored (A, T, n))]}
        self.wanted = {}                               # {class: (A): how many are to be found}

    def update(self, outputs, targets):
        """Match the detections of a batch of images with the truth."""
        if len(outputs) != len(targets):
            expected = f"one for each of {len(outputs)} images"
            raise ArgumentError(message("CocoMetric", "targets", expected, len(targets)))
        for output, target in zip(outputs, targets):
            self._add(*(_objects(each, self.kind, i) for i, each in enumerate((output, target))))

    def _add(self, found, truth):
        for label in np.union1d(found["labels"], truth["labels"]).tolist():
            mine, theirs = found["labels"] == label, np.flatnonzero(truth["labels"] == label)
            order = np.flatnonzero(mine)[np.argsort(-found["scores"][mine], kind="stable")[:LIMITS[-1]]]
            crowd, area = truth["crowd"][theirs], truth["area"][theirs]
            aside = crowd | (area < _LEAST) | (area > _MOST)                             # (A, M)
            overlap = _overlaps(*([each[self.kind][i] for i in which] for each, which in
                                  ((found, order), (truth, theirs))), crowd, self.kind)
            hits, ignored = match(overlap, aside, crowd)
            area = found["area"][order]
            outside = (area < _LEAST) | (area > _MOST)                                   # (A, N)
            ignored |= ~hits & outside[:, None]
            self.found.setdefault(label, []).append((found["scores"][order], hits, ignored))
            self.wanted[label] = self.wanted.get(label, 0) + (~aside).sum(1)

    def compute(self):
        """The mean average precision over overlaps from 0.50 to 0.95, in [0, 1]; -1 if there was nothing to find."""
        return self.summary()["map"]

    def summary(self):
        """COCO's twelve numbers by name, each in [0, 1]; -1 where there was nothing to find.

        map, map50, map75: mean average precision over overlaps of 0.50 to 0.95, at 0.50, at 0.75; map_small,
        map_medium, map_large: of objects below 32**2, 96**2 pixels, above.  mar1, mar10, mar100: mean recall with so
        many detections an image; mar_small, ...: with 100.
        """
        precision, recall = self.curves()
        all_areas = precision[:, 0, -1]                                                  # (K, T, R)
        cuts = [all_areas, all_areas[:, 0], all_areas[:, 5], *(precision[:, a, -1] for a in (1, 2, 3)),
                *(recall[:, 0, m] for m in range(len(LIMITS))), *(recall[:, a, -1] for a in (1, 2, 3))]
        return {name: float(cut[cut > -1].mean()) if (cut > -1).any() else -1.0 for name, cut in zip(NAMES, cuts)}

    def by_class(self):
        """{class: {"map", "map50"}} of the classes with something to find."""
        best = self.curves()[0][:, 0, -1]                                                # (K, T, R)
        return {label: {"map": float(values.mean()), "map50": float(values[0].mean())}
                for label, values in zip(sorted(self.wanted), best) if values[0, 0] > -1}

    def curves(self):
        """precision (K, A, M, T, R) at each recall and recall (K, A, M, T) at the end, by class, area range, limit and
        threshold; -1 where there was nothing to find."""
        shape = len(self.wanted), len(AREAS), len(LIMITS), len(THRESHOLDS)
        precision, recall = np.full((*shape, len(RECALLS)), -1.0), np.full(shape, -1.0)
        for k, label in enumerate(sorted(self.wanted)):
            there = np.flatnonzero(self.wanted[label])
            for m, limit in enumerate(LIMITS):
                scores, hits, ignored = (np.concatenate([part[..., :limit] for part in parts], -1)
                                         for parts in zip(*self.found[label]))
                order = np.argsort(-scores, kind="stable")
                hits, counts = hits[..., order], ~ignored[..., order]
                for a in there:
                    precision[k, a, m], recall[k, a, m] = _curve(hits[a] & counts[a], ~hits[a] & counts[a],
                                                                 self.wanted[label][a])
        return precision, recall

    def state_dict(self):
        """What a resumed run needs: all matches."""
        return {"found": {str(k): [list(parts) for parts in v] for k, v in self.found.items()},
                "wanted": {str(k): v for k, v in self.wanted.items()}}

    def load_state_dict(self, saved):
        """Go on from there."""
        self.found = {int(k): [tuple(map(np.asarray, parts)) for parts in v] for k, v in saved["found"].items()}
        self.wanted = {int(k): np.asarray(v) for k, v in saved["wanted"].items()}


def match(overlap, aside, crowd):
    """Give each detection, best first, the free object that it overlaps most, one to be found before one aside.

    Args:
        overlap (N, M): of detections, best first, and objects.
        aside (A, M): bool, objects that need not be found, by area range.
        crowd (M): bool, objects that any number of detections may have.

    Returns:
        hits, ignored (A, T, N): bool: has it an object, and is that one aside?
    """
    shape = len(aside), len(THRESHOLDS), len(overlap)
    hits, ignored = np.zeros(shape, bool), np.zeros(shape, bool)
    taken = np.zeros((*shape[:2], len(crowd)), bool)                                     # (A, T, M)
    enough = np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
    areas, levels = np.ogrid[:shape[0], :shape[1]]
    for i in np.flatnonzero(overlap.max(1, initial=0) >= THRESHOLDS[0]):
        free = (overlap[i] >= enough) & (~taken | crowd)
        worth = np.where(free, overlap[i] + 2 * ~aside[:, None], -1)                     # (overlaps are at most 1)
        best = len(crowd) - 1 - worth[..., ::-1].argmax(-1)                              # of equals the last
        hit = worth[areas, levels, best] >= 0
        hits[..., i], ignored[..., i] = hit, hit & aside[areas, best]
        taken[areas, levels, best] |= hit
    return hits, ignored


def _curve(right, wrong, wanted):
    """Precision (T, R) and the last recall (T), of right and wrong detections (T, N), best first."""
    right, wrong = np.cumsum(right, 1, dtype=np.float64), np.cumsum(wrong, 1, dtype=np.float64)
    recall = right / wanted
    exact = right / (right + wrong + np.spacing(1))
    exact = np.maximum.accumulate(exact[:, ::-1], 1)[:, ::-1]                            # the best at this or more
    exact = np.pad(exact, [(0, 0), (0, 1)])                                              # recall never reached: 0
    places = np.stack([np.searchsorted(row, RECALLS) for row in recall])
    return np.take_along_axis(exact, places, 1), recall[:, -1] if recall.shape[1] else 0.0


def _overlaps(found, truth, crowd, kind):
    """(N, M), float64."""
    if kind == "masks":
        return mask_iou(found, truth, crowd)
    a, b = (np.reshape(np.array(boxes, np.float64), (-1, 4)) for boxes in (found, truth))
    sides = np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2])
    both = np.where((sides > 0).all(-1), sides.prod(-1), 0)
    area = [(c[:, 2] - c[:, 0]) * (c[:, 3] - c[:, 1]) for c in (a, b)]
    union = np.where(crowd, area[0][:, None], area[0][:, None] + area[1] - both)
    return np.divide(both, union, out=np.zeros_like(both), where=both > 0)


def _objects(given, kind, is_truth):
    """The parts of an image's objects as arrays on the host, with areas; masks as RLEs."""
    op, needed = ("targets" if is_truth else "outputs"), ["labels", kind] + ([] if is_truth else ["scores"])
    if lacking := [name for name in needed if name not in given]:
        raise ArgumentError(message("CocoMetric", op, f"{', '.join(needed)} of each image", f"no {lacking[0]}"))
    parts = {name: given[name] if name == "masks" else _host(given[name]) for name in
             {*needed, "boxes", "crowd", "area"} & given.keys()}
    n = len(parts["labels"])
    if wrong := [name for name, part in parts.items() if len(part) != n]:
        raise ShapeError(message("CocoMetric", op, f"{n} {wrong[0]} for {n} labels", len(parts[wrong[0]])))
    if kind == "masks":
        masks = parts["masks"] if n else []
        parts["masks"] = [m if isinstance(m, RLE) else _mask(m) for m in masks]
        own = np.array([m.area for m in parts["masks"]], np.float64)
    else:
        boxes = parts["boxes"] = parts["boxes"].astype(np.float64).reshape(-1, 4)
        own = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    parts["area"] = parts["area"].astype(np.float64) if is_truth and "area" in parts else own
    parts["labels"] = parts["labels"].astype(np.int64)                                   # ([] has floats)
    parts["crowd"] = parts["crowd"].astype(bool) if "crowd" in parts else np.zeros(n, bool)
    return parts


def _host(value):
    return (value if isinstance(value, Tensor) else Tensor(value)).numpy()


def _mask(mask):
    mask = _host(mask)
    return RLE.encode(mask > 0.5 if mask.dtype.kind == "f" else mask)
