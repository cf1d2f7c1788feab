"""Detections painted on images."""
import colorsys

import numpy as np

from ...data.image import pillow

GOLDEN = 0.61803398875             # turns of the hue by it never come near an earlier one (Vogel 1979)


def colour(label):
    """Red, green and blue, 0 to 255, of a class: bright, and unlike those of its neighbours."""
    return tuple([round(255 * c) for c in colorsys.hsv_to_rgb(label * GOLDEN % 1, 0.85, 0.95)])


def draw(image, found, name):
    """Paint masks, boxes and names.

    Args:
        image (H, W, 3): uint8.
        found: arrays {"boxes" (n, 4), "labels" (n), "scores" (n)[, "masks" (n, H, W) bool]}.
        name: of a label, a function.

    Returns:
        (H, W, 3), uint8: another image.
    """
    pillow("draw")
    from PIL import Image, ImageDraw
    image = image.copy()
    for mask, label in zip(found.get("masks", ()), found["labels"].tolist()):
        image[mask] = image[mask] // 2 + np.array(colour(label), np.uint8) // 2
    sheet = Image.fromarray(image)
    pen, width = ImageDraw.Draw(sheet), max(1, round(sum(image.shape[:2]) / 600))
    size = max(10, round(sum(image.shape[:2]) / 90))
    for box, label, score in reversed(list(zip(*(found[part].tolist() for part in ("boxes", "labels", "scores"))))):
        text, paint = f"{name(label)} {score:.2f}", colour(label)
        pen.rectangle([*box[:2], max(box[0], box[2]), max(box[1], box[3])], outline=paint, width=width)
        left, top, right, bottom = pen.textbbox((0, 0), text, font_size=size)
        x, y = box[0], box[1] - bottom - 2 if box[1] > bottom + 2 else box[1]
        pen.rectangle((x, y, x + right + 4, y + bottom + 2), fill=paint)
        pen.text((x + 2, y), text, fill="black" if sum(paint) > 380 else "white", font_size=size)
    return np.asarray(sheet)
