"""How a checkpoint wants its images: part of a model's registration."""
from dataclasses import dataclass, replace

import numpy as np

from ..errors import ShapeError, message
from .image import center_crop, normalized, resize

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class ImagePreprocess:
    """Resize so that the shorter side has some length, take the middle, scale levels to [0, 1], less mean, over std.

    Args:
        size: height and width of what the model sees, in pixels; None: as the image is.
        resize: length of the shorter side before the crop; "square": both sides to `size`, no crop.
        filter: as of `minidl.data.image.resize`, with antialiasing as Pillow's.
        mean, std: by channel, of levels in [0, 1].
    """

    size: int | None = 224
    resize: int | str = 256
    filter: str = "bilinear"
    mean: tuple = IMAGENET_MEAN
    std: tuple = IMAGENET_STD

    def __call__(self, image):
        """An image (H, W, 3), uint8 -> (3, size, size) or (3, H, W), float32.

        Raises:
            ShapeError: it is not such an image.
        """
        image = np.asarray(image)
        if image.ndim != 3 or image.shape[2] != len(self.mean) or image.dtype != np.uint8 or not image.size:
            expected = f"(H, W, {len(self.mean)}), uint8"
            raise ShapeError(message("ImagePreprocess", "image", expected, f"{image.dtype} {image.shape}"))
        if self.size is None:
            return normalized(image, self.mean, self.std)
        if self.resize == "square":
            return normalized(resize(image, (self.size, self.size), self.filter), self.mean, self.std)
        height, width = image.shape[:2]
        short = min(height, width)
        image = resize(image, (int(self.resize * height / short), int(self.resize * width / short)), self.filter)
        return normalized(center_crop(image, (self.size, self.size)), self.mean, self.std)

    def sized(self, size):
        """The same for another size; what lies around the crop keeps its share."""
        shorter = self.resize if self.resize == "square" or not self.size else round(self.resize * size / self.size)
        return replace(self, size=size, resize=shorter)

    def __str__(self):
        if self.size is None:
            return f"any size, mean {self.mean}, std {self.std}"
        how = "both sides" if self.resize == "square" else f"shorter side to {self.resize}, middle"
        return f"{self.size}x{self.size} ({how}, {self.filter}), mean {self.mean}, std {self.std}"
