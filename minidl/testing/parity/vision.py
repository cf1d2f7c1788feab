"""Vision operators: each output is one operator; names and the case's text say how it was called."""
import re

import numpy as np

from ... import Tensor, ops
from ...data import image
from . import Run, runs

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ACTIVATIONS = {"gelu": ops.gelu, "gelu_tanh": lambda x: ops.gelu(x, approximate="tanh"), "logsigmoid": ops.logsigmoid}


def numbers(text):
    """All numbers in a text."""
    return [float(n) if "." in n else int(n) for n in re.findall(r"-?\d*\.?\d+", text)]


@runs("ops_vision")
def vision(case):
    """torchvision.ops, torch.nn.functional, OpenCV, Pillow."""
    found = {}
    for name in case.meta["outputs"]:
        family = next(f for f in FAMILIES if name.startswith(f))
        found[name] = FAMILIES[family](case, name[len(family):], case.meta["outputs"][name]["shape"])
    return Run(found)


def feature(case):
    """The feature map that most operators take."""
    return Tensor(case.inputs["feat"])


def interpolated(case, options, shape):
    """interp_<mode>_<h>x<w>_<options>, or interp_<mode>_scale<s>[_recompute]."""
    mode, size, *words = options.split("_", 2)
    words = words[0] if words else ""
    keywords = {"mode": mode}
    if size.startswith("scale"):
        keywords.update(scale_factor=float(size[5:]), align_corners=False, recompute_scale_factor=words == "recompute")
    else:
        keywords["size"] = tuple(numbers(size.replace("x", " ")))
        if found := re.search(r"align_corners(\d)", words):
            keywords["align_corners"] = found[1] == "1"
        keywords["antialias"] = "antialias1" in words
    return ops.interpolate(feature(case), **keywords)


def grid_sampled(case, options, shape):
    """grid_sample_<padding>_ac<align>."""
    scale, *ends = numbers(re.search(r"= (.*?), ij", case.config["grid_sample_<pad>_ac<a>"])[1].replace("meshgrid", ""))
    axes = [np.linspace(*ends[i:i + 2], int(ends[i + 2])) for i in (0, 3)]
    grid = scale * np.tanh(np.stack(np.meshgrid(*axes, indexing="ij"), -1))
    grid = np.broadcast_to(grid, (shape[0], *grid.shape)).astype("f4")
    padding, align = options.split("_ac")
    return ops.grid_sample(feature(case), Tensor(grid), padding_mode=padding, align_corners=align == "1")


def roi_aligned(case, options, shape):
    """roi_align_aligned<a>_sr<ratio>."""
    aligned, ratio = re.match(r"aligned(\d)_sr(-?\d+)", options).groups()
    scale = float(re.search(r"spatial_scale (\.?\d+)", case.config["roi_align_aligned<a>_sr<s>"])[1])
    return ops.roi_align(feature(case), Tensor(case.inputs["rois"]), tuple(shape[2:]), spatial_scale=scale,
                         sampling_ratio=int(ratio), aligned=aligned == "1")


def padded(case, mode, shape):
    """pad_<mode>."""
    left, right, top, bottom = numbers(case.config["pad_<mode>"])
    return ops.pad(feature(case), ((0, 0), (0, 0), (top, bottom), (left, right)), mode=mode)


def activated(case, name, shape):
    """act_<name>."""
    x = feature(case) * float(re.search(r"(\d+)\*f", case.config["act_<name>"])[1])
    return ACTIVATIONS.get(name, getattr(ops, name, None))(x)


def boxes_against(case, op):
    """Some boxes against others."""
    a, b, c, d = numbers(case.config["box_iou giou ciou diou"].replace("[:", "[0:"))
    boxes = case.inputs["boxes"]
    return op(Tensor(boxes[a:b]), Tensor(boxes[c:d]))


def suppressed(case, threshold, classes=None):
    """nms_<threshold>, batched_nms_<threshold>."""
    boxes, scores = Tensor(case.inputs["boxes"]), Tensor(case.inputs["scores"])
    if classes is None:
        return ops.nms(boxes, scores, float(threshold))
    return ops.batched_nms(boxes, scores, Tensor(classes), float(threshold))


def detections(case, name, variant):
    """Rows x1 y1 x2 y2 score class of YOLO's post-processing.

    Which of two equal scores comes first is nobody's promise: both sides are put in one order.
    """
    text, pred = case.config["yolov8_nms"], case.inputs["pred"][0]
    if name.startswith("yolov5"):
        text = case.config["yolov5_nms_in4+obj+3cls"]
        keep = pred[:, 4] > float(re.search(r"conf (\.\d+)", text)[1])
        pred = np.concatenate([pred[:, :4], pred[:, 5:] * pred[:, 4:5]], 1)[keep]
    own = next((p for p in text.split(";") if variant and p.strip().startswith(variant)), "")
    confidence, overlap = (float(re.search(rf"{w} (\.\d+)", own + text)[1]) for w in ("conf", "iou"))
    limit = re.search(r"max_det (\d+)", text)
    boxes = ops.box_convert(Tensor(pred[:, :4].copy()), "cxcywh", "xyxy")
    boxes, scores, labels, _ = ops.multiclass_nms(boxes, Tensor(pred[:, 4:].copy()), confidence, overlap,
                                                  max_detections=int(limit[1]) if limit else 300,
                                                  multi_label=variant == "_multilabel",
                                                  class_agnostic=variant == "_agnostic")
    case.outputs[name] = _ordered(case.outputs[name])
    return _ordered(np.concatenate([boxes.numpy(), scores.numpy()[:, None], labels.numpy()[:, None]], 1).astype("f4"))


