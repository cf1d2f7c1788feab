"""Collating: the items of a batch become one nest of arrays, with one axis more, the first."""
from collections.abc import Mapping

import numpy as np

from .. import backend
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..tensor import Tensor, as_array
from .datasets import to_array


def default_collate(items):
    """Join items that are built alike into a batch.

    Args:
        items: a list of N: arrays or Tensors, numbers, tuples, lists or dicts of such, or anything else.

    Returns:
        of arrays and Tensors (...), an array (N, ...) on the host; of numbers, an array (N), floats in the
        default dtype, integers int64; of tuples, lists and dicts, one of what their members give; of anything
        else, the list.

    Raises:
        ShapeError, DTypeError: arrays of unlike shapes or dtypes meet.
        ArgumentError: tuples or lists of unlike lengths, or dicts of unlike keys; no items.
    """
    if not items:
        raise ArgumentError(message("default_collate", "items", "at least one item", "an empty batch"))
    first = items[0]
    if isinstance(first, Tensor) or backend.is_array(first) or isinstance(first, np.generic):
        return _stack([to_array(item) for item in items])
    if isinstance(first, (bool, int, float)):
        return as_array(items)
    if isinstance(first, Mapping):
        _check_alike("keys", [list(item) for item in items])
        return {key: default_collate([item[key] for item in items]) for key in first}
    if isinstance(first, (list, tuple)):
        _check_alike("lengths", [len(item) for item in items])
        build = getattr(type(first), "_make", type(first))             # (named tuples are built otherwise)
        return build([default_collate(list(members)) for members in zip(*items)])
    return items


def _stack(arrays):
    for what, error in (("shape", ShapeError), ("dtype", DTypeError)):
        found = list(dict.fromkeys(str(getattr(array, what)) for array in arrays))
        if len(found) > 1:
            raise error(message("default_collate", "items", f"arrays of one {what}", " and ".join(found),
                                "Pad or convert them in the dataset, or give a collate_fn of your own."))
    return np.stack(arrays)


def _check_alike(what, found):
    unlike = [one for one in found if one != found[0]]
    if unlike:
        expected, got = f"items of the same {what}", f"{found[0]} and {unlike[0]}"
        raise ArgumentError(message("default_collate", "items", expected, got))
