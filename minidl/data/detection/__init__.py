"""Images with objects on them: formats, masks, frames, augmentation, and generated scenes."""
from .rle import RLE, mask_iou

__all__ = ["RLE", "mask_iou"]
