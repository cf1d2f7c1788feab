"""Images as arrays (H, W, C), uint8, 0 to 255: resizing, cropping, fitting into a frame, laying side by side."""
from pathlib import Path

import numpy as np

from ..errors import ArgumentError, DeviceError, ShapeError, message

FILTERS = "nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"


def _image(op, image):
    image = np.asarray(image)
    if image.ndim not in (2, 3) or image.dtype != np.uint8:
        raise ShapeError(message(op, "image", "an image (H, W, C) or (H, W), uint8", f"{image.dtype} {image.shape}"))
    return image


def pillow(op):
    """Pillow.

    Raises:
        DeviceError: it is not installed; the message names the op that wants it.
    """
    try:
        import PIL.Image
    except ImportError as error:
        raise DeviceError(message(op, "Pillow", "the `vision` extra", "no such package",
                                  "pip install 'minidl[vision]'")) from error
    return PIL


def resize(image, size, filter="bilinear"):
    """Resize as Pillow does: its filters widen where the image shrinks (antialiasing).

    Args:
        image (H, W, C) or (H, W): uint8.
        size: (height, width) in pixels.
        filter: nearest, box, bilinear, hamming, bicubic or lanczos.

    Returns:
        (height, width, C) or (height, width), uint8.

    Raises:
        DeviceError: Pillow is not installed.
        ArgumentError: an unknown filter.
    """
    Image = pillow("resize").Image
    if filter not in FILTERS:
        raise ArgumentError(message("resize", "filter", f"one of {', '.join(FILTERS)}", repr(filter)))
    return np.asarray(Image.fromarray(_image("resize", image)).resize(size[::-1],
                                                                      getattr(Image.Resampling, filter.upper())))


def resize_linear(image, size):
    """Resize between the nearest four pixels, whatever the scale: as OpenCV's INTER_LINEAR, within one level.

    Args:
        image (H, W, C) or (H, W): uint8.
        size: (height, width) in pixels.
    """
    image = _image("resize_linear", image)
    result = image.astype(np.float32)
    for axis, new in enumerate(size):
        old = image.shape[axis]
        at = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)          # pixel centres, edges repeated
        low = np.minimum(at.astype(np.int64), max(old - 2, 0))
        high = np.minimum(low + 1, old - 1)
        share = (at - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(image.ndim)])
        result = np.take(result, low, axis) * (1 - share) + np.take(result, high, axis) * share
    return np.rint(result).astype(np.uint8)


def center_crop(image, size):
    """The middle (height, width) of an image.

    Raises:
        ShapeError: the image is smaller.
    """
    image = _image("center_crop", image)
    if any(new > old for new, old in zip(size, image.shape)):
        raise ShapeError(message("center_crop", "size", f"at most {image.shape[:2]}", size, "Resize first."))
    top, left = (round((old - new) / 2) for old, new in zip(image.shape, size))
    return image[top:top + size[0], left:left + size[1]]


def letterbox(image, size, fill=114, auto=False, scale_up=True, stride=32):
    """Fit an image into a frame, keeping its proportions; what is left over is filled, half on each side.

    Args:
        image (H, W, C): uint8.
        size: (height, width) of the frame.
        fill: the border's level.
        auto: only as much border as makes both sides multiples of `stride`.
        scale_up: may a small image grow?

    Returns:
        image, scale, (left, top): pixel x of the image lies at x * scale + left.
    """
    image = _image("letterbox", image)
    scale, inner, borders = fitted(image.shape[:2], size, auto, scale_up, stride)
    if inner != image.shape[:2]:
        image = resize_linear(image, inner)
    pads = [*borders, *[(0, 0)] * (image.ndim - 2)]
    return np.pad(image, pads, constant_values=fill), scale, (borders[1][0], borders[0][0])


def fitted(shape, size, auto=False, scale_up=True, stride=32):
    """How `letterbox` lays an image of a shape (height, width) into a frame.

    Returns:
        scale, the image's (height, width) in the frame, and the borders ((top, bottom), (left, right)) around it.
    """
    scale = min(new / old for new, old in zip(size, shape))
    scale = scale if scale_up else min(scale, 1.0)
    inner = tuple([max(1, round(n * scale)) for n in shape])
    spare = [(new - old) % stride if auto else new - old for new, old in zip(size, inner)]
    return scale, inner, tuple([(round(s / 2 - 0.1), round(s / 2 + 0.1)) for s in spare])


def normalized(image, mean, std):
    """An image (H, W, C), uint8, as (C, H, W), float32: levels to [0, 1], less `mean`, over `std`, by channel."""
    x = _image("normalized", image).astype(np.float32).transpose(2, 0, 1) / np.float32(255)
    mean, std = (np.asarray(v, np.float32)[:, None, None] for v in (mean, std))
    return (x - mean) / std


def sheet(images, columns=None, low=-1.0, high=1.0, gap=2):
    """Images side by side, in rows, on white.

    Args:
        images (N, C, H, W): of 1 or 3 channels; or arrays (C, H, W).
        columns: images a row; None: about as many as there are rows.
        low, high: what becomes black and white.
        gap: pixels between images.

    Returns:
        (rows * (H + gap) - gap, columns * (W + gap) - gap, 3), uint8; of one channel without the last axis.

    Raises:
        ShapeError: there are no such images.
    """
    images = np.asarray(images, np.float32)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not images.size:
        raise ShapeError(message("sheet", "images", "images (N, C, H, W) of 1 or 3 channels", images.shape))
    n, c, h, w = images.shape
    columns = min(n, columns or round(n ** 0.5 + 0.49))
    rows = -(-n // columns)
    paper = np.full((rows * columns, h + gap, w + gap, c), 255, np.uint8)
    levels = (images - low) * (255 / (high - low))
    paper[:n, :h, :w] = np.clip(np.round(levels), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    paper = paper.reshape(rows, columns, h + gap, w + gap, c).swapaxes(1, 2)
    paper = paper.reshape(rows * (h + gap), columns * (w + gap), c)[:rows * (h + gap) - gap, :columns * (w + gap) - gap]
    return paper[..., 0] if c == 1 else paper


def write_image(path, image):
    """Write an image (H, W, 3) or (H, W), uint8, in the format that the name says; folders are made.

    Raises:
        DeviceError: Pillow is not installed.
        ArgumentError: no such format, or the file cannot be written.
    """
    Image = pillow("write_image").Image
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_image("write_image", image)).save(path)
    except (OSError, ValueError) as error:
        expected = "a file to write, .png or .jpg"
        raise ArgumentError(message("write_image", "path", expected, f"{path}: {error}")) from error
