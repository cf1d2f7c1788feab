"""Where images come from: files, folders, patterns, lists of them, and videos."""
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from ...data import video
from ...data.folder import SUFFIXES, image_files, read_image
from ...errors import ArgumentError, message


@dataclass(frozen=True)
class Source:
    """A file with images: iterate for (H, W, 3), uint8.

    Args:
        path: of the file.
        frames: a Video; None: it is an image.
    """

    path: Path
    frames: Any = None

    @property
    def kind(self):
        """The suffix of what is painted of it."""
        return ".png" if self.frames is None else ".mp4"

    def __iter__(self):
        return iter([read_image(self.path)] if self.frames is None else self.frames)


def sources(text):
    """The Sources of a file, a folder, a pattern such as "photos/*.jpg", or a .txt file with a line for each.

    Raises:
        ArgumentError: there is nothing, or it is neither an image nor a video.
        DeviceError: a video, and OpenCV is not installed.
    """
    path = Path(text)
    if path.is_dir():
        videos = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in video.SUFFIXES]
        images = [p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES]
        files = (image_files(path) if images or not videos else []) + videos
    elif path.suffix == ".txt" and path.is_file():
        files = _listed(path)
    elif has_magic(str(text)) and not path.exists():
        files = [Path(p) for p in sorted(glob(str(text), recursive=True)) if Path(p).is_file()]
    else:
        files = [path]
    if not files:
        raise ArgumentError(message("detect predict", "source", "images or videos", f"{text}, where there are none"))
    return [_open(file) for file in files]


def _listed(path):
    """The paths in a .txt file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ArgumentError(message("detect predict", "source", "a list of files", f"{path}: {error}")) from error
    return [Path(line.strip()) for line in lines if line.strip()]


def _open(file):
    if not file.is_file():
        raise ArgumentError(message("detect predict", "source", "an image, a video, a folder or a pattern",
                                    f"{file}, which is not there"))
    return Source(file, video.Video(file) if file.suffix.lower() in video.SUFFIXES else None)
