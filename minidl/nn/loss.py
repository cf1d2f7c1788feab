"""Losses as modules. The maths, with sources, shapes and errors, stands at the ops; settings are theirs.

`reduction` is "mean", "sum" or "none": what becomes of the single losses.
"""
from .. import ops
from .module import Module
from .parameter import Buffer


def _buffer(weight):
    """Weights of classes or elements are state: they move with the module, and are saved."""
    return None if weight is None else Buffer(weight)


class _Loss(Module):
    """What all losses share."""

    def __init__(self, reduction="mean"):
        self.reduction = reduction


# -- of numbers ----------------------------------------------------------------------------

class MSELoss(_Loss):
    """The squared error: `ops.mse_loss`."""

    def forward(self, input, target):
        """input (*), target (*) -> (), or (*) for "none"."""
        return ops.mse_loss(input, target, self.reduction)


class L1Loss(_Loss):
    """The absolute error: `ops.l1_loss`."""

    def forward(self, input, target):
        """input (*), target (*) -> (), or (*) for "none"."""
        return ops.l1_loss(input, target, self.reduction)


class SmoothL1Loss(_Loss):
    """Quadratic within `beta` of the target, the absolute error beyond: `ops.smooth_l1_loss`."""

    def __init__(self, reduction="mean", beta=1.0):
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input, target):
        """input (*), target (*) -> (), or (*) for "none"."""
        return ops.smooth_l1_loss(input, target, self.reduction, self.beta)


class HuberLoss(_Loss):
    """The squared error within `delta` of the target, linear beyond: `ops.huber_loss`."""

    def __init__(self, reduction="mean", delta=1.0):
        super().__init__(reduction)
        self.delta = delta

    def forward(self, input, target):
        """input (*), target (*) -> (), or (*) for "none"."""
        return ops.huber_loss(input, target, self.reduction, self.delta)


class PoissonNLLLoss(_Loss):
    """The negative log-likelihood of counts: `ops.poisson_nll_loss`."""

    def __init__(self, log_input=True, full=False, eps=1e-8, reduction="mean"):
        super().__init__(reduction)
        self.log_input, self.full, self.eps = log_input, full, eps

    def forward(self, input, target):
        """input (*), target (*) -> (), or (*) for "none"."""
        return ops.poisson_nll_loss(input, target, self.log_input, self.full, self.eps, self.reduction)


class GaussianNLLLoss(_Loss):
    """The negative log-likelihood of numbers under normal distributions: `ops.gaussian_nll_loss`."""

    def __init__(self, full=False, eps=1e-6, reduction="mean"):
        super().__init__(reduction)
        self.full, self.eps = full, eps

    def forward(self, input, target, var):
        """input (*), target (*), var, variances -> (), or (*) for "none"."""
        return ops.gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


class KLDivLoss(_Loss):
    """The divergence of predicted log-probabilities from a target distribution: `ops.kl_div`.

    `reduction` may be "batchmean" too: the sum over the number of rows.
    """

    def __init__(self, reduction="mean", log_target=False):
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, input, target):
        """input (N, *), target (N, *) -> (), or (N, *) for "none"."""
        return ops.kl_div(input, target, self.reduction, self.log_target)


# -- of classes ----------------------------------------------------------------------------

