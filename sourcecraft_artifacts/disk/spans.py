"""Spans of bytes: which are there, and which are free to be fetched. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Span = tuple[int, int]
"""The bytes from the first number up to, not including, the second."""


def gaps(spans: Iterable[Span], size: int) -> list[Span]:
    """Return the gaps between sorted, disjoint spans, from 0 to `size`."""
    found, at = [], 0
    for start, end in spans:
        if start > at:
            found.append((at, start))
        at = max(at, end)
    if at < size:
        found.append((at, size))
    return found


def added(spans: list[Span], span: Span) -> list[Span]:
    """Return sorted, disjoint spans with one more that is in none; neighbours become one."""
    if not spans:
        return [span]
    if spans[-1][1] == span[0]:  # the usual case
        return [*spans[:-1], (spans[-1][0], span[1])]
    merged: list[Span] = []
    for start, end in sorted([*spans, span]):
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged


class FreeSpans:
    """The spans that no connection fetches, sorted and disjoint."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._spans = list(spans)

    def __iter__(self) -> Iterator[Span]:
        return iter(self._spans)

    def __bool__(self) -> bool:
        return bool(self._spans)

    @property
    def total(self) -> int:
        """How many bytes they have in all."""
        return sum(end - start for start, end in self._spans)

    def take_first(self, most: int) -> Span | None:
        """Take the first `most` bytes, as far as they lie in one span."""
        return self._take(0, most) if self._spans else None

    def take_from(self, start: int, most: int) -> Span | None:
        """Take up to `most` bytes of the span that begins at `start`, if there is one."""
        for index, span in enumerate(self._spans):
            if span[0] == start:
                return self._take(index, most)
        return None

    def _take(self, index: int, most: int) -> Span:
        start, end = self._spans[index]
        taken = min(end, start + most)
        self._spans[index : index + 1] = [(taken, end)] if taken < end else []
        return start, taken

    def give_back(self, span: Span) -> None:
        """Add a span that is in none of them; neighbours become one."""
        self._spans = added(self._spans, span)
