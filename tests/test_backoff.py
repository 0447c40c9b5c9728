"""How long a request waits before a retry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcecraft_artifacts.backoff import backoff, retry_after_seconds

NOW = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT


@pytest.mark.parametrize(
    ("attempt", "ceiling"),
    [(0, 0.5), (1, 0.5), (2, 1), (3, 2), (6, 16), (7, 30), (8, 30), (10**6, 30)],
)
def test_the_ceiling_doubles_up_to_30_seconds(attempt: int, ceiling: float) -> None:
    """The wait is anywhere below the ceiling."""
    assert backoff(attempt, random=lambda: 1.0) == ceiling
    assert backoff(attempt, random=lambda: 0.5) == ceiling / 2
    assert backoff(attempt, random=lambda: 0.0) == 0


@pytest.mark.parametrize(
    ("retry_after", "drawn", "waited"),
    [(None, 1.0, 0.5), (0, 1.0, 0.5), (3, 1.0, 3), (3, 0.0, 3), (61, 0.0, 60), (1e300, 0.0, 60)],
)
def test_retry_after_is_the_least_wait_up_to_60_seconds(
    retry_after: float | None, drawn: float, waited: float
) -> None:
    """Retry-After is the least wait, up to a minute."""
    assert backoff(1, retry_after, random=lambda: drawn) == waited


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        (" 120 ", 120),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("soon", None),
        ("Sun, 06 Nov 1994 08:49:47 GMT", 10),
        ("Sunday, 06-Nov-94 08:49:47 GMT", 10),
        ("Sun Nov  6 08:49:47 1994", 10),
        ("Sun, 06 Nov 1994 08:49:27 GMT", 0),
        ("Sun, 99 Nov 1994 08:49:27 GMT", None),
    ],
)
def test_retry_after_is_read_in_each_of_its_forms(value: str | None, seconds: float | None) -> None:
    """Seconds and the three forms of a date are read; anything else counts as absent."""
    assert retry_after_seconds(value, NOW) == seconds


@given(st.text() | st.from_regex(r"[0-9]+") | st.from_regex(r"\w{3}, \d+ \w{3} \d+ \d\d:\d\d:\d\d"))
def test_no_retry_after_breaks_the_wait(value: str) -> None:
    """Any Retry-After gives a wait of 0 to 60 seconds."""
    assert 0 <= backoff(1, retry_after_seconds(value)) <= 60
