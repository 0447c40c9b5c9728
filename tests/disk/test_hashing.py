"""The digests of an object whose bytes are hashed beside the thread that writes them."""

from __future__ import annotations

import hashlib
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_service import eventually

from sourcecraft_artifacts.disk import hashing as module
from sourcecraft_artifacts.disk.body import read_at
from sourcecraft_artifacts.disk.directory import Directory, open_root
from sourcecraft_artifacts.disk.hashing import Hashing
from sourcecraft_artifacts.disk.partial import LARGE, Partial
from sourcecraft_artifacts.disk.parts import PartialStore
from sourcecraft_artifacts.errors import TransferError
from sourcecraft_artifacts.http.ranges import Version

BODY = random.Random(1).randbytes(LARGE)
OTHER = random.Random(2).randbytes(LARGE)
SIZE = len(BODY)
SHA256 = hashlib.sha256(BODY).hexdigest()
MD5 = hashlib.md5(BODY, usedforsecurity=False).digest()
HALF = SIZE // 2
MIB = 1 << 20


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    """Open a folder for parts."""
    with open_root(str(tmp_path)) as directory:
        yield directory


def begun(directory: Directory, expected: dict[str, bytes] | None = None) -> Partial:
    """Return a large part whose first response has come."""
    partial = Partial(directory, "key-1", None)
    partial.restart(Version('"v1"', SIZE), expected or {})
    assert partial.is_large
    return partial


def put(partial: Partial, start: int, end: int, body: bytes = BODY) -> None:
    """Write bytes at their offset."""
    partial.write(memoryview(body)[start:end], start)


def hashing_of(partial: Partial) -> Hashing:
    """Return what another thread hashes."""
    assert partial.hashing is not None
    return partial.hashing


def catch_up(hashing: Hashing) -> int:
    """Hash all that is in order, as another thread does; return up to where."""
    buffer = memoryview(bytearray(100_000))
    while hashing.catch_up(buffer):
        pass
    return hashing.position


def test_only_what_is_in_order_is_hashed(directory: Directory) -> None:
    """Bytes behind a gap wait until it is filled; at the end nothing is read again."""
    partial = begun(directory)
    put(partial, HALF, SIZE)
    assert catch_up(hashing_of(partial)) == 0
    put(partial, 0, 1000)
    assert catch_up(hashing_of(partial)) == 1000
    put(partial, 1000, HALF)
    assert catch_up(hashing_of(partial)) == SIZE
    assert partial.digest() == SHA256
    partial.forget()


def test_a_hash_that_lags_is_finished(directory: Directory) -> None:
    """What the other thread has not hashed is hashed at the end, even while it still reads."""
    partial = begun(directory, {"md5": MD5})
    put(partial, 0, SIZE)
    other = threading.Thread(target=catch_up, args=(hashing_of(partial),))
    other.start()
    assert partial.digest() == SHA256
    other.join()
    assert partial.digest() == SHA256
    partial.forget()


@pytest.mark.parametrize("hashed", [0, HALF])
def test_what_was_forgotten_is_not_read_any_more(
    directory: Directory, monkeypatch: pytest.MonkeyPatch, hashed: int
) -> None:
    """A hash that lags while its part begins another version neither reads nor disturbs that."""
    partial = begun(directory)
    old = hashing_of(partial)
    put(partial, 0, hashed or 1)
    catch_up(old)
    put(partial, hashed or 1, SIZE)
    partial.restart(Version('"v2"', SIZE), {})
    put(partial, 0, SIZE, OTHER)
    new = hashing_of(partial)
    assert old is not new
    with monkeypatch.context() as patch:
        patch.delattr(module, "read_at")
        assert not old.catch_up(memoryview(bytearray(10)))
    assert old.position == (hashed or 1)
    assert partial.digest() == hashlib.sha256(OTHER).hexdigest()
    partial.forget()


