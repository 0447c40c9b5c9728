"""The fields of a tar archive's headers, in all forms in use, of which none is trusted."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from functools import cache

BLOCK = 512
"""The size of a header in bytes; contents are padded to a multiple of it."""
LAST_SECOND = 9_000_000_000
"""The latest accepted time in seconds since 1970: about the year 2255."""
OWN_SPACES = 8 * ord(" ")
"""The sum of the checksum's own bytes, which count as spaces."""
_STARTS_OF_NUMBERS = b"01234567 \0\x80\xff"
PaxRecords = list[tuple[bytes, bytes]]
"""Keys and values of a pax header, in its order."""


class UnsafeArchive(ValueError):
    """Why an archive is not unpacked, as in "it ends in the middle of a file"."""


def is_header(block: bytes) -> bool:
    """Tell whether the first 512 bytes of a file are a tar header, by its checksum."""
    if len(block) < BLOCK or not block[0] or block[148] not in _STARTS_OF_NUMBERS:
        return False
    return checksum_is_right(block[:BLOCK])


def checksum_is_right(header: bytes) -> bool:
    """Verify a header's checksum, whose own bytes count as spaces.

    Some old programs added the bytes up as signed numbers.
    """
    own = header[148:156]
    try:
        told = number_in(own)
    except UnsafeArchive:
        return False
    total = sum_of(header) - sum(own) + OWN_SPACES
    return told == total or told == total - 256 * sum(
        one > 127 for one in header[:148] + header[156:]
    )


def sum_of(header: bytes) -> int:
    """Return the sum of a header's 512 bytes.

    Adler-32 adds them up faster, modulo 65521, which is more than those of ASCII can add up to.
    """
    return (zlib.adler32(header) & 0xFFFF) - 1 if header.isascii() else sum(header)


@cache
def _usual_header() -> Callable[[bytes], re.Match[bytes] | None]:
    """Compile the pattern of a usual header: all its numbers are digits."""
    numbers = rb"([0-7]{7})[\0 ].{16}([0-7]{11})[\0 ]([0-7]{11})[\0 ](([0-7]{6})[\0 ]{2})([0x\0])"
    return re.compile(rb"(?=([^\0]{1,100})).{100}" + numbers + rb".{355}", re.DOTALL).fullmatch


def usual_fields(header: bytes) -> tuple[bytes, bytes, int, int, int] | None:
    """Read kind, name, mode, size and seconds in a usual header, in a fifth of the time.

    It is that of a file, or of its pax records, of the kind `x`. Returns None for any other one.
    """
    found = _usual_header()(header)
    if found is None:
        return None
    name, mode, size, seconds, own, checksum, kind = found.groups()
    if sum_of(header) - sum(own) + OWN_SPACES != int(checksum, 8):
        return None
    if header[345]:
        name = name_in(header)
    return kind, name, int(mode, 8), int(size, 8), int(seconds, 8)


def number_in(field: bytes) -> int:
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


def decimal_in(text: bytes) -> int:
    """Read decimal digits."""
    if not text.isdigit() or len(text) > 20:
        raise UnsafeArchive("a number in it is damaged")
    return int(text)


def time_of(seconds: int) -> int:
    """Return a modification time in nanoseconds."""
    return min(seconds, LAST_SECOND) * 1_000_000_000


def time_in(said: bytes) -> int:
    """Return a time of a pax header in nanoseconds; an impossible one becomes 1970."""
    whole, _, part = said.partition(b".")
    if not whole.isdigit() or (part and not part.isdigit()) or len(said) > 100:
        return 0
    return time_of(int(whole)) + int(part[:9].ljust(9, b"0"))


def up_to_nul(field: bytes) -> bytes:
    """Return the bytes before the first NUL."""
    return field.partition(b"\0")[0]


def terminated(field: bytes, what: str) -> bytes:
    """Return a text that ends with NUL or at the end of the field."""
    text, _, rest = field.partition(b"\0")
    if rest.strip(b"\0"):
        raise UnsafeArchive(f"{what} holds a NUL")
    return text


def name_in(header: bytes) -> bytes:
    """Return the name in a header, with its prefix if the header has one."""
    name = up_to_nul(header[:100])
    if header[257:263] == b"ustar\0":  # where GNU tar writes a space it keeps other things here
        prefix = up_to_nul(header[345:500])
        return prefix + b"/" + name if prefix else name
    return name


def text_of(name: bytes) -> str:
    """Decode a name; invalid UTF-8 becomes lone surrogates, which are refused later."""
    return name.decode("utf-8", "surrogateescape")


def pax_records(content: bytes) -> PaxRecords:
    """Read records of the form `LENGTH KEY=VALUE` with a line break; the length is of all."""
    records: PaxRecords = []
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
        if b"\0" in value and key in (b"path", b"linkpath", b"GNU.sparse.name"):
            raise UnsafeArchive("a name in it holds a NUL")
        records.append((key, value[:-1]))
        at += length
    return records


def refuse_for_all(records: PaxRecords) -> None:
    """Refuse names in a header for all members, which may only describe the archive."""
    names = {b"path", b"linkpath", b"size"}
    if any(key in names or key.startswith(b"GNU.sparse.") for key, _ in records):
        raise UnsafeArchive("a header in it gives one name or size to all members")
