"""How often one artifact is tried again."""

from __future__ import annotations

from contextlib import suppress

import pytest

from sourcecraft_artifacts.errors import ExpiredUrl, TransferError
from sourcecraft_artifacts.transfer.tries import Renewals, Tries


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


@pytest.mark.parametrize(
    ("code", "every", "works", "others_receive", "renewed"),
    [
        ("expired", 9.0, False, False, 2),
        ("expired", 9.0, False, True, 2),
        ("expired", 1.0, True, False, 9),
        ("expired", 1.0, True, True, 2),
        ("expired", 5.0, True, True, 9),
        ("http_404", 9.0, False, False, 1),
        ("http_404", 1.0, True, False, 9),
    ],
)
def test_new_urls_count_until_one_works(
    code: str, every: float, works: bool, others_receive: bool, renewed: int
) -> None:
    """While others receive, one that works counts only after 5 seconds: it may be theirs."""
    renewals, count = Renewals(), 0
    with suppress(TransferError):
        for count in range(9):
            renewals.note(ExpiredUrl("no", code=code), count * every, others_receive=others_receive)
            renewals.unproven = not works
        count += 1
    assert count == renewed
