"""Normalisation layers. The maths, with sources, stands at the ops of the same names."""
from .. import ops
from ..errors import ArgumentError, ShapeError, message
from ..tape import no_grad, recomputing
from . import init
from .module import Module
from .parameter import Buffer, Parameter

# -- over the batch, with running statistics ------------------------------------------------

class _Tracked(Module):
    """What batch and instance norms share: an affine map, and statistics that run along in training.

    Running statistics change by `assign`, and only in training, where no graph holds them; not while
    `checkpoint` runs a forward for the second time.
    """

    ndims = ()                     # how many axes x may have
    optional_state = ("num_batches_tracked",)          # checkpoints from before PyTorch 0.4.1 lack it

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight = Parameter(init.ones(), num_features) if affine else None
        self.bias = Parameter(init.zeros(), num_features) if affine else None
        self.running_mean = Buffer(init.zeros(), num_features) if track_running_stats else None
        self.running_var = Buffer(init.ones(), num_features) if track_running_stats else None
        self.num_batches_tracked = Buffer(0) if track_running_stats else None

    @property
    def adapts(self):
        """Are statistics the batch's own?"""
        return self.training or not self.track_running_stats

    def forward(self, x):
        """x (N, C, *) -> (N, C, *).

        Raises:
            ShapeError: another number of axes or channels; in training, a single value whose variance is wanted.
        """
        if x.ndim not in self.ndims or x.shape[1] != self.num_features:
            expected = f"{' or '.join(map(str, self.ndims))} axes, of which the second is {self.num_features} channels"
            raise ShapeError(message(type(self).__name__, "x", expected, x.shape))
        if self.adapts:
            return self._by_own_statistics(x)
        return ops.batch_norm_inference(x, self.running_mean, self.running_var, self.weight, self.bias, self.eps)

    def _demand_values(self, x, count):
        if self.training and count == 1:
            raise ShapeError(message(type(self).__name__, "x", "more than one value to take a variance of in training",
                                     x.shape, "Use a larger batch, or eval()."))

    def _track(self, mean, variance):
        """Move the running statistics towards the batch's (C); momentum None: to the mean of all batches."""
        with no_grad():
            self.num_batches_tracked.assign(self.num_batches_tracked + 1)
            step = self.momentum
            if step is None:
                step = ops.reciprocal(self.num_batches_tracked.astype(mean.dtype))
            self.running_mean.assign(self.running_mean + (mean - self.running_mean) * step)
            self.running_var.assign(self.running_var + (variance - self.running_var) * step)

    @property
    def _tracks(self):
        return self.training and self.track_running_stats and not recomputing()


class _BatchNorm(_Tracked):
    def _by_own_statistics(self, x):
        count = x.size // max(self.num_features, 1)
        self._demand_values(x, count)
        y, mean, variance = ops.batch_norm(x, self.weight, self.bias, self.eps)
        if self._tracks:
            self._track(mean, variance * (count / max(count - 1, 1)))              # unbiased
        return y


class BatchNorm1d(_BatchNorm):
    """Bring each channel to mean 0 and variance 1 over the batch, then scale and shift it.

    In training by the batch's own statistics; in evaluation by running ones.

    Args:
        num_features: C, of x (N, C) or (N, C, L).
        eps: added to the variance; in units of x squared.
        momentum: by what share the running statistics move to a batch's; None: they are the mean over all batches.
        affine: scale and shift by learnt numbers.
        track_running_stats: without, evaluation too uses the batch's own statistics.

    Parameters: weight (C), ones, and bias (C), zeros.  Buffers: running_mean (C), running_var (C), unbiased,
    num_batches_tracked.

    Source: Ioffe, Szegedy 2015, "Batch Normalization", arXiv:1502.03167.
    """

    ndims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of x (N, C, H, W). Arguments, parameters and source as of BatchNorm1d."""

    ndims = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of x (N, C, D, H, W). Arguments, parameters and source as of BatchNorm1d."""

    ndims = (5,)


class FrozenBatchNorm2d(Module):
    """Batch normalisation of x (N, C, H, W) that never learns: in training, too, by given statistics and a given map.

    Args:
        num_features: C.
        eps: added to the variance; in units of x squared.

    Buffers: weight (C), ones, bias (C), zeros, running_mean (C), zeros, running_var (C), ones.

    Source: He et al. 2016, arXiv:1512.03385, appendix A: batch norms are fixed where images are few.
    """

    adapts = False

    def __init__(self, num_features, eps=1e-5):
        self.num_features, self.eps = num_features, eps
        self.weight, self.bias = Buffer(init.ones(), num_features), Buffer(init.zeros(), num_features)
        self.running_mean, self.running_var = Buffer(init.zeros(), num_features), Buffer(init.ones(), num_features)

    def forward(self, x):
        """x (N, C, H, W) -> (N, C, H, W)."""
        return ops.batch_norm_inference(x, self.running_mean, self.running_var, self.weight, self.bias, self.eps)


