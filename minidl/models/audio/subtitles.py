"""Transcripts as text, SRT and VTT, a segment at a time."""
from ...errors import ArgumentError, message


def clock(seconds, comma=","):
    """A time as 00:01:02,345."""
    whole, thousandth = divmod(round(1000 * max(0.0, seconds)), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{comma}{thousandth:03}"


def _text(number, segment):
    return segment.text.strip() + "\n"


def _spoken(segment):
    return segment.text.strip().replace("-->", "->")


def _srt(number, segment):
    return f"{number}\n{clock(segment.start)} --> {clock(segment.end)}\n{_spoken(segment)}\n\n"


def _vtt(number, segment):
    return f"{clock(segment.start, '.')} --> {clock(segment.end, '.')}\n{_spoken(segment)}\n\n"


HEADS = {"vtt": "WEBVTT\n\n"}
FORMATS = {"txt": _text, "srt": _srt, "vtt": _vtt}


def written(segments, kind):
    """Iterate over the pieces of a file, as segments come.

    Args:
        segments: of a Transcription, or any others.
        kind: one of FORMATS: "txt", a line a segment; "srt"; "vtt".

    Raises:
        ArgumentError: another kind.
    """
    if kind not in FORMATS:
        raise ArgumentError(message("written", "kind", f"one of {', '.join(FORMATS)}", repr(kind)))
    yield HEADS.get(kind, "")
    for number, segment in enumerate(segments, 1):
        yield FORMATS[kind](number, segment)
