"""What the cases use of each library on a GPU, in one dtype: as bench/libraries.py, but for where numbers lie.

"tf32" is float32 that tensor cores multiply as tf32, in both libraries alike; in "float32" neither does so. Images
lie as layers hand them on: in minidl their channels are last; in PyTorch they are not, and, as a rival of its own, are.
"""
from contextlib import contextmanager

import numpy as np

from . import libraries


def _stored(kind):
    return "float32" if kind == "tf32" else kind


class MiniDL(libraries.MiniDL):
    """Ours.

    Args:
        kind: "float16", "bfloat16", "float32" or "tf32".
        images: are arrays of four axes images?
        device: where.
    """

    def __init__(self, kind, images=False, device="cuda"):
        super().__init__()
        self.kind, self.images, self.device = kind, images, device

    def numbers(self):
        """The context in which it computes in this dtype."""
        return self.ml.precision("fast" if self.kind == "tf32" else "full")

    def tensor(self, array, requires_grad=False):
        """On the device; floating ones in this dtype."""
        floating = array.dtype.kind == "f"
        last = self.images and array.ndim == 4
        host = np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if last else array
        there = self.ml.tensor(host, dtype=_stored(self.kind) if floating else None, device=self.device)
        data = there.data.transpose(0, 3, 1, 2) if last else there.data
        return self.ml.Tensor(data, requires_grad=requires_grad)

    def array(self, tensor):
        """On the host, as float32."""
        return tensor.numpy().astype("float32")

    def placed(self, module):
        """On the device, in this dtype."""
        return module.to(self.device, _stored(self.kind))

    def state(self, module):
        """{name: array} of all that a module holds, on the host; what is floating as float32."""
        return {name: array.astype("float32") if array.dtype.kind not in "iub" else array
                for name, array in super().state(module).items()}


class Torch(libraries.Torch):
    """PyTorch, eager, with cuDNN's search for the quickest algorithm.

    Args:
        kind, images, device: as of MiniDL.
        last: do images lie with their channels last?
    """

    def __init__(self, kind, images=False, last=False, device="cuda"):
        super().__init__()
        self.kind, self.device, self.last = kind, device, images and last
        self.dtype = getattr(self.torch, _stored(kind))
        if last:
            self.name, self.label = "torch_last", "PyTorch, channels last"

    @contextmanager
    def numbers(self):
        """The context in which it computes in this dtype."""
        backends = self.torch.backends
        flags = (backends.cuda.matmul, "allow_tf32"), (backends.cudnn, "allow_tf32"), (backends.cudnn, "benchmark")
        before = [getattr(*flag) for flag in flags]
        try:
            for flag, value in zip(flags, (self.kind == "tf32", self.kind == "tf32", True)):
                setattr(*flag, value)
            yield
        finally:
            for flag, value in zip(flags, before):
                setattr(*flag, value)

    def _like_images(self, tensor):
        last = self.last and tensor.ndim == 4
        return tensor.contiguous(memory_format=self.torch.channels_last) if last else tensor

    def tensor(self, array, requires_grad=False):
        """On the device; floating ones in this dtype."""
        tensor = self.torch.from_numpy(array).to(self.device)
        if array.dtype.kind == "f":
            tensor = self._like_images(tensor.to(self.dtype))
        return tensor.requires_grad_(requires_grad)

    def array(self, tensor):
        """On the host, as float32."""
        return tensor.detach().float().cpu().numpy()

    def placed(self, module):
        """On the device, in this dtype."""
        module = module.to(self.device, self.dtype)
        return module.to(memory_format=self.torch.channels_last) if self.last else module


def available(names, kind, images):
    """The libraries of these names for a dtype, and why one is missing: (found, [reason])."""
    try:
        rivals = [Torch(kind, images, last=name == "torch_last") for name in names if name != "minidl"]
        if rivals and not rivals[0].torch.cuda.is_available():
            return [MiniDL(kind, images)], [f"PyTorch {rivals[0].version} has no CUDA device"]
    except ImportError:
        return [MiniDL(kind, images)], ["PyTorch is not installed"]
    return [MiniDL(kind, images), *rivals], []
