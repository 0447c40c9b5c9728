"""What is believed of partial data, and what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sourcecraft_artifacts.disk import checkpoint as module
from sourcecraft_artifacts.disk.checkpoint import Checkpoint, boot_id
from sourcecraft_artifacts.disk.spans import Span
from sourcecraft_artifacts.http.ranges import Version

VERSION = Version('"v1"', 100)
UNREADABLE = (ValueError, KeyError, TypeError)


@pytest.fixture(autouse=True)
def _boot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine was started once, and says so on every system."""
    monkeypatch.setattr(module, "boot_id", lambda: "this")


def made(**changes: Any) -> bytes:
    """A good checkpoint's file, with members changed; `...` removes one."""
    state = Checkpoint(VERSION, {"md5": b"\1" * 16}, [(0, 10), (20, 30)], [(0, 5)], False)
    value = {**json.loads(state.to_bytes()), **changes}
    return json.dumps({k: v for k, v in value.items() if v is not ...}).encode()


def test_what_is_written_is_read() -> None:
    """All of it comes back, with the boot that it was written in."""
    read = Checkpoint.from_bytes(made())
    assert read == Checkpoint(
        VERSION, {"md5": b"\1" * 16}, [(0, 10), (20, 30)], [(0, 5)], False, "this"
    )
    assert read.told == ([(0, 10), (20, 30)], False)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\0" * 300,
        b"\xff\xfe",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b"[" * 100_000,
        made()[:-1],
        made() + b"}",
        made(schema_version=0),
        made(schema_version=2),
        made(schema_version="1"),
        made(schema_version=...),
        made(validator=None),
        made(validator=...),
        made(validator=7),
        made(validator=""),
        made(validator='"v1"\r\nX: y'),
        made(validator="Ω"),
        made(size=0),
        made(size=-1),
        made(size=None),
        made(size="100"),
        made(size=100.0),
        made(size=True),
        made(size=...),
        made(digests=[]),
        made(digests=None),
        made(digests={"md5": "xyz"}),
        made(digests={"md5": 5}),
        made(digests={"unheard-of": "00"}),
        made(digests={"shake_128": "00"}),
        made(done=None),
        made(done=5),
        made(done=[5]),
        made(done=[[0]]),
        made(done=[[0, 10, 20]]),
        made(done=[["0", "10"]]),
        made(done=[[0.0, 10.0]]),
        made(done=[[False, True]]),
        made(done=[[10, 10]]),
        made(done=[[10, 5]]),
        made(done=[[-5, 5]]),
        made(done=[[0, 101]]),
        made(done=[[0, 10], [5, 20]]),
        made(done=[[20, 30], [0, 10]]),
        made(done=...),
        made(synced=[[0, 101]]),
        made(synced=...),
        made(in_order=...),
        made(boot=...),
    ],
)
def test_what_is_damaged_or_foreign_is_no_checkpoint(text: bytes) -> None:
    """Whatever is not exactly ours is refused by one of three exceptions, and never half read."""
    with pytest.raises(UNREADABLE):
        Checkpoint.from_bytes(text)


def test_unknown_members_are_passed_over() -> None:
    """A later version may write more."""
    assert Checkpoint.from_bytes(made(more=1)) == Checkpoint.from_bytes(made())


DONE: list[Span] = [(0, 10), (20, 30)]
SYNCED: list[Span] = [(0, 5), (20, 25)]


@pytest.mark.parametrize(
    ("boot", "in_order", "on_disk", "trusted"),
    [
        ("this", False, 30, DONE),
        ("this", False, 100, DONE),
        ("this", False, 29, [(0, 10)]),
        ("this", False, 0, []),
        ("this", True, 0, []),
        ("this", True, 42, [(0, 42)]),
        ("this", True, 100, [(0, 100)]),
        ("other", False, 30, SYNCED),
        ("other", True, 42, SYNCED),
        ("other", True, 24, [(0, 5)]),
        (None, False, 30, SYNCED),
        (None, True, 42, SYNCED),
    ],
)
def test_only_what_outlived_the_boot_is_trusted(
    boot: str | None, in_order: bool, on_disk: int, trusted: list[Span]
) -> None:
    """In the same boot all that was written counts, after another one only what was synced."""
    assert Checkpoint(VERSION, {}, DONE, SYNCED, in_order, boot).trusted(on_disk) == trusted


def test_without_a_boot_id_nothing_but_synced_spans_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system tells no boot, a loss of power can never be ruled out."""
    monkeypatch.setattr(module, "boot_id", lambda: None)
    state = Checkpoint(VERSION, {}, DONE, SYNCED, True)
    assert Checkpoint.from_bytes(state.to_bytes()).trusted(100) == SYNCED


def test_the_boot_is_told_apart() -> None:
    """The kernel's own word, the same on each call; None where there is none."""
    told = boot_id()
    assert told is None or told.strip()
    assert boot_id() == told
