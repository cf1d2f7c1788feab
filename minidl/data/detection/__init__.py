"""Images with objects on them: formats, masks, frames, augmentation, and generated scenes."""
from .coco import read_coco, write_coco
from .dataset import AnnotatedImage, Annotation, DetectionDataset
from .rle import RLE, mask_iou
from .sets import read_set
from .views import DetectionView, WholeImage, collate
from .yolo import read_yolo, write_yolo

__all__ = ["AnnotatedImage", "Annotation", "DetectionDataset", "DetectionView", "RLE", "WholeImage", "collate",
           "mask_iou", "read_coco", "read_set", "read_yolo", "write_coco", "write_yolo"]
