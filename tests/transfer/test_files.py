"""Which file the next connection fetches."""

from __future__ import annotations

from typing import Any, cast

import pytest

from sourcecraft_artifacts.transfer.attempt import Attempt
from sourcecraft_artifacts.transfer.files import Files
from sourcecraft_artifacts.transfer.pacing import START, Pace
from sourcecraft_artifacts.transfer.pieces import Piece

PLENTY = 100
MB = 1 << 20


class Stand:
    """Stands for an attempt and for its transfer: a file with so many unclaimed pieces."""

    def __init__(
        self, pieces: int = 0, tasks: int = 0, *, seconds: float = 0.0, silent: float = 0.0
    ) -> None:
        self.tasks = set(range(tasks))
        self.pieces_left = pieces
        self.wants_help = pieces > 1
        self.unclaimed = pieces * MB
        self.shared: list[float] = []
        self._seconds, self._silent = seconds, silent

    @property
    def transfer(self) -> Stand | None:
        """Return itself if it has begun."""
        return self if self.tasks else None

    @property
    def pieces(self) -> Stand:
        """Return itself, which tells the unclaimed bytes."""
        return self

    def slowest(self, seen: float) -> tuple[float, Piece | None]:
        """Tell that a piece will take so many seconds."""
        return self._seconds, Piece(0, MB) if self._seconds else None

    def share(self, piece: Piece, kept: float) -> None:
        """Record the part that the piece keeps."""
        self.shared.append(kept)

    def ask_again(self, patience: float) -> bool:
        """Tell whether a response has not come for so long."""
        return self._silent > patience


def files(*large: Stand, waiting: int = 0, width: int = START, late: float = 0.01) -> Files:
    """Return files of which large ones are in progress and small ones wait.

    There are `width` connections, and a response takes `late` seconds.
    """
    pace = Pace(None)
    pace.width, pace.response_time = width, late
    found = Files(pace, PLENTY, sharing=True)
    for one in cast(Any, large):
        found.begun[one] = None
        found.shared[one] = one
    found.add(cast("list[Attempt]", [Stand() for _ in range(waiting)]))
    return found


@pytest.mark.parametrize(
    ("waiting", "width", "helpers"),
    [
        (220, 16, 4),
        (1, 16, 4),
        (220, 40, 10),
        (220, 96, 15),
        (0, 96, 15),
        (0, 16, 15),
        (60, 2, 0),
        (60, 1, 0),
        (0, 1, 0),
    ],
)
def test_a_large_file_gets_a_share_of_the_connections(
    waiting: int, width: int, helpers: int
) -> None:
    """Besides its own one it gets up to a quarter of them while others wait, and never too many."""
    for helped in range(width):
        large = Stand(60, tasks=1 + helped)
        chosen = files(large, waiting=waiting, width=width).choose()
        assert (cast(Any, chosen) is large) is (helped < helpers)


def test_the_file_with_the_most_for_each_connection_is_helped() -> None:
    """Of two large files, the one that lacks more bytes for each of its connections goes first."""
    crowded, lonely = Stand(60, tasks=8), Stand(20, tasks=1)
    assert cast(Any, files(crowded, lonely).choose()) is lonely


def test_a_piece_is_not_shared_if_responses_have_become_late() -> None:
    """The shortest time that a response ever took does not count then."""
    slow = Stand(0, tasks=1, seconds=1.0)
    found = files(slow, late=0.01)
    found._pace.recently = 3.0
    assert found.choose() is None
    assert slow.shared == []


def test_a_file_that_has_begun_needs_no_room() -> None:
    """As many files as may be open have begun, and all wait: the first goes on, no other begins."""
    found = files(*(Stand(tasks=1) for _ in range(PLENTY + 2)), waiting=1, width=2)
    begun = list(found.begun)
    found.shared.clear()
    assert found.choose() is None
    found.put_back(begun[0])
    assert found.choose() is begun[0]
    assert found.choose() is None


@pytest.mark.parametrize(
    ("seconds", "response_time", "kept"),
    [(0.04, 0.001, None), (0.1, 0.001, 0.505), (0.15, 0.1, None), (0.2, 0.1, 0.75), (1, 0.1, 0.55)],
)
def test_the_last_pieces_are_shared_where_that_pays(
    seconds: float, response_time: float, kept: float | None
) -> None:
    """The slowest piece is shared so that both parts end together, a response time apart."""
    slow, quick = Stand(0, tasks=1, seconds=seconds), Stand(0, tasks=1, seconds=0.01)
    chosen = files(quick, slow, late=response_time).choose()
    assert (cast(Any, chosen) is slow) is (kept is not None)
    assert slow.shared == ([] if kept is None else [pytest.approx(kept)])
    assert quick.shared == []


@pytest.mark.parametrize(
    ("silent", "response_time", "is_chosen"),
    [(0.9, 0.01, False), (1.1, 0.01, True), (1.9, 0.2, False), (2.1, 0.2, True)],
)
def test_a_response_that_does_not_come_is_not_waited_for_at_the_end(
    silent: float, response_time: float, is_chosen: bool
) -> None:
    """An idle connection requests the piece again after a second, or after ten usual waits."""
    lost = Stand(0, tasks=1, silent=silent)
    assert (cast(Any, files(lost, late=response_time).choose()) is lost) is is_chosen


def test_nothing_is_shared_while_files_wait() -> None:
    """A file that waits is more worth a connection than half a piece."""
    slow = Stand(0, tasks=1, seconds=9.0)
    assert cast(Any, files(slow, waiting=1).choose()) is not slow
    assert not slow.shared


def test_files_begin_only_so_far_ahead() -> None:
    """No more files begin while too many that have begun still wait for something."""
    those = files(*(Stand(0, tasks=1) for _ in range(PLENTY + 16)), waiting=5)
    assert those.choose() is None
    those.begun.popitem()
    assert those.choose() is not None


def test_what_comes_back_goes_first() -> None:
    """A file that has begun continues before others begin, and waits only once."""
    those, again = files(waiting=3), cast(Attempt, Stand())
    those.put_back(again)
    those.put_back(again)
    assert len(those.waiting) == 4
    assert those.choose() is again


def test_cancelled_files_are_told_apart() -> None:
    """Those that wait and have not begun are returned; none waits any more."""
    those, begun = files(waiting=3), cast(Attempt, Stand(0, tasks=1))
    those.put_back(begun)
    assert len(those.take_unbegun()) == 3
    assert not those.waiting