class _InstanceNorm(_Tracked):
    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=False, track_running_stats=False):
        super().__init__(num_features, eps, momentum, affine, track_running_stats)

    def _by_own_statistics(self, x):
        self._demand_values(x, x.size // max(x.shape[0] * x.shape[1], 1))
        if self._tracks:
            spatial, values = tuple(range(2, x.ndim)), x.detach()
            self._track(values.mean((0, *spatial)), values.var(spatial, correction=1).mean(0))
        return ops.instance_norm(x, self.weight, self.bias, self.eps)


class InstanceNorm1d(_InstanceNorm):
    """Bring each sample's channels to mean 0 and variance 1, then perhaps scale and shift them.

    Args:
        num_features: C, of x (N, C, L).
        eps: added to the variance; in units of x squared.
        momentum: by what share the running statistics move to a batch's; None: they are the mean over all batches.
        affine: scale and shift by learnt numbers.
        track_running_stats: keep running statistics, and normalise by them in evaluation.

    Parameters: weight (C), ones, and bias (C), zeros, if affine.  Buffers: as of BatchNorm1d, if tracking.

    Source: Ulyanov, Vedaldi, Lempitsky 2016, "Instance Normalization", arXiv:1607.08022.
    """

    ndims = (3,)


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of x (N, C, H, W). Arguments, parameters and source as of InstanceNorm1d."""

    ndims = (4,)


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of x (N, C, D, H, W). Arguments, parameters and source as of InstanceNorm1d."""

    ndims = (5,)


# -- without memory --------------------------------------------------------------------------

class LayerNorm(Module):
    """Bring each row to mean 0 and variance 1, then scale and shift it.

    Args:
        normalized_shape: D, or the lengths of the last axes that make up a row.
        eps: added to the variance; in units of x squared.
        elementwise_affine: scale and shift by learnt numbers.
        bias: without, only scale.

    Parameters: weight (D), ones, and bias (D), zeros.

    Source: Ba, Kiros, Hinton 2016, "Layer Normalization", arXiv:1607.06450.
    """

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True):
        self.normalized_shape, self.eps, self.elementwise_affine = _shape(normalized_shape), eps, elementwise_affine
        self.weight = Parameter(init.ones(), *self.normalized_shape) if elementwise_affine else None
        self.bias = Parameter(init.zeros(), *self.normalized_shape) if elementwise_affine and bias else None

    def forward(self, x):
        """x (*, D) -> (*, D)."""
        return ops.layer_norm(x, self.weight, self.bias, self.eps, self.normalized_shape)


class RMSNorm(Module):
    """Bring each row to mean square 1, then scale it.

    Args:
        normalized_shape: D, or the lengths of the last axes that make up a row.
        eps: added to the mean square; None: the machine epsilon of x's dtype.
        elementwise_affine: scale by learnt numbers.

    Parameters: weight (D), ones.

    Source: Zhang, Sennrich 2019, "Root Mean Square Layer Normalization", arXiv:1910.07467.
    """

    def __init__(self, normalized_shape, eps=None, elementwise_affine=True):
        self.normalized_shape, self.eps, self.elementwise_affine = _shape(normalized_shape), eps, elementwise_affine
        self.weight = Parameter(init.ones(), *self.normalized_shape) if elementwise_affine else None

    def forward(self, x):
        """x (*, D) -> (*, D)."""
        return ops.rms_norm(x, self.weight, self.eps, self.normalized_shape)


def _shape(normalized_shape):
    return tuple(normalized_shape) if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)


class GroupNorm(Module):
    """Bring each sample's groups of channels to mean 0 and variance 1, then scale and shift by channel.

    Args:
        num_groups: a divisor of C.
        num_channels: C.
        eps: added to the variance; in units of x squared.
        affine: scale and shift by learnt numbers.

    Parameters: weight (C), ones, and bias (C), zeros.

    Raises:
        ArgumentError: num_groups does not divide num_channels.

    Source: Wu, He 2018, "Group Normalization", arXiv:1803.08494.
    """

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True):
        if num_groups < 1 or num_channels % num_groups:
            expected = f"a divisor of num_channels={num_channels}"
            raise ArgumentError(message("GroupNorm", "num_groups", expected, num_groups))
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self.weight = Parameter(init.ones(), num_channels) if affine else None
        self.bias = Parameter(init.zeros(), num_channels) if affine else None

    def forward(self, x):
        """x (N, C, *) -> (N, C, *)."""
        if x.ndim < 2 or x.shape[1] != self.num_channels:
            raise ShapeError(message("GroupNorm", "x", f"a second axis of {self.num_channels} channels", x.shape))
        return ops.group_norm(x, self.weight, self.bias, self.num_groups, self.eps)


class LocalResponseNorm(Module):
    """Divide by (k + alpha * the mean square of `size` neighbouring channels) ** beta."""

    def __init__(self, size, alpha=1e-4, beta=0.75, k=1.0):
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x):
        """x (N, C, *) -> (N, C, *)."""
        return ops.local_response_norm(x, self.size, self.alpha, self.beta, self.k)
