"""A short form of `make soak`, and a test of its checks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fake_service
import pytest
import soak
from conftest import Cli
from fake_service import FakeService


def test_kills_at_random_moments_lose_nothing(
    tmp_path: Path, make_cli: Callable[[Path, FakeService], Cli]
) -> None:
    """Ten kills of processes at random moments; each rerun completes the folder."""
    tally = soak.soak(tmp_path, lambda tally: tally.kills >= 10, 1, make_cli)
    assert tally.kills >= 10
    assert tally.complete >= 1


def test_the_soak_sees_what_is_lost(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_cli: Callable[[Path, FakeService], Cli],
) -> None:
    """A wrong byte under a final name fails the soak."""
    real = fake_service.tree

    def spoiled(folder: Path) -> dict[str, bytes]:
        return {name: body[:-1] + b"x" if body else body for name, body in real(folder).items()}

    monkeypatch.setattr(soak, "tree", spoiled)
    with pytest.raises(AssertionError, match=r"no version|not the newest"):
        soak.soak(tmp_path, lambda tally: tally.complete > 0, 1, make_cli)