def _ordered(rows):
    return rows[np.lexsort([*rows[:, :4].T, -rows[:, 4]])]


def boxed(case, options, shape):
    """letterbox_<size>_<auto or not>."""
    auto = "autoT" in options
    return image.letterbox(case.inputs["image_u8"], tuple(shape[:2]) if not auto
                           else (int(options.split("_")[0]),) * 2, auto=auto,
                           scale_up="noscaleup" not in options)[0]


def preset(case, options, shape):
    """torchvision's evaluation preset: shorter side to 256, middle 224, normalised; every seventh pixel."""
    resized, crop = map(int, re.match(r"(\d+)_(\d+)_sub", options).groups())
    step = int(re.search(r"::(\d+)", case.config["tv_resnet_preset_256_224_sub32"])[1])
    picture = case.inputs["image_u8"]
    height, width = picture.shape[:2]
    short = min(height, width)
    picture = image.resize(picture, (int(resized * height / short), int(resized * width / short)))
    return image.normalized(image.center_crop(picture, (crop, crop)), *IMAGENET)[:, ::step, ::step]


def unfolded(case, _, shape):
    """unfold, as its text says."""
    kernel, dilation, padding, stride = numbers(case.config["unfold"])
    return ops.unfold(feature(case), kernel, dilation=dilation, padding=padding, stride=stride)


def max_pooled(case, options, shape):
    """maxpool_k<k>s<s>..., padded by hand where the text says right and bottom."""
    kernel, stride = (int(re.search(rf"{c}(\d+)", options)[1]) for c in "ks")
    x = feature(case)
    if "pad0101" in options:
        x = ops.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1)), value=float("-inf"))
        return ops.max_pool2d(x, kernel, stride)
    return ops.max_pool2d(x, kernel, stride, padding=int(re.search(r"p(\d+)", options)[1]), ceil_mode="ceil" in options)


def average_pooled(case, options, shape):
    """avgpool_k<k>s<s>p<p>_ceil_<count or nocount>."""
    kernel, stride, padding = (int(re.search(rf"{c}(\d+)", options)[1]) for c in "ksp")
    return ops.avg_pool2d(feature(case), kernel, stride, padding, ceil_mode="ceil" in options,
                          count_include_pad="nocount" not in options)


# longest names first: the first that an output's name begins with is its family
FAMILIES = {
    "roi_align_": roi_aligned, "interp_": interpolated, "grid_sample_": grid_sampled, "pad_": padded, "act_": activated,
    "roi_pool": lambda c, _, s: ops.roi_pool(feature(c), Tensor(c.inputs["rois"]), tuple(s[2:]),
                                             spatial_scale=float(re.search(r"scale (\.?\d+)",
                                                                           c.config["roi_pool"])[1])),
    "batched_nms_": lambda c, t, s: suppressed(c, t, c.inputs["classes"]), "nms_": lambda c, t, s: suppressed(c, t),
    "box_iou": lambda c, *_: boxes_against(c, ops.box_iou), "giou": lambda c, *_: boxes_against(c, ops.box_giou),
    "ciou": lambda c, *_: boxes_against(c, ops.box_ciou), "diou": lambda c, *_: boxes_against(c, ops.box_diou),
    "maxpool_": max_pooled, "avgpool_": average_pooled, "unfold": unfolded,
    "adaptive_avg_": lambda c, _, s: ops.adaptive_avg_pool2d(feature(c), tuple(s[2:])),
    "pixel_shuffle": lambda c, _, s: ops.pixel_shuffle(feature(c), round(s[2] / c.inputs["feat"].shape[2])),
    "lrn": lambda c, *_: ops.local_response_norm(feature(c), numbers(c.config["lrn"])[-1]),
    "letterbox_": boxed, "yolov8_nms": lambda c, v, s: detections(c, f"yolov8_nms{v}", v),
    "yolov5_nms": lambda c, v, s: detections(c, f"yolov5_nms{v}", ""),
    "cv2_resize_linear_u8": lambda c, _, s: image.resize_linear(c.inputs["image_u8"], tuple(s[:2])),
    "pil_resize_up_": lambda c, f, s: image.resize(c.inputs["image_u8"], tuple(s[:2]), f),
    "pil_resize_": lambda c, f, s: image.resize(c.inputs["image_u8"], tuple(s[:2]), f),
    "tv_resnet_preset_": preset,
}
