"""How often one artifact is tried again."""

from __future__ import annotations

import pytest

from sourcecraft_artifacts.transfer.tries import Tries


@pytest.mark.parametrize(
    ("failures", "counted"),
    [
        ([(0, 0, 0), (0, 1, 0), (0, 2, 0)], [1, 2, 3]),
        ([(0, 0, 0), (0, 0, 0), (0, 0, 0)], [1, 1, 1]),
        ([(0, 0, 0), (10, 1, 0), (10, 2, 0)], [1, 1, 2]),
        ([(0, 0, 0), (10, 1, 10), (20, 2, 10)], [1, 2, 3]),
        ([(50, 0, 0), (40, 1, 0)], [1, 2]),
    ],
    ids=["in a row", "together", "progress", "bytes before a stall", "fewer bytes than before"],
)
def test_failures_count_while_nothing_comes(
    failures: list[tuple[int, int, int]], counted: list[int]
) -> None:
    """Each failure counts once, those of one wave together, and progress resets the count."""
    tries = Tries(5)
    assert [tries.note(*failure) for failure in failures] == counted
