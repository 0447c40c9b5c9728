"""Which checkpoints of partial data are trusted."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcecraft_artifacts.disk.checkpoint import Checkpoint
from sourcecraft_artifacts.http.ranges import Version

VERSION = Version('"v1"', 100)
UNREADABLE = (ValueError, KeyError, TypeError)
STATE = Checkpoint(VERSION, {"md5": b"\1" * 16}, [(0, 10, 5), (20, 30, 6)])


def framed(text: bytes) -> bytes:
    """Return a line with the checksum that a checkpoint's file has after it."""
    return b"%b\n%08x\n" % (text, zlib.crc32(text))


def made(**changes: Any) -> bytes:
    """Return a valid checkpoint's file, with members changed; `...` removes one."""
    value = {**json.loads(STATE.to_bytes().splitlines()[0]), **changes}
    return framed(json.dumps({k: v for k, v in value.items() if v is not ...}).encode())


def test_what_is_written_is_read() -> None:
    """A checkpoint that is written and read is the same."""
    assert Checkpoint.from_bytes(STATE.to_bytes()) == STATE
    assert made() == STATE.to_bytes()


@given(st.integers(0, 8 * len(STATE.to_bytes()) - 1))
def test_any_flipped_bit_is_noticed(at: int) -> None:
    """A checkpoint with a flipped bit is refused."""
    damaged = bytearray(STATE.to_bytes())
    damaged[at // 8] ^= 1 << at % 8
    with pytest.raises(UNREADABLE):
        Checkpoint.from_bytes(bytes(damaged))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\0" * 300,
        b"\xff\xfe",
        framed(b""),
        framed(b"null"),
        framed(b"[]"),
        framed(b'"text"'),
        framed(b"{}"),
        framed(b"[" * 100_000),
        made()[:-1],
        made() + b"}",
        made().splitlines()[0],
        made(schema_version=0),
        made(schema_version=1),
        made(schema_version="2"),
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
        made(sums=None),
        made(sums=5),
        made(sums=[5]),
        made(sums=[[0, 5]]),
        made(sums=[[0, 10, 20, 30]]),
        made(sums=[["0", "10", "5"]]),
        made(sums=[[0, 10, "5"]]),
        made(sums=[[0.0, 10.0, 5.0]]),
        made(sums=[[False, True, True]]),
        made(sums=[[10, 10, 5]]),
        made(sums=[[10, 5, 5]]),
        made(sums=[[-5, 5, 5]]),
        made(sums=[[0, 101, 5]]),
        made(sums=[[0, 10, 5], [5, 20, 5]]),
        made(sums=[[20, 30, 5], [0, 10, 5]]),
        made(sums=...),
    ],
)
def test_what_is_damaged_or_foreign_is_no_checkpoint(text: bytes) -> None:
    """Any other file is refused with one of three exceptions."""
    with pytest.raises(UNREADABLE):
        Checkpoint.from_bytes(text)


def test_unknown_members_are_passed_over() -> None:
    """Unknown members, as of a later version, are ignored."""
    assert Checkpoint.from_bytes(made(more=1)) == Checkpoint.from_bytes(made())
