"""Which bytes are here and which are free, checked byte by byte."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sourcecraft_artifacts.disk.spans import FreeSpans, Span, gaps


@pytest.mark.parametrize(
    ("spans", "lacking"),
    [
        ([], [(0, 100)]),
        ([(0, 100)], []),
        ([(0, 10)], [(10, 100)]),
        ([(90, 100)], [(0, 90)]),
        ([(10, 20), (20, 30)], [(0, 10), (30, 100)]),
        ([(10, 20), (40, 50)], [(0, 10), (20, 40), (50, 100)]),
    ],
)
def test_gaps_are_what_lies_between(spans: list[Span], lacking: list[Span]) -> None:
    """Spans and gaps cover everything; the gaps of the gaps are the merged spans."""
    assert gaps(spans, 100) == lacking


@given(st.sets(st.integers(0, 40)), st.integers(1, 40))
def test_gaps_are_exact(points: set[int], size: int) -> None:
    """Each byte is either in a span or in a gap."""
    ends = sorted(point for point in points if point <= size)
    spans = list(zip(ends[::2], ends[1::2], strict=False))
    inside = {at for start, end in spans for at in range(start, end)}
    lacking = {at for start, end in gaps(spans, size) for at in range(start, end)}
    assert inside | lacking == set(range(size))
    assert not inside & lacking


SIZE = 60


class Spans(RuleBasedStateMachine):
    """Free spans, compared with a plain set of free bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.spans = FreeSpans([(0, SIZE)])
        self.free = set(range(SIZE))
        self.taken: list[Span] = []

    @rule(most=st.integers(1, SIZE))
    def take_first(self, most: int) -> None:
        """Take the first free bytes, up to a number, from one span."""
        span = self.spans.take_first(most)
        assert (span is None) == (not self.free)
        if span is not None:
            assert span[0] == min(self.free)
            self.check(span, most)

    @rule(start=st.integers(0, SIZE), most=st.integers(1, SIZE))
    def take_from(self, start: int, most: int) -> None:
        """Take a free span from its first byte on."""
        begins = start in self.free and start - 1 not in self.free
        span = self.spans.take_from(start, most)
        assert (span is not None) == begins
        if span is not None:
            assert span[0] == start
            self.check(span, most)

    def check(self, span: Span, most: int) -> None:
        """Check that a taken span is as long as possible."""
        start, end = span
        inside = set(range(start, end))
        assert inside <= self.free
        assert len(inside) == most or end not in self.free
        self.free -= inside
        self.taken.append(span)

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        """Give the rest of a taken span back."""
        if self.taken:
            start, end = self.taken.pop(data.draw(st.integers(0, len(self.taken) - 1)))
            position = data.draw(st.integers(start, end - 1))
            self.spans.give_back((position, end))
            self.free |= set(range(position, end))

    @invariant()
    def spans_are_the_free_bytes(self) -> None:
        """The spans are sorted, disjoint, merged and complete."""
        found = list(self.spans)
        assert {at for start, end in found for at in range(start, end)} == self.free
        assert all(one[1] < other[0] for one, other in pairwise(found))
        assert (self.spans.total, bool(self.spans)) == (len(self.free), bool(self.free))


TestSpans = Spans.TestCase
