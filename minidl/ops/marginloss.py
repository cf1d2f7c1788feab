"""Losses of distances, angles and ranks, and of the two sides of an adversarial game."""
from ..errors import ArgumentError, message
from ..op import fused
from .activation import logsigmoid, softplus
from .elementwise import maximum, minimum, sqrt, square, where
from .linalg import vector_norm
from .loss import demanded, loss, reduced
from .rectifier import relu

__all__ = ["cosine_embedding_loss", "cosine_similarity", "gan_discriminator_loss", "gan_generator_loss",
           "hinge_embedding_loss", "margin_ranking_loss", "pairwise_distance", "soft_margin_loss",
           "triplet_margin_loss"]


# -- distances and angles -------------------------------------------------------------

@fused("x1(...,D):float x2(...,D):float -> (_)")
def pairwise_distance(x1, x2, /, p=2.0, eps=1e-6, keepdims=False):
    """The distance of vectors, one by one.

    Args:
        x1 (..., D), x2 (..., D): vectors; leading axes broadcast.
        p: of the norm: 2 Euclid's, 1 the sum of absolute differences, inf the largest of them.
        eps: added to each difference.
        keepdims: keep the last axis, with length 1.

    Returns:
        (...).
    """
    return vector_norm(x1 - x2 + eps, -1, p, keepdims)


@fused("x1(...):float x2(...):float -> (_)")
def cosine_similarity(x1, x2, /, axis=1, eps=1e-8):
    """The cosine of the angle between vectors.

    Args:
        x1, x2 (...): arrays of vectors, which broadcast.
        axis: the one that vectors run along.
        eps: the least length that a vector counts with, so that a vector of zeros has cosine 0 with all.

    Returns:
        (_): the shape of both without the axis; in [-1, 1].
    """
    lengths = [sqrt(maximum(square(x).sum(axis, True), eps * eps)) for x in (x1, x2)]
    return (x1 / lengths[0] * (x2 / lengths[1])).sum(axis)


@fused("input1(*,D):float input2(*,D):float target(*):any -> (_)")
def cosine_embedding_loss(input1, input2, target, /, margin=0.0, reduction="mean"):
    """Turn like vectors the same way, and unlike ones apart.

    Args:
        input1 (*, D), input2 (*, D): pairs of vectors.
        target (*): 1 for a like pair, -1 for an unlike one, any dtype.
        margin: unlike pairs below this cosine are apart enough.
        reduction: "mean", "sum" or "none": what becomes of the single losses.

    Returns:
        (), or (*) for "none": 1 - cosine of like pairs, max(0, cosine - margin) of unlike ones.

    Raises:
        ShapeError: the shapes differ.
        ArgumentError: a target is neither 1 nor -1; the mean of no losses.
    """
    like = demanded("cosine_embedding_loss", target, domain="1 or -1") == 1
    cosine = cosine_similarity(input1, input2, -1, 1e-6)
    losses = where(like, 1.0 - cosine, maximum(cosine - margin, 0.0))
    return reduced("cosine_embedding_loss", losses, reduction)


@loss("anchor(*,D):float positive(*,D):float negative(*,D):float -> (_)")
def triplet_margin_loss(anchor, positive, negative, /, margin=1.0, p=2.0, eps=1e-6, swap=False,
                        reduction="mean"):
    """Bring anchors nearer to their like than to their unlike, by a margin.

    Args:
        anchor (*, D), positive (*, D), negative (*, D): vectors; of each triple the second is like the first,
            the third is not.
        margin: how much nearer.
        p, eps: of the distances, as in `pairwise_distance`.
        swap: take the unlike one's distance from the like one instead, where that is less.
        reduction: as in `cosine_embedding_loss`.

    Returns:
        (), or (*) for "none": max(0, margin + distance of the like - distance of the unlike).

    Raises:
        ShapeError: the shapes differ.
        ArgumentError: the mean of no losses.

    Source: Balntas et al. 2016, "Learning local feature descriptors with triplets and shallow convolutional
    neural networks", section 3.
    """
    near, far = pairwise_distance(anchor, positive, p, eps), pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = minimum(far, pairwise_distance(positive, negative, p, eps))
    return reduced("triplet_margin_loss", maximum(margin + near - far, 0.0), reduction)


# -- margins of scores ----------------------------------------------------------------

@loss("input1(*):float input2(*):float target(*):any -> (_)")
def margin_ranking_loss(input1, input2, target, /, margin=0.0, reduction="mean"):
    """Rank pairs of scores rightly, by a margin.

    Args:
        input1 (*), input2 (*): scores.
        target (*): 1 where the first should be higher, -1 where the second, any dtype.
        margin: by how much.
        reduction: as in `cosine_embedding_loss`.

    Returns:
        (), or (*) for "none": max(0, margin - target (input1 - input2)).

    Raises:
        ShapeError, ArgumentError: as `cosine_embedding_loss`.
    """
    target = demanded("margin_ranking_loss", target, domain="1 or -1").astype(input1.dtype)
    return reduced("margin_ranking_loss", maximum(margin - target * (input1 - input2), 0.0), reduction)


@loss("input(*):float target(*):any -> (_)")
def hinge_embedding_loss(input, target, /, margin=1.0, reduction="mean"):
    """Make distances of like pairs small, and those of unlike ones larger than a margin.

    Args:
        input (*): distances.
        target (*): 1 for a like pair, -1 for an unlike one, any dtype.
        margin: unlike pairs beyond it are apart enough.
        reduction: as in `cosine_embedding_loss`.

    Returns:
        (), or (*) for "none": the distance of like pairs, max(0, margin - distance) of unlike ones.

    Raises:
        ShapeError, ArgumentError: as `cosine_embedding_loss`.
    """
    like = demanded("hinge_embedding_loss", target, domain="1 or -1") == 1
    return reduced("hinge_embedding_loss", where(like, input, maximum(margin - input, 0.0)), reduction)


