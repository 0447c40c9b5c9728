"""Reads tar archives as a stream, member by member, and trusts nothing in them.

All forms in use are read: the old one, ustar and pax (POSIX.1-2024, `pax`, "ustar Interchange
Format"), GNU with its long names and its sparse files. Python's `tarfile` is not used: it does not
notice if an archive was cut between two members, and it is slower.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cache
from typing import NamedTuple

BLOCK = 512
"""The size of a header in bytes; contents are padded to a multiple of it."""
_NAME = 100
"""The length, in bytes, of the name at the beginning of a header."""
_OWN_SPACES = 8 * ord(" ")
"""The sum of the checksum's own bytes, which count as spaces."""
_CHUNK = 1 << 20
_MOST_HEADERS = 1 << 20
"""The most bytes of headers that one member may have."""
_MOST_SPANS = 100_000
"""The most spans of data in one sparse file."""
_LAST_SECOND = 9_000_000_000
"""The latest accepted time in seconds since 1970: about the year 2255."""
_ZEROS = memoryview(bytes(64 << 10))


class UnsafeArchive(ValueError):
    """Why an archive is not unpacked, as in "it ends in the middle of a file"."""


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
_FOR_ALL = b"g"
_LABEL = b"V"
_SPARSE = b"GNU.sparse."
_STARTS_OF_NUMBERS = b"01234567 \0\x80\xff"
Records = list[tuple[bytes, bytes]]
Spans = list[tuple[int, int]]
"""The spans of a sparse file, each an offset and a number of bytes."""


def is_header(block: bytes) -> bool:
    """Tell whether the first 512 bytes of a file are a tar header, by its checksum."""
    if len(block) < BLOCK or not block[0] or block[148] not in _STARTS_OF_NUMBERS:
        return False
    return _checksum_is_right(block[:BLOCK])


@cache
def _usual_numbers() -> re.Pattern[bytes]:
    """Compile the pattern of a usual header after its name: all its numbers are digits."""
    return re.compile(
        rb"([0-7]{7})[\0 ].{16}([0-7]{11})[\0 ]([0-7]{11})[\0 ](([0-7]{6})[\0 ]{2})[0\0]", re.DOTALL
    )


