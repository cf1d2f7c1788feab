"""The directory of a zip file, read strictly: where two readers could differ about what is in it, it is refused.

The end record is the last thing in the file, the directory lies directly before it, each entry's own header says
what the directory says, entries do not overlap, and no name occurs twice or leads out of the file.

Source: PKWARE's .ZIP File Format Specification 6.3, sections 4.3 and 4.4.
"""
import struct
import zlib
from dataclasses import dataclass

MOST_ENTRIES = 1 << 16
_END, _LOCAL, _CENTRAL = struct.Struct("<4s4H2IH"), struct.Struct("<4s5H3I2H"), struct.Struct("<4s6H3I5H2I")
_END64, _LOCATOR = struct.Struct("<4sQ2H2I4Q"), struct.Struct("<4sIQI")
_DESCRIBED_LATER, _KNOWN_FLAGS = 0x0008, 0x080e        # bits 1 and 2 are about how hard the packer tried, 11 is UTF-8
_STORED, _DEFLATED = 0, 8
MOST_UNPACKED = 1 << 26                                # bytes of packed entries, or GROWTH times the file
GROWTH = 20


@dataclass(frozen=True)
class Entry:
    """A file in a zip file.

    Attributes:
        name: a relative path.
        data: its bytes as they lie in the zip file.
        size: in bytes, unpacked.
        packed: are they deflated?
        crc: the CRC-32 of what is unpacked; 0: none was computed.
    """

    name: str
    data: memoryview
    size: int
    packed: bool
    crc: int

    def head(self, count):
        """The first bytes, unpacked, at most `count`."""
        return self._inflate(count)[0] if self.packed else bytes(self.data[:count])

    def unpack(self):
        """The unpacked bytes.

        Raises:
            ValueError: they are not as many as the directory says.
        """
        if not self.packed:
            return self.data
        data, whole = self._inflate(self.size + 1)
        if len(data) != self.size or not whole:
            raise ValueError(f"{self.name} is not of the {self.size} bytes that the zip file's directory says")
        return memoryview(data)

    def _inflate(self, count):
        """At most `count` bytes, and whether that was all there is."""
        unpacker = zlib.decompressobj(-15)
        try:
            return unpacker.decompress(self.data, count), unpacker.eof and not unpacker.unused_data
        except zlib.error as error:
            raise ValueError(f"{self.name}: {error}") from error


def entries(data):
    """The entries of a zip file by name.

    Args:
        data: its bytes, a memoryview.

    Raises:
        ValueError: it is damaged, ambiguous, or unpacks to far more than its size.
    """
    start, stop, count = _directory(data)
    found, extents, at, unpacked = {}, [], start, 0
    for _ in range(count):
        if at + _CENTRAL.size > stop:
            raise ValueError("the directory of the zip file is cut short")
        entry, extent, at = _entry(data, at, start)
        if entry.name in found:
            raise ValueError(f"the zip file has two entries of the name {entry.name!r}")
        found[entry.name] = entry
        extents.append((*extent, entry.name))
        unpacked += entry.size if entry.packed else 0
    if at != stop:
        raise ValueError("the directory of the zip file is not as long as it says")
    end = 0
    for first, last, name in sorted(extents):
        if first < end or (not end and first):
            raise ValueError(f"the entry {name!r} of the zip file does not follow on the one before it")
        end = last
    if unpacked > max(MOST_UNPACKED, GROWTH * len(data)):
        raise ValueError(f"the zip file would unpack to {unpacked} bytes, far beyond its own {len(data)}")
    return found


def _directory(data):
    """Where the directory begins and ends, and how many entries it has."""
    at = len(data) - _END.size
    if at < 0 or data[at:at + 4] != b"PK\5\6":
        raise ValueError("the zip file is cut short, or something follows its directory")
    _, *disks, here, count, size, start, comment = _END.unpack_from(data, at)
    if comment or any(disks) or here != count:
        raise ValueError("the zip file's end is that of one with a comment or of several parts")
    stop = at
    if at >= _LOCATOR.size + _END64.size and data[at - _LOCATOR.size:][:4] == b"PK\6\7":
        _, disk, stop, disks = _LOCATOR.unpack_from(data, at - _LOCATOR.size)
        if stop != at - _LOCATOR.size - _END64.size or disk or disks != 1:
            raise ValueError("the zip file's second end is not where it should be")
        mark, length, _, _, disk, disks, here, count64, size64, start64 = _END64.unpack_from(data, stop)
        fits = [small in (large, mask) for small, large, mask in (
            (count, count64, 0xffff), (size, size64, 0xffffffff), (start, start64, 0xffffffff))]
        if mark != b"PK\6\6" or length != _END64.size - 12 or disk or disks or here != count64 or not all(fits):
            raise ValueError("the two ends of the zip file contradict each other")
        count, size, start = count64, size64, start64
    if start + size != stop:
        raise ValueError("the zip file's directory is not before its end")
    if count > MOST_ENTRIES:
        raise ValueError(f"the zip file has {count} entries, over {MOST_ENTRIES}")
    return start, stop, count


def _entry(data, at, limit):
    """An entry, (where its header begins, where its data end), and where the next entry of the directory is."""
    (mark, _, _, flags, method, _, _, crc, packed, size, n, extra, comment, disk, _, _,
     start) = _CENTRAL.unpack_from(data, at)
    end = at + _CENTRAL.size + n + extra + comment
    raw = bytes(data[at + _CENTRAL.size:][:n])
    name = _safe(raw)
    if mark != b"PK\1\2" or end > len(data):
        raise ValueError("the directory of the zip file is damaged")
    if flags & ~_KNOWN_FLAGS or method not in (_STORED, _DEFLATED) or disk not in (0, 0xffff):
        raise ValueError(f"{name!r} is encrypted or packed in an unknown way (method {method}, flags {flags:#x})")
    size, packed, start = _large(data[at + _CENTRAL.size + n:][:extra], size, packed, start)
    if start + _LOCAL.size > limit:
        raise ValueError(f"{name!r} lies outside the zip file")
    head = _LOCAL.unpack_from(data, start)
    first = start + _LOCAL.size + head[9] + head[10]
    sizes = {(0, 0, 0)} if flags & _DESCRIBED_LATER else set()
    sizes |= {(crc, p, s) for p in (packed, 0xffffffff) for s in (size, 0xffffffff)}
    if head[0] != b"PK\3\4" or head[2:4] != (flags, method) or head[6:9] not in sizes \
            or data[start + _LOCAL.size:][:head[9]] != raw:
        raise ValueError(f"the header of {name!r} contradicts the directory of the zip file")
    if first + packed > limit or (method == _STORED and packed != size):
        raise ValueError(f"{name!r} ends outside the zip file")
    entry = Entry(name, data[first:first + packed], size, method == _DEFLATED, crc)
    return entry, (start, first + packed), end


def _large(extra, size, packed, start):
    """The sizes and the place of an entry, from the extra field of large files where 32 bits were too few."""
    wanted = [n == 0xffffffff for n in (size, packed, start)]
    values = [size, packed, start]
    while any(wanted) and len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1:
            numbers = iter(struct.unpack_from(f"<{min(length, len(extra) - 4) // 8}Q", extra, 4))
            return [next(numbers, n) if w else n for n, w in zip(values, wanted)]
        extra = extra[4 + length:]
    return values


def _safe(raw):
    name = str(raw, "utf-8")
    parts = name.split("/")
    if not name or "\0" in name or "\\" in name or ":" in parts[0] or any(p in ("", ".", "..") for p in parts):
        raise ValueError(f"the zip file has an entry of the name {name!r}, which leads elsewhere")
    return name
