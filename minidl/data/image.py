"""Images as arrays (H, W, C), uint8, 0 to 255: resizing, cropping, and fitting into a frame."""
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
