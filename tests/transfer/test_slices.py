"""How an object is divided among connections, by their speed and the time to a response."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from sourcecraft_artifacts.http.ranges import Version
from sourcecraft_artifacts.transfer.pieces import UNKNOWN_END, Piece, Pieces
from sourcecraft_artifacts.transfer.slices import MAX_PIECE, MIN_PIECE, Slices

MB = 1_000_000


@dataclass
class Receiving:
    """A connection, with the bytes that it has received into its block."""

    high: int = 0


@dataclass
class Measured:
    """What the meter knows."""

    response_time: float
    slices: int = 16


class Object:
    """An object of `size` bytes, of which a first connection receives the first piece."""

    def __init__(self, size: int, response_time: float, *, last: int = UNKNOWN_END) -> None:
        self.pieces = Pieces(None, [])
        piece = self.pieces.claim(size)
        assert piece is not None
        self.first = piece
        self.pieces.restart(piece, Version('"v1"', size), MAX_PIECE)
        piece.last = last
        self.coming: dict[Piece, Receiving] = {piece: Receiving()}
        self.slices = Slices(self.pieces, self.coming, Measured(response_time))

    def receive(self, count: int, seconds: float) -> None:
        """Let the first connection have received `count` bytes since so many seconds."""
        self.first.position = count // 2
        self.coming[self.first].high = count - count // 2
        self.first.began = time.monotonic() - seconds


def test_several_connections_fetch_a_large_object_at_once_if_responses_come_soon() -> None:
    """Nothing is waited for: the speed of the first connection does not matter then."""
    assert Object(30 * MB, 0.05).slices.want_another
    assert not Object(5 * MB, 0.05).slices.want_another


def test_before_late_responses_are_asked_for_the_speed_must_be_known() -> None:
    """What the first connection receives in the first moments tells nothing."""
    late = Object(30 * MB, 1.0)
    late.receive(1 * MB, 0.01)
    assert not late.slices.want_another
    late.receive(1 * MB, 0.2)
    assert late.slices.want_another


def test_a_connection_that_brings_nothing_is_not_waited_for() -> None:
    """Another one may be better."""
    late = Object(30 * MB, 1.0)
    late.receive(0, 0.5)
    assert not late.slices.want_another
    late.receive(0, 1.5)
    assert late.slices.want_another


@pytest.mark.parametrize(("size", "is_wanted"), [(10 * MB, False), (30 * MB, True)])
def test_what_comes_before_the_next_response_is_not_asked_for(size: int, is_wanted: bool) -> None:
    """At 20 MB a second, 10 MB are here before another connection has its response."""
    late = Object(size, 1.0)
    late.receive(2 * MB, 0.1)
    assert late.slices.want_another is is_wanted


def test_what_cannot_come_in_the_same_response_is_asked_for() -> None:
    """A connection that was asked for a range has a new response for what is after it, late too."""
    late = Object(10 * MB, 1.0, last=MAX_PIECE)
    late.receive(2 * MB, 0.1)
    assert late.slices.want_another


def test_a_connection_keeps_what_it_receives_before_others_have_a_response() -> None:
    """The other pieces are those after it, so that it need not ask again."""
    late = Object(100 * MB, 1.0)
    late.receive(2 * MB, 0.1)
    late.slices.reserve()
    assert late.first.end == pytest.approx(22 * MB, rel=0.2)
    assert late.slices.want_another


def test_a_response_that_ends_is_not_extended() -> None:
    """A connection that was asked for a range cannot go on after it."""
    late = Object(100 * MB, 1.0, last=MAX_PIECE)
    late.receive(2 * MB, 0.1)
    late.slices.reserve()
    assert late.first.end == MAX_PIECE


def test_pieces_are_not_reserved_where_responses_come_soon() -> None:
    """There the next piece may be anywhere."""
    soon = Object(100 * MB, 0.05)
    soon.receive(2 * MB, 0.1)
    soon.slices.reserve()
    assert soon.first.end == MAX_PIECE


def test_late_responses_are_asked_for_once_by_each_connection() -> None:
    """If all have an equal share, none has to wait for a second response."""
    late = Object(400 * MB, 2.0)
    late.receive(2 * MB, 0.1)
    late.slices.reserve()
    sizes = []
    while late.pieces.unclaimed:
        piece = late.pieces.claim(late.slices.next_size())
        assert piece is not None
        sizes.append(piece.end - piece.start)
    assert len(sizes) == 15
    assert max(sizes) - min(sizes) < 100


def test_a_speed_is_remembered_while_all_wait_for_late_responses() -> None:
    """Then too, each connection should have to ask once."""
    late = Object(400 * MB, 2.0)
    late.receive(4 * MB, 0.2)
    late.first.position = 4 * MB
    late.slices.received(late.first)
    late.pieces.release(late.first)
    late.coming.clear()
    piece = late.pieces.claim(late.slices.next_size())
    assert piece is not None
    assert piece.end - piece.start > 20 * MB


def test_pieces_become_smaller_where_responses_come_soon() -> None:
    """So that all connections end together."""
    soon = Object(100 * MB, 0.03)
    soon.receive(700_000, 0.1)
    sizes = []
    while soon.pieces.unclaimed:
        piece = soon.pieces.claim(soon.slices.next_size())
        assert piece is not None
        sizes.append(piece.end - piece.start)
    assert sizes[0] == pytest.approx(3 * MB, rel=0.1)
    assert sizes == sorted(sizes, reverse=True)
    assert all(MIN_PIECE <= size <= MAX_PIECE for size in sizes[:-1])