@loss("input(*):float target(*):any -> (_)")
def soft_margin_loss(input, target, /, reduction="mean"):
    """Give scores the sign of their targets.

    Args:
        input (*): scores.
        target (*): 1 or -1, any dtype.
        reduction: as in `cosine_embedding_loss`.

    Returns:
        (), or (*) for "none": log(1 + exp(-target input)).

    Raises:
        ShapeError, ArgumentError: as `cosine_embedding_loss`.
    """
    target = demanded("soft_margin_loss", target, domain="1 or -1").astype(input.dtype)
    return reduced("soft_margin_loss", -logsigmoid(target * input), reduction)


# -- adversaries ----------------------------------------------------------------------

GAMES = {                          # the discriminator's loss of real and of fake scores, and the generator's
    "logistic": (lambda real: softplus(-real), softplus, lambda fake: softplus(-fake)),
    "hinge": (lambda real: relu(1.0 - real), lambda fake: relu(1.0 + fake), lambda fake: -fake),
    "least_squares": (lambda real: square(real - 1.0) * 0.5, lambda fake: square(fake) * 0.5,
                      lambda fake: square(fake - 1.0) * 0.5),
    "wasserstein": (lambda real: -real, lambda fake: fake, lambda fake: -fake),
}


def _game(op, kind):
    if kind not in GAMES:
        raise ArgumentError(message(op, "kind", f"one of {', '.join(GAMES)}", repr(kind)))
    return GAMES[kind]


@fused("real(_):float fake(_):float -> ()")
def gan_discriminator_loss(real, fake, /, kind="logistic"):
    """How badly scores tell real from fake.

    Args:
        real (_), fake (_): scores of real and of generated examples, higher being more real.
        kind: "logistic": cross-entropy; "hinge": scores should be above 1, and below -1; "least_squares": 1,
            and 0; "wasserstein": as far apart as may be (other means keep the discriminator smooth).

    Returns:
        (): the mean of real ones plus the mean of fake ones.

    Raises:
        ArgumentError: another kind; no scores.

    Source: Goodfellow et al. 2014, arXiv:1406.2661 (logistic); Lim, Ye 2017, arXiv:1705.02894 (hinge);
    Mao et al. 2016, arXiv:1611.04076 (least squares); Arjovsky et al. 2017, arXiv:1701.07875 (Wasserstein).
    """
    op = "gan_discriminator_loss"
    of_real, of_fake, _ = _game(op, kind)
    return reduced(op, of_real(real), "mean") + reduced(op, of_fake(fake), "mean")


@fused("fake(_):float -> ()")
def gan_generator_loss(fake, /, kind="logistic"):
    """How badly generated examples pass for real.

    Args:
        fake (_): the discriminator's scores of them.
        kind: as in `gan_discriminator_loss`; "logistic" is the one that does not saturate.

    Returns:
        (): the mean.

    Raises:
        ArgumentError: another kind; no scores.

    Source: as `gan_discriminator_loss`.
    """
    return reduced("gan_generator_loss", _game("gan_generator_loss", kind)[2](fake), "mean")


# -- samples --------------------------------------------------------------------------

def _signs(make, *shape):
    return make.integers(2, *shape) * 2 - 1


@pairwise_distance.samples
def _(make):
    yield make.normal(3, 4), make.normal(3, 4)
    yield make.normal(2, 1, 4), make.normal(3, 4), 1.0, 1e-6, True
    yield make.distinct(3, 4), make.normal(4) * 0.01, float("inf")
    yield make.normal(3), make.normal(3), 3.0


@cosine_similarity.samples
def _(make):
    yield make.normal(3, 4), make.normal(3, 4)
    yield make.normal(3, 1, 2), make.normal(4, 2), 0
    yield make.normal(3), make.normal(3), -1


@cosine_embedding_loss.samples
def _(make):
    yield make.normal(4, 3), make.normal(4, 3), _signs(make, 4)
    yield make.normal(4, 3), make.normal(4, 3), _signs(make, 4), 0.1, "none"
    yield make.normal(3), make.normal(3), _signs(make), {"reduction": "sum"}


@triplet_margin_loss.samples
def _(make):
    yield make.normal(4, 3), make.normal(4, 3), make.normal(4, 3)
    yield make.normal(4, 3), make.normal(4, 3), make.normal(4, 3), 5.0, 1.0, 1e-6, True, "none"


@margin_ranking_loss.samples
def _(make):
    yield make.normal(3, 4), make.normal(3, 4), _signs(make, 3, 4), 0.5
    yield make.normal(5), make.normal(5), _signs(make, 5), 0.0, "none"


@hinge_embedding_loss.samples
@soft_margin_loss.samples
def _(make):
    yield make.normal(3, 4), _signs(make, 3, 4)
    yield make.normal(), _signs(make), {"reduction": "sum"}
    yield make.normal(3), _signs(make, 3), {"reduction": "none"}


@gan_discriminator_loss.samples
def _(make):
    for kind in GAMES:
        yield make.normal(4, 1), make.normal(3, 1), kind


@gan_generator_loss.samples
def _(make):
    for kind in GAMES:
        yield make.normal(4, 1), kind
