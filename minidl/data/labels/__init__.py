"""Names of classes, a line each: imagenet.txt (1000, words of WordNet 3.0 joined by commas), voc.txt (21),
coco.txt (80 of 2017), coco91.txt (background and all of COCO's numbers; "-" for those that name nothing)."""
from functools import cache
from pathlib import Path

from ...errors import ArgumentError, message


@cache
def labels(name):
    """The names of the classes of a list, "imagenet", "voc", "coco" or "coco91", in the order of the labels: a tuple.

    Raises:
        ArgumentError: there is no such list.

    Source: Miller 1995, "WordNet: A Lexical Database for English"; Everingham et al. 2010, "The PASCAL Visual Object
    Classes Challenge"; Lin et al. 2014, "Microsoft COCO", arXiv:1405.0312.
    """
    path = Path(__file__).with_name(f"{name}.txt")
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.txt")))
        raise ArgumentError(message("labels", "name", f"one of {known}", repr(name)))
    return tuple(path.read_text(encoding="utf-8").splitlines())