@pytest.mark.parametrize("end", ["forget", "suspend", "seal"])
def test_nothing_is_closed_while_it_is_read(
    directory: Directory, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """A part is closed after the block that another thread is reading, and before the next one."""
    partial = begun(directory)
    put(partial, 0, SIZE)
    hashing = hashing_of(partial)
    reading, gate = threading.Event(), threading.Event()
    offsets: list[int] = []

    def slow(descriptor: int, buffer: memoryview, offset: int) -> int:
        reading.set()
        assert gate.wait(10)
        assert os.fstat(descriptor).st_size == SIZE
        offsets.append(offset)
        return read(descriptor, buffer, offset)

    read = read_at
    monkeypatch.setattr(module, "read_at", slow)
    other = threading.Thread(target=catch_up, args=(hashing,))
    other.start()
    assert reading.wait(10)
    ending = threading.Thread(target=getattr(partial, end))
    ending.start()
    eventually(lambda: hashing._descriptor < 0, "it is about to be closed")
    assert partial.complete
    gate.set()
    ending.join(10)
    other.join(10)
    assert offsets == [0]
    assert hashing.position == 100_000


def test_a_suspended_part_is_hashed_from_the_start_again(directory: Directory) -> None:
    """The next run hashes the earlier bytes too, as soon as more of them come."""
    partial = begun(directory)
    put(partial, 0, HALF)
    put(partial, HALF + 10, SIZE)
    catch_up(hashing_of(partial))
    partial.suspend()
    again = PartialStore(directory).open("key")
    assert again.lacks == [(HALF, HALF + 10)]
    put(again, HALF, HALF + 10)
    assert catch_up(hashing_of(again)) == SIZE
    assert again.digest() == SHA256
    again.forget()


@pytest.mark.parametrize("passes", [True, False])
def test_a_read_error_while_hashing_is_told_at_the_end(
    directory: Directory, monkeypatch: pytest.MonkeyPatch, passes: bool
) -> None:
    """The other thread's error is raised by `digest`, unless it has passed by then."""
    partial = begun(directory)
    put(partial, 0, SIZE)

    def sick(*_: Any) -> int:
        raise OSError("sick")

    with monkeypatch.context() as patch:
        patch.setattr(module, "read_at", sick)
        with pytest.raises(OSError, match="sick"):
            catch_up(hashing_of(partial))
        if not passes:
            with pytest.raises(OSError, match="sick"):
                partial.digest()
    assert partial.digest() == SHA256
    partial.forget()


def test_a_part_that_became_shorter_is_an_error(directory: Directory, tmp_path: Path) -> None:
    """Hashing a part that another program has cut ends with an error, not in a loop."""
    partial = begun(directory)
    put(partial, 0, SIZE)
    os.truncate(tmp_path / partial.part_name, HALF)
    with pytest.raises(OSError, match="shorter"):
        partial.digest()
    partial.forget()


@pytest.mark.parametrize("hashed", [0, HALF, SIZE])
@pytest.mark.parametrize("right", [True, False])
def test_digests_are_checked_whenever_they_come(
    directory: Directory, hashed: int, right: bool
) -> None:
    """A digest counts whether it comes before, while or after the bytes are hashed."""
    partial = begun(directory)
    put(partial, 0, hashed)
    catch_up(hashing_of(partial))
    partial.expect(Version('"v1"', SIZE), {"md5": MD5 if right else bytes(16)})
    assert hashing_of(partial).expected == {"md5": MD5 if right else bytes(16)}
    put(partial, hashed, SIZE)
    catch_up(hashing_of(partial))
    if right:
        assert partial.digest() == SHA256
    else:
        with pytest.raises(TransferError, match="md5"):
            partial.digest()
    partial.forget()


def test_changed_bytes_are_found(directory: Directory, tmp_path: Path) -> None:
    """What is hashed is what is in the part file, not what was received."""
    partial = begun(directory, {"md5": MD5})
    put(partial, 0, SIZE)
    with (tmp_path / partial.part_name).open("r+b") as file:
        file.write(b"changed")
    with pytest.raises(TransferError, match="md5"):
        partial.digest()
    partial.forget()


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system takes no advice")
def test_hashed_bytes_are_handed_to_the_disk(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system is asked to write what is hashed, once, and nothing that is still to be read."""
    asked: list[tuple[int, int]] = []

    def note(descriptor: int, start: int, count: int, advice: int) -> None:
        assert start + count == hashing_of(partial).position
        asked.append((start, start + count))

    monkeypatch.setattr(os, "posix_fadvise", note)
    monkeypatch.setattr(module, "_HAND_OVER", MIB)
    partial = begun(directory)
    put(partial, HALF, SIZE)
    put(partial, 0, 1000)
    catch_up(hashing_of(partial))
    assert asked == []
    put(partial, 1000, HALF)
    catch_up(hashing_of(partial))
    assert len(asked) > 2
    assert [end for _, end in asked[:-1]] == [start for start, _ in asked[1:]]
    assert asked[0][0] == 0
    assert asked[-1][1] > SIZE - MIB
    partial.forget()


def test_a_large_part_is_read_once(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints take their checksums from memory; only the hash reads bytes back."""
    count = 0

    def counting(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        nonlocal count
        found = read(descriptor, buffers, offset)
        count += found
        return found

    read = os.preadv
    monkeypatch.setattr(os, "preadv", counting)
    partial = begun(directory)
    for at in range(0, SIZE, HALF // 4):
        put(partial, at, at + HALF // 4)
        partial.checkpoint()
    partial.sync()
    assert count == 0
    assert partial.digest() == SHA256
    assert count == SIZE
    partial.forget()
