"""Reads tar archives as a stream, member by member, and trusts nothing in them.

All forms in use are read: the old one, ustar and pax (POSIX.1-2024, `pax`, "ustar Interchange
Format"), GNU with its long names and its sparse files. Python's `tarfile` is not used: it does not
notice if an archive was cut between two members, and it is slower.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import NamedTuple

from .sparse import SPARSE, Spans, check_spans, gnu_spans, leading_spans, pax_spans
from .tar_fields import (
    BLOCK,
    PaxRecords,
    UnsafeArchive,
    checksum_is_right,
    decimal_in,
    name_in,
    number_in,
    pax_records,
    refuse_for_all,
    terminated,
    text_of,
    time_in,
    time_of,
    up_to_nul,
    usual_fields,
)

_CHUNK = 1 << 20
_MOST_HEADERS = 1 << 20
"""The most bytes of headers that one member may have."""
_ZEROS = memoryview(bytes(64 << 10))


class Kind(Enum):
    """The kind of a member."""

    FILE = "file"
    FOLDER = "folder"
    SYMLINK = "symlink"
    HARD_LINK = "hard link"


class Member(NamedTuple):
    """One member as the archive has it: `size` in bytes, `mtime_ns` in nanoseconds since 1970.

    `target` is where a link leads. Names are as written in the archive, unchecked.
    """

    name: str
    kind: Kind
    size: int = 0
    mode: int = 0
    mtime_ns: int = 0
    target: str = ""


_KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"S": Kind.FILE,
    b"1": Kind.HARD_LINK,
    b"2": Kind.SYMLINK,
    b"5": Kind.FOLDER,
    b"D": Kind.FOLDER,
}
_REFUSED = {
    b"3": "a device",
    b"4": "a device",
    b"6": "a FIFO",
    b"M": "a piece of a file that begins in another archive",
}
_LINKS = (Kind.SYMLINK, Kind.HARD_LINK)
_PAX = {b"x", b"X"}
_LONG = {b"L": b"path", b"K": b"linkpath"}
_TIMES = {b"atime", b"ctime", b"mtime"}
_FOR_ALL = b"g"
_LABEL = b"V"
_SLASH = ord("/")


class TarReader:
    """The members of an archive, read once from its start to its end; `read` gives its bytes.

    `read` takes a number of bytes and returns as many or fewer, none at the end. Iterate, and read
    `content` before the next member; unread content is skipped. The memory is that of one member's
    headers. Raises `UnsafeArchive` for a damaged or unsafe archive.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._buffer = b""
        self._view = memoryview(b"")
        self._at = 0
        self._left = 0
        """How many bytes of the current member's content are unread, without padding."""
        self._filling = 0
        self._spans: Spans | None = None
        self._size = 0

    def __iter__(self) -> Iterator[Member]:
        while (member := self._usual_file() or self._next()) is not None:
            yield member

    def content(self) -> Iterable[memoryview]:
        """Yield the bytes of the last member; each piece is valid until the next one."""
        if self._spans is not None:
            return self._expanded(self._spans)
        end = self._at + self._left
        if end > len(self._buffer):
            return self._data(self._left)
        piece = self._view[self._at : end]
        self._at, self._left = end, 0
        return (piece,)

    # Bytes.

    def _take(self, count: int) -> memoryview:
        """Read exactly `count` bytes."""
        end = self._at + count
        if end > len(self._buffer):
            return self._refilled(count)
        taken = self._view[self._at : end]
        self._at = end
        return taken

    def _refilled(self, count: int) -> memoryview:
        pieces = [self._buffer[self._at :]] if self._at < len(self._buffer) else []
        have = sum(map(len, pieces))
        while have < count:
            more = self._read(max(_CHUNK, count - have))
            if not more:
                raise UnsafeArchive("it was cut short")
            pieces.append(more)
            have += len(more)
        self._buffer = b"".join(pieces)
        self._view = memoryview(self._buffer)
        self._at = count
        return self._view[:count]

    def _data(self, count: int) -> Iterator[memoryview]:
        while count:
            if self._at == len(self._buffer):
                self._refilled(1)
                self._at = 0
            piece = self._view[self._at : self._at + count]
            self._at += len(piece)
            self._left -= len(piece)
            count -= len(piece)
            yield piece

    def _expanded(self, spans: Spans) -> Iterator[memoryview]:
        """Yield the bytes of a sparse file, with zeros in its holes."""
        at = 0
        for offset, count in [*spans, (self._size, 0)]:
            while at < offset:
                piece = _ZEROS[: offset - at]
                at += len(piece)
                yield piece
            yield from self._data(count)
            at += count

    def _skip(self) -> None:
        """Skip the rest of a member."""
        for _ in self._data(self._left + self._filling):
            pass
        self._left = self._filling = 0

    def _small(self, size: int) -> bytes:
        """Read the content of a header that is a member of its own."""
        if size > _MOST_HEADERS:
            raise UnsafeArchive("a header in it is too large")
        return bytes(self._take(size + -size % BLOCK)[:size])

    # Headers.

    def _next(self) -> Member | None:
        self._skip()
        said: dict[bytes, bytes] = {}
        records: PaxRecords = []
        brought = 0
        while True:
            header = bytes(self._take(BLOCK))
            if not header[0] and not header.strip(b"\0"):
                if said or records:
                    raise UnsafeArchive("it ends after a header whose member is missing")
                return None
            if not checksum_is_right(header):
                raise UnsafeArchive("a header in it is damaged")
            kind, size = header[156:157], number_in(header[124:136])
            brought += size
            if kind in _PAX or kind == _FOR_ALL:
                more = pax_records(self._small(size))
                if kind == _FOR_ALL:
                    refuse_for_all(more)
                else:
                    records += more
            elif kind in _LONG:
                said[_LONG[kind]] = terminated(self._small(size), "a long name in it")
            elif kind == _LABEL:
                continue
            else:
                if records:
                    said |= dict(records)
                return self._member(header, kind, size, said, records)
            if brought > _MOST_HEADERS:
                raise UnsafeArchive("a member of it has too many headers")

    def _usual_file(self) -> Member | None:
        """Read the header of a usual file, and the times in a pax header before it, faster.

        Returns None for anything else, and if it is not in memory: `_next` reads it.
        """
        at, time = self._at + self._left + self._filling, None
        found = usual_fields(self._buffer[at : at + BLOCK])
        if found is None:
            return None
        kind, name, mode, size, seconds = found
        if kind == b"x":
            at += BLOCK
            content = self._buffer[at : at + size]
            if len(content) < size or size > _MOST_HEADERS:
                return None
            said = dict(pax_records(content))
            if not said.keys() <= _TIMES:
                return None
            time = said.get(b"mtime")
            at += size + -size % BLOCK
            found = usual_fields(self._buffer[at : at + BLOCK])
            if found is None:
                return None
            kind, name, mode, size, seconds = found
        if kind == b"x" or name[-1] == _SLASH:
            return None
        self._at, self._spans, self._size = at + BLOCK, None, size
        self._left, self._filling = size, -size % BLOCK
        mtime_ns = time_in(time) if time else time_of(seconds)
        return Member(text_of(name), Kind.FILE, size, mode & 0o777, mtime_ns)

    def _member(
        self, header: bytes, kind: bytes, size: int, said: dict[bytes, bytes], records: PaxRecords
    ) -> Member:
        name = said.get(b"path") or name_in(header)
        if kind not in _KINDS:
            reason = _REFUSED.get(kind, "of an unknown kind")
            raise UnsafeArchive(f"{text_of(name)} in it is {reason}")
        what = _KINDS[kind]
        if what is Kind.FILE and kind != b"S" and name.endswith(b"/"):
            what = Kind.FOLDER  # how folders were written before they had a kind
        if said.get(b"size"):
            size = decimal_in(said[b"size"])
        if what is not Kind.FILE and kind != b"D":
            size = 0  # no bytes follow links and folders, whatever their size says
        time = said.get(b"mtime")
        self._spans, self._size = None, size
        self._left, self._filling = size, -size % BLOCK
        if what is Kind.FILE:
            name = self._sparse(header, kind, said, records) or name
        return Member(
            text_of(name),
            what,
            self._size if what is Kind.FILE else 0,
            number_in(header[100:108]) & 0o777,
            time_in(time) if time else time_of(number_in(header[136:148])),
            text_of(said.get(b"linkpath") or up_to_nul(header[157:257])) if what in _LINKS else "",
        )

    # Sparse files.

    def _sparse(
        self, header: bytes, kind: bytes, said: dict[bytes, bytes], records: PaxRecords
    ) -> bytes | None:
        """Read where the data of a sparse file belong; return the name there, if there is one."""
        if kind != b"S" and not said:
            return None
        if kind == b"S":
            self._spans = gnu_spans(header, self._take)
            self._size = number_in(header[483:495])
        elif said.get(SPARSE + b"major") == b"1":
            self._size = decimal_in(said.get(SPARSE + b"realsize", b""))
            self._spans, self._left = leading_spans(self._take, self._left)
        elif SPARSE + b"size" in said:
            self._size = decimal_in(said[SPARSE + b"size"])
            self._spans = pax_spans(said, records)
        else:
            return None
        check_spans(self._spans, self._left, self._size)
        return said.get(SPARSE + b"name")
