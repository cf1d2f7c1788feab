"""Convolutions with filters of one tap at stride 1: a product of matrices per image, as both lie in memory.

`forward`, `backward_input` and `backward_weight` take what the compiled functions of those names in `cpu.conv` take.
"""
import numpy as np

from . import cpu, direct

LEAST_PIXELS = 256                 # images with fewer leave lanes of the product empty, and each packs all filters
THIN = 4                           # filters: so few that images are read in place, once


def serves(shape, weight, axes, groups):
    """May it run: images or results of `shape` (N, ...), weight (O, C, R, S)?"""
    if groups > 1 or weight.shape[2:] != (1, 1) or min(weight.shape[:2]) < 8 and not _thin(weight):
        return False
    (h, _, *rows, top, p), (w, _, *columns, left, q) = axes
    plain = rows == columns == [1, 1] and top == left == 0 and (h, w) == (p, q)
    return plain and h * w >= LEAST_PIXELS and hasattr(cpu, "gemm")


def forward(x, weight, bias, y, groups, rows, columns, residual=None, activation=0):
    """Write activation(convolution of images x (N, C, H, W) + bias + residual) to y (N, O, H, W)."""
    if residual is not None or activation or bias is not None and not _thin(weight):
        return direct.forward(x, weight, bias, y, groups, rows, columns, residual, activation)
    cpu.gemm.matmul(weight[:, :, 0, 0], _pixels(x), _pixels(y))
    if bias is not None:
        y += bias[:, None, None]


def backward_input(g, weight, bias, gx, groups, rows, columns):
    """Write the gradient of the images, plus bias (C), to gx (N, C, H, W)."""
    if bias is not None:
        return direct.backward_input(g, weight, bias, gx, groups, rows, columns)
    cpu.gemm.matmul(weight[:, :, 0, 0].T, _pixels(g), _pixels(gx))


def backward_weight(g, x, gweight, groups, rows, columns):
    """Write the gradient of the filters to gweight (O, C, 1, 1)."""
    if not _thin(gweight):
        return direct.backward_weight(g, x, gweight, groups, rows, columns)
    of_images = np.empty((len(x), *gweight.shape[:2]), gweight.dtype)
    cpu.gemm.matmul(_pixels(g), _pixels(x).transpose(0, 2, 1), of_images)
    of_images.sum(0, out=gweight[:, :, 0, 0])


def _thin(weight):
    return len(weight) <= THIN and weight.shape[1] >= 8


def _pixels(images):
    return images.reshape(*images.shape[:2], -1)