class TarReader:
    """The members of an archive, read once from its start to its end; `read` gives its bytes.

    `read` takes a number of bytes and returns as many or fewer, none at the end. Iterate, and read
    `content` before the next member; unread content is skipped. The memory is that of one member's
    headers. Raises `UnsafeArchive` for a damaged or unsafe archive.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._buffer = memoryview(b"")
        self._at = 0
        self._left = 0
        """How many bytes of the current member's content are unread, without padding."""
        self._filling = 0
        self._spans: Spans | None = None
        self._size = 0

    def __iter__(self) -> Iterator[Member]:
        while (member := self._next()) is not None:
            yield member

    def content(self) -> Iterator[memoryview]:
        """Yield the bytes of the last member; each piece is valid until the next one."""
        if self._spans is None:
            if self._at + self._left > len(self._buffer):
                return self._data(self._left)
            left, self._left = self._left, 0
            return iter((self._take(left),))
        return self._expanded(self._spans)

    # Bytes.

    def _take(self, count: int) -> memoryview:
        """Read exactly so many bytes."""
        end = self._at + count
        if end > len(self._buffer):
            return self._refilled(count)
        taken = self._buffer[self._at : end]
        self._at = end
        return taken

    def _refilled(self, count: int) -> memoryview:
        pieces = [bytes(self._buffer[self._at :])] if self._at < len(self._buffer) else []
        have = sum(map(len, pieces))
        while have < count:
            more = self._read(max(_CHUNK, count - have))
            if not more:
                raise UnsafeArchive("it was cut short")
            pieces.append(more)
            have += len(more)
        self._buffer = memoryview(b"".join(pieces))
        self._at = count
        return self._buffer[:count]

    def _data(self, count: int) -> Iterator[memoryview]:
        while count:
            if self._at == len(self._buffer):
                self._refilled(1)
                self._at = 0
            piece = self._buffer[self._at : self._at + count]
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
        left = self._left + self._filling
        self._left = self._filling = 0
        while left:
            step = min(left, len(self._buffer) - self._at)
            if not step:
                self._refilled(1)
                self._at = 0
            self._at += step
            left -= step

    def _small(self, size: int) -> bytes:
        """Read the content of a header that is a member of its own."""
        if size > _MOST_HEADERS:
            raise UnsafeArchive("a header in it is too large")
        content = bytes(self._take(size))
        self._take(-size % BLOCK)
        return content

    # Headers.

    def _next(self) -> Member | None:
        self._skip()
        said: dict[bytes, bytes] = {}
        records: Records = []
        brought = 0
        while True:
            header = bytes(self._take(BLOCK))
            if not header[0] and not header.strip(b"\0"):
                if said or records:
                    raise UnsafeArchive("it ends after a header whose member is missing")
                return None
            if not (said or records) and (plain := self._plain_file(header)) is not None:
                return plain
            if not _checksum_is_right(header):
                raise UnsafeArchive("a header in it is damaged")
            kind, size = header[156:157], _number(header[124:136])
            brought += size
            if kind in _PAX or kind == _FOR_ALL:
                more = _pax_records(self._small(size))
                if kind == _FOR_ALL:
                    _refuse_for_all(more)
                else:
                    records += more
            elif kind in _LONG:
                said[_LONG[kind]] = _terminated(self._small(size), "a long name in it")
            elif kind == _LABEL:
                continue
            else:
                if records:
                    said |= dict(records)
                return self._member(header, kind, size, said, records)
            if brought > _MOST_HEADERS:
                raise UnsafeArchive("a member of it has too many headers")

    def _plain_file(self, header: bytes) -> Member | None:
        """Read the header of a usual file, in a third of the time; None for any other header."""
        found, name = _usual_numbers().match(header, _NAME), _header_name(header)
        if found is None or name.endswith(b"/") or not header.isascii():
            return None
        mode, digits, seconds, own, checksum = found.groups()
        if _sum_of_ascii(header) - sum(own) + _OWN_SPACES != int(checksum, 8):
            return None
        size = int(digits, 8)
        self._spans, self._size = None, size
        self._left, self._filling = size, -size % BLOCK
        time = min(int(seconds, 8), _LAST_SECOND) * 1_000_000_000
        return Member(name.decode(), Kind.FILE, size, int(mode, 8) & 0o777, time)

    def _member(
        self, header: bytes, kind: bytes, size: int, said: dict[bytes, bytes], records: Records
    ) -> Member:
        name = said.get(b"path") or _header_name(header)
        if kind not in _KINDS:
            reason = _REFUSED.get(kind, "of an unknown kind")
            raise UnsafeArchive(f"{_text(name)} in it is {reason}")
        what = _KINDS[kind]
        if what is Kind.FILE and kind != b"S" and name.endswith(b"/"):
            what = Kind.FOLDER  # how folders were written before they had a kind
        if said.get(b"size"):
            size = _decimal(said[b"size"])
        if what is not Kind.FILE and kind != b"D":
            size = 0  # no bytes follow links and folders, whatever their size says
        self._spans, self._size = None, size
        self._left, self._filling = size, -size % BLOCK
        if what is Kind.FILE:
            name = self._sparse(header, kind, said, records) or name
        return Member(
            _text(name),
            what,
            self._size if what is Kind.FILE else 0,
            _number(header[100:108]) & 0o777,
            _time(said.get(b"mtime"), header),
            _text(said.get(b"linkpath") or _cut(header[157:257])) if what in _LINKS else "",
        )

    # Sparse files.

    def _sparse(
        self, header: bytes, kind: bytes, said: dict[bytes, bytes], records: Records
    ) -> bytes | None:
        """Read where the data of a sparse file belong; return the name there, if there is one."""
        if kind != b"S" and not said:
            return None
        if kind == b"S":
            self._spans, self._size = self._gnu_spans(header), _number(header[483:495])
        elif said.get(_SPARSE + b"major") == b"1":
            self._size = _decimal(said.get(_SPARSE + b"realsize", b""))
            self._spans = self._leading_spans()
        elif _SPARSE + b"size" in said:
            self._size = _decimal(said[_SPARSE + b"size"])
            self._spans = _pax_spans(said, records)
        else:
            return None
        _check_spans(self._spans, self._left, self._size)
        return said.get(_SPARSE + b"name")

    def _gnu_spans(self, header: bytes) -> Spans:
        spans, is_extended = _spans_in(header[386:482]), header[482]
        while is_extended:
            block = bytes(self._take(BLOCK))
            spans += _spans_in(block[:504])
            is_extended = block[504]
            if len(spans) > _MOST_SPANS:
                raise UnsafeArchive("a sparse file in it has too many pieces")
        return spans

    def _leading_spans(self) -> Spans:
        """Read the numbers before the data, one per line, padded to a whole block."""
        lines: list[bytes] = []
        torn, wanted = b"", 1
        while len(lines) < wanted:
            if self._left < BLOCK:
                raise UnsafeArchive("a sparse file in it is damaged")
            torn += bytes(self._take(BLOCK))
            self._left -= BLOCK
            *whole, torn = torn.split(b"\n")
            lines += whole
            if lines and wanted == 1:
                wanted = 1 + 2 * _decimal(lines[0])
            if wanted > 1 + 2 * _MOST_SPANS:
                raise UnsafeArchive("a sparse file in it has too many pieces")
        numbers = list(map(_decimal, lines[1:wanted]))
        return list(zip(numbers[::2], numbers[1::2], strict=True))


