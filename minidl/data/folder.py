"""Datasets of image files: a folder per class, or images beside masks."""
from pathlib import Path

import numpy as np

from ..errors import ArgumentError, message
from .image import pillow

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


def read_image(path, mode="RGB"):
    """The pixels of an image file, turned upright as its camera notes say.

    Args:
        path: of the file, in any format that Pillow reads.
        mode: "RGB"; "L", grey; or None: as the file has it, as masks want.

    Returns:
        (H, W, 3), uint8; of one channel, (H, W).

    Raises:
        ArgumentError: there is no such file, or it is no whole image; the message names it.
        DeviceError: Pillow is not installed.
    """
    Image = pillow("read_image").Image
    from PIL import ImageOps
    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image)
            if mode is not None and image.mode != mode:
                image = image.convert(mode)
            return np.array(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:    # (all that Pillow raises)
        raise ArgumentError(message("read_image", "path", "a whole image", f"{path}: {error}")) from error


def image_files(folder):
    """The image files in a folder and below, sorted.

    Raises:
        ArgumentError: there are none.
    """
    found = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise ArgumentError(message("image_files", "folder", "a folder with images", f"{folder}, which has none"))
    return found


class ImageFolder:
    """Images in a folder per class: root/cat/1.png, root/dog/2.jpg.  Item i is (image (H, W, 3) uint8, label).

    Args:
        root: the folder.  The names of the folders in it, sorted, are `classes`.
        classes: names to use instead, in their order, as of the training set for a validation set.

    Raises:
        ArgumentError: there are no such folders, one is no class, or one has no images.
    """

    def __init__(self, root, classes=None):
        root = Path(root)
        folders = sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
        self.classes = tuple(p.name for p in folders) if classes is None else tuple(classes)
        if wrong := [p.name for p in folders if p.name not in self.classes] or ([] if folders else [str(root)]):
            expected = f"folders named {', '.join(self.classes)}" if self.classes else "a folder per class"
            raise ArgumentError(message("ImageFolder", "root", expected, wrong[0]))
        self.files = [(path, self.classes.index(folder.name)) for folder in folders for path in image_files(folder)]

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        path, label = self.files[index]
        return read_image(path), label


class MaskFolder:
    """Images beside masks of the same names: root/images/1.jpg, root/masks/1.png.

    Item i is (image (H, W, 3) uint8, mask (H, W) uint8), a mask's levels being classes, or 255 where none counts.

    Args:
        root: the folder.

    Raises:
        ArgumentError: there are no images, or one has no mask; the message names it.
    """

    def __init__(self, root):
        root = Path(root)
        masks = {p.relative_to(root / "masks").with_suffix(""): p for p in image_files(root / "masks")}
        self.files = []
        for path in image_files(root / "images"):
            name = path.relative_to(root / "images").with_suffix("")
            if name not in masks:
                raise ArgumentError(message("MaskFolder", "root", f"a mask {root / 'masks' / name}.png", "none"))
            self.files.append((path, masks[name]))

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        path, mask_path = self.files[index]
        image, mask = read_image(path), read_image(mask_path, None)
        if mask.ndim != 2 or mask.shape != image.shape[:2] or mask.dtype not in (np.uint8, np.bool_):
            expected = f"(H, W) = {image.shape[:2]} levels of 8 bits"
            raise ArgumentError(message("MaskFolder", "mask", expected, f"{mask_path}: {mask.dtype} {mask.shape}"))
        return image, mask.astype(np.uint8)
