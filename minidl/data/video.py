"""Video files as frames, in and out, by OpenCV: the extra `video`."""
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..errors import ArgumentError, DeviceError, message

SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".m4v", ".wmv"}


def opencv(op):
    """OpenCV.

    Raises:
        DeviceError: it is not installed; the message names the op that wants it.
    """
    try:
        import cv2
    except ImportError as error:
        raise DeviceError(message(op, "OpenCV", "the `video` extra", "no such package",
                                  "pip install 'minidl[video]'")) from error
    return cv2


class Video:
    """The frames of a video file, one after the other: iterate for (H, W, 3), uint8, red, green, blue.

    Attributes:
        rate: frames per second.

    Raises:
        ArgumentError: it is no video.
        DeviceError: OpenCV is not installed.
    """

    def __init__(self, path):
        self.path, cv2 = Path(path), opencv("Video")
        capture = cv2.VideoCapture(str(path)) if self.path.is_file() else None      # (OpenCV would ask the network)
        if capture is None or not capture.isOpened():
            raise ArgumentError(message("Video", "path", "a video file", path))
        self.rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
        capture.release()

    def __iter__(self):
        capture = opencv("Video").VideoCapture(str(self.path))
        try:
            while True:
                there, frame = capture.read()
                if not there:
                    return
                yield np.ascontiguousarray(frame[..., ::-1])
        finally:
            capture.release()


@contextmanager
def video_writer(path, rate, size):
    """A function that adds a frame (H, W, 3), uint8, to an MP4 file of `rate` frames a second, of size (H, W).

    Raises:
        ArgumentError: the file cannot be written.
        DeviceError: OpenCV is not installed.
    """
    cv2 = opencv("video_writer")
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), rate, (size[1], size[0]))
    if not writer.isOpened():
        raise ArgumentError(message("video_writer", "path", "a file that can be written", path))
    try:
        yield lambda frame: writer.write(np.ascontiguousarray(frame[..., ::-1]))
    finally:
        writer.release()
