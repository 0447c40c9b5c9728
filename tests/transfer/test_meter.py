"""What is measured for the pace."""

from __future__ import annotations

import pytest

from sourcecraft_artifacts.transfer.meter import SHORT, Meter
from sourcecraft_artifacts.transfer.pacing import Pace, RateLimit, Use


class Seen(Pace):
    """Records what the pace is told."""

    use = Use(0, 0, 0)
    received = 0

    def tick(self, now: float, received: int, use: Use, *, wanted: int) -> None:
        """Record it."""
        self.use, self.received = use, received


@pytest.mark.parametrize(
    ("sizes", "use"),
    [
        ([], Use(5, 2, 0)),
        ([20_000], Use(5, 3, 0)),
        ([SHORT, SHORT + 1], Use(5, 3, 1)),
        ([1 << 63, 1 << 20], Use(5, 2, 2)),
    ],
    ids=["none", "short", "at the limit", "long or unknown"],
)
def test_short_bodies_count_as_waiting(sizes: list[int], use: Use) -> None:
    """A short body takes round trips, like the wait for a response; a long one takes the rate."""
    pace = Seen(None)
    meter = Meter(pace, RateLimit(None))
    meter.busy = 5
    for size in sizes:
        meter.receives(1, size)
    meter.spend(100)
    meter.spend(23)
    meter.tick(1.0, asking=2, wanted=9)
    assert (pace.use, pace.received) == (use, 123)
    for size in sizes:
        meter.receives(-1, size)
    meter.tick(2.0, asking=2, wanted=9)
    assert pace.use == Use(5, 2, 0)


@pytest.mark.parametrize(("busy", "too_many"), [(3, False), (4, False), (5, True)])
def test_too_many_are_told(busy: int, too_many: bool) -> None:
    """There are too many once the pace allows fewer than are in use."""
    meter = Meter(Pace(4), RateLimit(None))
    meter.busy = busy
    assert meter.has_too_many is too_many
