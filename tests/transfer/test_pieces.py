"""Which bytes of an object are being fetched, and which are free."""

from __future__ import annotations

from itertools import pairwise

import pytest

from sourcecraft_artifacts.http.ranges import Version
from sourcecraft_artifacts.transfer.pieces import Piece, Pieces


def begun(*ends: int) -> tuple[Pieces, list[Piece]]:
    """Return an object of 1000 bytes with pieces that end there, the first from its start."""
    pieces = Pieces(None, [])
    first = claimed(pieces, 1)
    pieces.restart(first, Version('"v1"', 1000), ends[0])
    others = [claimed(pieces, end - start) for start, end in pairwise(ends)]
    return pieces, [first, *others]


def claimed(pieces: Pieces, most: int) -> Piece:
    """Return the next piece, which must exist."""
    piece = pieces.claim(most)
    assert piece is not None
    return piece


def test_a_piece_goes_on_where_nobody_is() -> None:
    """A piece grows into the free span after it, and never into another piece."""
    pieces, (first, second) = begun(100, 200)
    assert not pieces.extend(first, 100)
    assert not pieces.reaches_end(first)
    assert pieces.reaches_end(second)
    assert pieces.extend(second, 100)
    assert (second.start, second.end) == (100, 300)
    pieces.release(second)
    assert pieces.extend(first, 5000)
    assert (first.end, pieces.unclaimed) == (1000, 0)
    assert pieces.reaches_end(first)
    assert not pieces.extend(first, 100)


def test_a_piece_without_a_response_can_be_taken_over() -> None:
    """The other connection's response is not read then."""
    pieces, (first, second, third) = begun(100, 200, 300)
    assert pieces.unanswered_after(first) is second
    assert pieces.unanswered_after(third) is None
    pieces.take_over(first, second)
    assert (first.end, second.dead, pieces.under_way) == (200, True, {first, third})
    third.position += 1
    assert pieces.unanswered_after(first) is None
    pieces.release(second)
    assert pieces.unclaimed == 700


def test_the_end_of_a_piece_can_be_given_to_another_connection() -> None:
    """What is cut off is claimed before the bytes after it."""
    pieces, (first, second) = begun(400, 1000)
    pieces.cut(first, 250)
    assert (first.end, pieces.unclaimed) == (250, 150)
    other = claimed(pieces, 1000)
    assert (other.start, other.end) == (250, 400)
    assert pieces.claim(1) is None
    assert pieces.under_way == {first, second, other}


@pytest.mark.parametrize(("received", "left"), [(0, 1000), (60, 940), (100, 900)])
def test_a_piece_gives_back_what_it_lacks(received: int, left: int) -> None:
    """It is given back once."""
    pieces, (first,) = begun(100)
    first.position += received
    pieces.release(first)
    pieces.release(first)
    assert (pieces.unclaimed, pieces.complete) == (left, False)


def test_all_pieces_of_an_older_version_are_dead() -> None:
    """The piece whose response has the new version becomes its beginning."""
    pieces, (first, second, third) = begun(100, 200, 300)
    newer = Version('"v2"', 500)
    pieces.restart(second, newer, 400)
    assert [one.dead for one in (first, second, third)] == [True, False, True]
    assert (second.start, second.position, second.end) == (0, 0, 400)
    assert (pieces.version, pieces.unclaimed) == (newer, 100)
    pieces.release(first)
    assert pieces.unclaimed == 100