def _checksum_is_right(header: bytes) -> bool:
    """Verify a header's checksum, whose own bytes count as spaces.

    Some old programs added the bytes up as signed numbers.
    """
    try:
        told = _number(header[148:156])
    except UnsafeArchive:
        return False
    total = sum(header[:148]) + sum(header[156:]) + _OWN_SPACES
    if told == total:
        return True
    return told == total - 256 * sum(one > 127 for one in header[:148] + header[156:])


def _sum_of_ascii(header: bytes) -> int:
    """Return the sum of all bytes, which Adler-32 computes fast if it is less than 65521."""
    return (zlib.adler32(header) & 0xFFFF) - 1


def _number(field: bytes) -> int:
    """Read a number: octal digits, or base 256 behind a mark if it is large."""
    if field[0] < 0x80:
        digits = field.rstrip(b"\0 ")
        if digits.isdigit():
            try:
                return int(digits, 8)
            except ValueError:
                raise UnsafeArchive("a number in it is damaged") from None
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    if field[0] == 0xFF:
        return 0  # negative: a time before 1970
    text = field.strip(b" \0")
    if not text:
        return 0
    if not text.isdigit():  # int() would accept underscores, signs and inner spaces
        raise UnsafeArchive("a number in it is damaged")
    try:
        return int(text, 8)
    except ValueError:
        raise UnsafeArchive("a number in it is damaged") from None


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 20:
        raise UnsafeArchive("a number in it is damaged")
    return int(text)


def _time(said: bytes | None, header: bytes) -> int:
    """Return a modification time in nanoseconds; an impossible one becomes 1970."""
    if not said:
        return min(_number(header[136:148]), _LAST_SECOND) * 1_000_000_000
    whole, _, part = said.partition(b".")
    if not whole.isdigit() or (part and not part.isdigit()) or len(said) > 100:
        return 0
    return min(int(whole), _LAST_SECOND) * 1_000_000_000 + int(part[:9].ljust(9, b"0"))


def _cut(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _terminated(field: bytes, what: str) -> bytes:
    """Return a text that ends with NUL or at the end of the field."""
    text, _, rest = field.partition(b"\0")
    if rest.strip(b"\0"):
        raise UnsafeArchive(f"{what} holds a NUL")
    return text


def _header_name(header: bytes) -> bytes:
    name = _cut(header[:100])
    if header[257:263] == b"ustar\0":  # where GNU tar writes a space it keeps other things here
        prefix = _cut(header[345:500])
        return prefix + b"/" + name if prefix else name
    return name


def _text(name: bytes) -> str:
    """Decode a name; invalid UTF-8 becomes lone surrogates, which are refused later."""
    return name.decode("utf-8", "surrogateescape")


def _pax_records(content: bytes) -> Records:
    """Read records of the form `LENGTH KEY=VALUE` with a line break; the length is of all."""
    records: Records = []
    at = 0
    while at < len(content):
        digits = content[at : at + 8].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        record = content[at + len(digits) + 1 : at + length]
        key, equals, value = record.partition(b"=")
        if length < len(digits) + 4 or at + length > len(content):
            raise UnsafeArchive("a header in it has a wrong length")
        if not equals or not value.endswith(b"\n") or not key:
            raise UnsafeArchive("a header in it is damaged")
        if b"\0" in value and key in (b"path", b"linkpath", _SPARSE + b"name"):
            raise UnsafeArchive("a name in it holds a NUL")
        records.append((key, value[:-1]))
        at += length
    return records


def _refuse_for_all(records: Records) -> None:
    """Refuse names in a header for all members, which may only describe the archive."""
    names = {b"path", b"linkpath", b"size"}
    if any(key in names or key.startswith(_SPARSE) for key, _ in records):
        raise UnsafeArchive("a header in it gives one name or size to all members")


def _spans_in(field: bytes) -> Spans:
    pairs = [field[at : at + 24] for at in range(0, len(field) - 23, 24)]
    return [(_number(pair[:12]), _number(pair[12:])) for pair in pairs if pair[12:].strip(b"\0 ")]


def _pax_spans(said: dict[bytes, bytes], records: Records) -> Spans:
    """Read the spans from one list, or from records that repeat."""
    if _SPARSE + b"map" in said:
        texts = said[_SPARSE + b"map"].split(b",") if said[_SPARSE + b"map"] else []
    else:
        keys = (_SPARSE + b"offset", _SPARSE + b"numbytes")
        texts = [value for key, value in records if key in keys]
    numbers = list(map(_decimal, texts))
    if len(numbers) % 2 or len(numbers) > 2 * _MOST_SPANS:
        raise UnsafeArchive("a sparse file in it is damaged")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _check_spans(spans: Spans, stored: int, size: int) -> None:
    at = 0
    for offset, count in spans:
        if offset < at:
            raise UnsafeArchive("a sparse file in it is damaged")
        at = offset + count
    if at > size or sum(count for _, count in spans) != stored:
        raise UnsafeArchive("a sparse file in it is damaged")
