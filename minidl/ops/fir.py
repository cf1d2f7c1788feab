"""Resampling of images by finite impulse responses."""
from ..errors import ShapeError, message
from ..op import fused
from .conv import conv2d, conv_transpose2d, pairs
from .shape import broadcast_to
from .window import pad, per_axis

__all__ = ["upfirdn2d"]


@fused("x(N,C,H,W):float filter(R,S):float -> (N,C,P,Q)")
def upfirdn2d(x, filter, /, up=1, down=1, padding=0):
    """Put zeros between the pixels of images, convolve them with a filter, keep some pixels of the result.

    Args:
        x (N, C, H, W): images.
        filter (R, S): the response to a single pixel, of every channel.
        up: each pixel is followed by up - 1 zeros, along both axes; an integer, or one per axis.
        down: of so many pixels of the result the first is kept; an integer, or one per axis.
        padding: rows and columns of zeros around the spread image: an integer, one per axis, or a pair (before,
            after) per axis.

    Returns:
        (N, C, P, Q), P = (H up + padding before and after - R) // down + 1, Q likewise. A smooth filter of sum `up`
        squared keeps the brightness of what is doubled, one of sum 1 of what is halved.

    Raises:
        ShapeError: the filter is larger than the padded image.
        ArgumentError: a parameter is none of those named above.

    Source: Crochiere, Rabiner 1983, "Multirate Digital Signal Processing", chapter 2; on images: Karras et al. 2019,
    arXiv:1912.04958, appendix B, after Zhang 2019, arXiv:1904.11486.
    """
    ups, downs = (per_axis("upfirdn2d", name, n, 2, 1) for name, n in (("up", up), ("down", down)))
    widths = pairs("upfirdn2d", "padding", padding, 2)
    spread = [n * u + sum(w) for n, u, w in zip(x.shape[2:], ups, widths)]
    if min(*x.shape[2:], *filter.shape) < 1 or any([n < r for n, r in zip(spread, filter.shape)]):
        raise ShapeError(message("upfirdn2d", "filter", f"one that fits into the padded image, {tuple(spread)}",
                                 filter.shape))
    c = x.shape[1]
    if tuple(ups) == (1, 1):
        weight = broadcast_to(filter[::-1, ::-1], (c, 1, *filter.shape))       # (a convolution, not a correlation)
        return conv2d(x, weight, None, downs, widths, groups=c)
    x = conv_transpose2d(x, broadcast_to(filter, (c, 1, *filter.shape)), None, ups, groups=c)
    starts = [r - 1 - before for r, (before, _) in zip(filter.shape, widths)]
    x = pad(x, [(-s, s + n - r + 1 - m) for s, n, r, m in zip(starts, spread, filter.shape, x.shape[2:])])
    return x if tuple(downs) == (1, 1) else x[:, :, ::downs[0], ::downs[1]]


@upfirdn2d.samples
def _(make):
    yield make.normal(2, 3, 4, 5), make.normal(4, 4), 2, 1, ((2, 1), (2, 1))
    yield make.normal(2, 2, 6, 6), make.normal(4, 4), 1, 2, 1
    yield make.normal(1, 2, 4, 3), make.normal(2, 3), (2, 3), (3, 2), ((1, 0), (0, 4))
    yield make.normal(2, 1, 5, 4), make.normal(3, 1), {"padding": (2, 0)}
    yield make.normal(1, 1, 3, 3), make.normal(1, 1), 3