class CrossEntropyLoss(_Loss):
    """How unlikely a softmax of scores makes the right classes: `ops.cross_entropy`.

    Buffer: weight (K), if given.
    """

    def __init__(self, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
        super().__init__(reduction)
        self.weight, self.ignore_index, self.label_smoothing = _buffer(weight), ignore_index, label_smoothing

    def forward(self, input, target):
        """input (N, K, *), target (N, *), classes, or (N, K, *), probabilities -> (), or (N, *) for "none"."""
        return ops.cross_entropy(input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)


class NLLLoss(_Loss):
    """The negative log-likelihood of the right classes: `ops.nll_loss`.

    Buffer: weight (K), if given.
    """

    def __init__(self, weight=None, ignore_index=-100, reduction="mean"):
        super().__init__(reduction)
        self.weight, self.ignore_index = _buffer(weight), ignore_index

    def forward(self, input, target):
        """input (N, K, *), log-probabilities, target (N, *), classes -> (), or (N, *) for "none"."""
        return ops.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class BCELoss(_Loss):
    """How unlikely predicted probabilities make yes-or-no labels: `ops.binary_cross_entropy`.

    Buffer: weight, if given.
    """

    def __init__(self, weight=None, reduction="mean"):
        super().__init__(reduction)
        self.weight = _buffer(weight)

    def forward(self, input, target):
        """input (*), target (*), both in [0, 1] -> (), or (*) for "none"."""
        return ops.binary_cross_entropy(input, target, self.weight, self.reduction)


class BCEWithLogitsLoss(_Loss):
    """BCELoss of sigmoid(input), without overflow: `ops.binary_cross_entropy_with_logits`.

    Buffers: weight and pos_weight, if given.
    """

    def __init__(self, weight=None, reduction="mean", pos_weight=None):
        super().__init__(reduction)
        self.weight, self.pos_weight = _buffer(weight), _buffer(pos_weight)

    def forward(self, input, target):
        """input (*), target (*) in [0, 1] -> (), or (*) for "none"."""
        return ops.binary_cross_entropy_with_logits(input, target, self.weight, self.pos_weight, self.reduction)


class FocalLoss(_Loss):
    """BCEWithLogitsLoss in which easy examples count little: `ops.sigmoid_focal_loss`."""

    def __init__(self, alpha=0.25, gamma=2.0, reduction="mean"):
        super().__init__(reduction)
        self.alpha, self.gamma = alpha, gamma

    def forward(self, input, target):
        """input (*), target (*), 0 or 1 -> (), or (*) for "none"."""
        return ops.sigmoid_focal_loss(input, target, self.alpha, self.gamma, self.reduction)


class DiceLoss(_Loss):
    """1 less the overlap of predicted and true masks: `ops.dice_loss`."""

    def __init__(self, axis=None, smooth=1.0, reduction="mean"):
        super().__init__(reduction)
        self.axis, self.smooth = axis, smooth

    def forward(self, input, target):
        """input (*), probabilities, target (*) -> ()."""
        return ops.dice_loss(input, target, self.axis, self.smooth, self.reduction)


class MultiMarginLoss(_Loss):
    """How far scores of wrong classes come within a margin of the right class's: `ops.multi_margin_loss`.

    Buffer: weight (K), if given.
    """

    def __init__(self, p=1, margin=1.0, weight=None, reduction="mean"):
        super().__init__(reduction)
        self.p, self.margin, self.weight = p, margin, _buffer(weight)

    def forward(self, input, target):
        """input (N, K), target (N), classes -> (), or (N) for "none"."""
        return ops.multi_margin_loss(input, target, self.weight, self.p, self.margin, self.reduction)


class CTCLoss(_Loss):
    """How unlikely a net's outputs make a sequence of labels, however they are aligned: `ops.ctc_loss`."""

    def __init__(self, blank=0, reduction="mean", zero_infinity=False):
        super().__init__(reduction)
        self.blank, self.zero_infinity = blank, zero_infinity

    def forward(self, log_probs, targets, input_lengths, target_lengths):
        """log_probs (T, N, K), targets (N, S) or (sum of target_lengths), lengths (N) each -> (), or (N) for "none"."""
        return ops.ctc_loss(log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction,
                            self.zero_infinity)


# -- of distances and ranks ------------------------------------------------------------------

class CosineEmbeddingLoss(_Loss):
    """Turn like vectors the same way, and unlike ones apart: `ops.cosine_embedding_loss`."""

    def __init__(self, margin=0.0, reduction="mean"):
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1, input2, target):
        """input1 (N, D), input2 (N, D), target (N), 1 or -1 -> (), or (N) for "none"."""
        return ops.cosine_embedding_loss(input1, input2, target, self.margin, self.reduction)


class TripletMarginLoss(_Loss):
    """Bring anchors nearer to their like than to their unlike, by a margin: `ops.triplet_margin_loss`."""

    def __init__(self, margin=1.0, p=2.0, eps=1e-6, swap=False, reduction="mean"):
        super().__init__(reduction)
        self.margin, self.p, self.eps, self.swap = margin, p, eps, swap

    def forward(self, anchor, positive, negative):
        """anchor, positive, negative (N, D) -> (), or (N) for "none"."""
        return ops.triplet_margin_loss(anchor, positive, negative, self.margin, self.p, self.eps, self.swap,
                                       self.reduction)


class MarginRankingLoss(_Loss):
    """Rank pairs of scores rightly, by a margin: `ops.margin_ranking_loss`."""

    def __init__(self, margin=0.0, reduction="mean"):
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1, input2, target):
        """input1 (*), input2 (*), target (*), 1 or -1 -> (), or (*) for "none"."""
        return ops.margin_ranking_loss(input1, input2, target, self.margin, self.reduction)


class HingeEmbeddingLoss(_Loss):
    """Make distances of like pairs small, of unlike ones larger than a margin: `ops.hinge_embedding_loss`."""

    def __init__(self, margin=1.0, reduction="mean"):
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input, target):
        """input (*), distances, target (*), 1 or -1 -> (), or (*) for "none"."""
        return ops.hinge_embedding_loss(input, target, self.margin, self.reduction)


class SoftMarginLoss(_Loss):
    """Give scores the sign of their targets: `ops.soft_margin_loss`."""

    def forward(self, input, target):
        """input (*), target (*), 1 or -1 -> (), or (*) for "none"."""
        return ops.soft_margin_loss(input, target, self.reduction)


class CosineSimilarity(Module):
    """The cosine of the angle between vectors along axis `dim`: `ops.cosine_similarity`."""

    def __init__(self, dim=1, eps=1e-8):
        self.dim, self.eps = dim, eps

    def forward(self, x1, x2):
        """x1 (*, D, *), x2 (*, D, *) -> (*, *)."""
        return ops.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """The p-norm of the difference of vectors: `ops.pairwise_distance`."""

    def __init__(self, p=2.0, eps=1e-6, keepdim=False):
        self.p, self.eps, self.keepdim = p, eps, keepdim

    def forward(self, x1, x2):
        """x1 (*, D), x2 (*, D) -> (*), or (*, 1)."""
        return ops.pairwise_distance(x1, x2, self.p, self.eps, self.keepdim)
