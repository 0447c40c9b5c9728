"""Sparse files in tar archives: where their data belong, in the forms of GNU tar and of pax."""

from __future__ import annotations

from collections.abc import Callable

from .tar_fields import BLOCK, PaxRecords, UnsafeArchive, decimal_in, number_in

SPARSE = b"GNU.sparse."
"""What the pax keys about sparse files begin with."""
_MOST_SPANS = 100_000
"""The most spans of data in one sparse file."""
Spans = list[tuple[int, int]]
"""The spans of a sparse file, each an offset and a number of bytes."""
Take = Callable[[int], memoryview]
"""Returns the next bytes, as many as asked for. Raises `UnsafeArchive` if there are fewer."""


def gnu_spans(header: bytes, take: Take) -> Spans:
    """Read the spans in a header of GNU tar, and in the blocks behind it."""
    spans, is_extended = _spans_in(header[386:482]), header[482]
    while is_extended:
        block = bytes(take(BLOCK))
        spans += _spans_in(block[:504])
        is_extended = block[504]
        if len(spans) > _MOST_SPANS:
            raise UnsafeArchive("a sparse file in it has too many pieces")
    return spans


def leading_spans(take: Take, left: int) -> tuple[Spans, int]:
    """Read the numbers before the data, one per line, padded to a whole block.

    Returns the spans, and how many of the `left` bytes of the content remain.
    """
    lines: list[bytes] = []
    torn, wanted = b"", 1
    while len(lines) < wanted:
        if left < BLOCK:
            raise UnsafeArchive("a sparse file in it is damaged")
        torn += bytes(take(BLOCK))
        left -= BLOCK
        *whole, torn = torn.split(b"\n")
        lines += whole
        if lines and wanted == 1:
            wanted = 1 + 2 * decimal_in(lines[0])
        if wanted > 1 + 2 * _MOST_SPANS:
            raise UnsafeArchive("a sparse file in it has too many pieces")
    numbers = list(map(decimal_in, lines[1:wanted]))
    return list(zip(numbers[::2], numbers[1::2], strict=True)), left


def pax_spans(said: dict[bytes, bytes], records: PaxRecords) -> Spans:
    """Read the spans from one list, or from records that repeat."""
    if SPARSE + b"map" in said:
        texts = said[SPARSE + b"map"].split(b",") if said[SPARSE + b"map"] else []
    else:
        keys = (SPARSE + b"offset", SPARSE + b"numbytes")
        texts = [value for key, value in records if key in keys]
    numbers = list(map(decimal_in, texts))
    if len(numbers) % 2 or len(numbers) > 2 * _MOST_SPANS:
        raise UnsafeArchive("a sparse file in it is damaged")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def check_spans(spans: Spans, stored: int, size: int) -> None:
    """Raise `UnsafeArchive` unless the spans are in order and have all stored bytes."""
    at = 0
    for offset, count in spans:
        if offset < at:
            raise UnsafeArchive("a sparse file in it is damaged")
        at = offset + count
    if at > size or sum(count for _, count in spans) != stored:
        raise UnsafeArchive("a sparse file in it is damaged")


def _spans_in(field: bytes) -> Spans:
    pairs = [field[at : at + 24] for at in range(0, len(field) - 23, 24)]
    return [
        (number_in(pair[:12]), number_in(pair[12:])) for pair in pairs if pair[12:].strip(b"\0 ")
    ]
