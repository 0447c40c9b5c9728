"""A short form of `make soak`, and a test of its checks."""

from __future__ import annotations

from pathlib import Path

import fake_service as service
import pytest
import soak
from forked import ForkServer


def test_kills_at_random_moments_lose_nothing(
    tmp_path: Path, fork_server: ForkServer | None
) -> None:
    """Ten kills of processes at random moments; each rerun completes the folder."""
    tally = soak.soak(tmp_path, lambda tally: tally.kills >= 10, 1, fork_server)
    assert tally.kills >= 10
    assert tally.complete >= 1


def test_the_soak_sees_what_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fork_server: ForkServer | None
) -> None:
    """A wrong byte under a final name fails the soak."""
    real = service.tree

    def spoiled(folder: Path) -> dict[str, bytes]:
        return {name: body[:-1] + b"x" if body else body for name, body in real(folder).items()}

    monkeypatch.setattr(soak, "tree", spoiled)
    with pytest.raises(AssertionError, match=r"no version|not the newest"):
        soak.soak(tmp_path, lambda tally: tally.complete > 0, 1, fork_server)
