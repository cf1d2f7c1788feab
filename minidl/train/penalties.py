"""What keeps adversaries smooth: penalties on gradients, themselves differentiated in training."""
import math

from .. import ops
from ..autograd import gradients
from ..tensor import Tensor


def r1_penalty(discriminator, image, *labels):
    """The mean squared norm of the scores' gradients at real images: ().

    Args:
        discriminator: (image, *labels) -> scores, a score per image, or several.
        image (N, C, H, W): real ones.
        labels: what else it takes.

    Source: Mescheder, Geiger, Nowozin 2018, "Which Training Methods for GANs do actually Converge?",
    arXiv:1801.04406, eq. 9.
    """
    image = Tensor(image.data, requires_grad=True)
    slope, = gradients(ops.sum(discriminator(image, *labels)), [image], create_graph=True)
    return ops.sum(slope * slope) / float(image.shape[0])


def lipschitz_penalty(discriminator, image, made, *labels, shares=None):
    """How far the norms of the scores' gradients are from 1, between real images and made ones: ().

    Args:
        discriminator, image, labels: as of `r1_penalty`.
        made (N, C, H, W): made images, each on a line with a real one.
        shares (N, 1, 1, 1): where on the line, from 0 at the made one to 1; None: drawn.

    Source: Gulrajani et al. 2017, "Improved Training of Wasserstein GANs", arXiv:1704.00028, eq. 3.
    """
    if shares is None:
        shares = ops.rand((image.shape[0], 1, 1, 1), dtype=image.dtype, device=image.device)
    between = Tensor((made + (image - made) * shares).data, requires_grad=True)
    slope, = gradients(ops.sum(discriminator(between, *labels)), [between], create_graph=True)
    norms = ops.sqrt(ops.sum(slope * slope, (1, 2, 3)) + 1e-12)
    return ops.mean(ops.square(norms - 1.0))


def path_lengths(image, styles, noise=None):
    """How far images move with their styles, in a random direction of images: (N).

    Args:
        image (N, C, H, W): made from the styles, on the tape.
        styles (N, L, W): of each layer.
        noise (N, C, H, W): standard normal, the direction; None: drawn.

    Source: Karras et al. 2019, arXiv:1912.04958, section 3.2 and appendix B.
    """
    if noise is None:
        noise = ops.randn(image.shape, dtype=image.dtype, device=image.device)
    noise = noise * (1 / math.sqrt(image.shape[2] * image.shape[3]))
    slope, = gradients(ops.sum(image * noise), [styles], create_graph=True)
    return ops.sqrt(ops.mean(ops.sum(slope * slope, 2), 1))
