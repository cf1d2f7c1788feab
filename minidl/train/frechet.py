"""How far made images are from real ones: in the features of a classifier, and in its eyes."""
import numpy as np

from .. import ops
from ..errors import ArgumentError, ShapeError, message
from ..tape import no_grad


def frechet_distance(first, second):
    """The squared Fréchet distance of two normal distributions, those of the features' means and covariances.

    Args:
        first (N, D), second (M, D): features, a row an example; more of them than D.

    Returns:
        a float, at least 0.

    Raises:
        ShapeError: they are not such features.
        ArgumentError: some are not finite.

    Source: Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium",
    arXiv:1706.08500, eq. 6; Dowson, Landau 1982.
    """
    first, second = (np.asarray(x, np.float64) for x in (first, second))
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or min(len(first), len(second)) < 2:
        raise ShapeError(message("frechet_distance", "first, second", "features (N, D) and (M, D), N and M from 2 on",
                                 (first.shape, second.shape)))
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ArgumentError(message("frechet_distance", "first, second", "finite numbers", "NaN or infinity"))
    gap = first.mean(0) - second.mean(0)
    covariances = [np.atleast_2d(np.cov(x, rowvar=False)) for x in (first, second)]
    # the trace of (A B)^(1/2) is that of (A^(1/2) B A^(1/2))^(1/2), which is symmetric
    values, vectors = np.linalg.eigh(covariances[0])
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ covariances[1] @ root), 0)).sum()
    return max(0.0, float(gap @ gap + sum(np.trace(c) for c in covariances) - 2 * shared))


def seen(classifier, images, batch=256):
    """What a classifier makes of images.

    Args:
        classifier: a models.Classifier that says how it wants its inputs.
        images: arrays (H, W, 3) or (H, W, 1), uint8, of one size.

    Returns:
        features (N, D), the mean over places of its last map, and classes (N), as arrays.

    Raises:
        ArgumentError: it is no such classifier.
    """
    if not hasattr(classifier, "forward_features") or classifier.inputs is None:
        raise ArgumentError(message("seen", "classifier", "a classifier of images, with its inputs",
                                    type(classifier).__name__))
    features, classes, device = [], [], next(iter(classifier.parameters())).device
    with no_grad():
        for i in range(0, len(images), batch):
            given = ops.tensor(np.stack([classifier.inputs(image) for image in images[i:i + batch]]), device=device)
            last = classifier.forward_features(given)
            classes.append(classifier.forward_head(last).numpy().argmax(1))
            features.append((ops.mean(last, tuple(range(2, last.ndim))) if last.ndim > 2 else last).numpy())
    return np.concatenate(features), np.concatenate(classes)
