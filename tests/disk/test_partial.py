"""Partial data: claimed, written, dropped, suspended and resumed."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sourcecraft_artifacts.disk import checkpoint, files, hashing, sums
from sourcecraft_artifacts.disk import partial as module
from sourcecraft_artifacts.disk.body import read_at, write_at
from sourcecraft_artifacts.disk.checkpoint import Checkpoint, CheckpointFile
from sourcecraft_artifacts.disk.directory import Directory, open_root
from sourcecraft_artifacts.disk.partial import Partial
from sourcecraft_artifacts.disk.parts import PartialStore
from sourcecraft_artifacts.errors import LocalError, TransferError
from sourcecraft_artifacts.http.ranges import Version
from sourcecraft_artifacts.transfer.pieces import UNKNOWN_END, Piece, Pieces

pytestmark = pytest.mark.skipif(os.name == "nt", reason="makes symlinks, reads /proc")

MORE = int(os.environ.get("SOURCECRAFT_TEST_EXAMPLES", "1"))
BODY = random.Random(1).randbytes(1000)
OTHER = random.Random(2).randbytes(1000)
V1, V2 = Version('"v1"', 1000), Version('"v2"', 1000)
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    """Open a folder for parts; check that a test leaves nothing else open."""
    with open_root(str(tmp_path)) as directory:
        before = descriptors()
        yield directory
        assert descriptors() <= before  # what earlier tests left may be closed meanwhile


def descriptors() -> set[str]:
    """Return the descriptors of this process and their targets, if the system tells."""
    if sys.platform != "linux":
        return set()
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
    return {one for one in found if "/proc/" not in one}


class Superseded(Exception):
    """The piece belongs to a version that was dropped."""


class Part:
    """Partial data with the pieces that are claimed of it, combined as in the engine."""

    def __init__(self, partial: Partial) -> None:
        self.partial = partial
        self.claims = Pieces(partial.version, partial.lacks)
        self.claim, self.extend = self.claims.claim, self.claims.extend
        self.release = self.claims.release

    def __getattr__(self, name: str) -> Any:
        return getattr(self.partial, name)

    @property
    def unclaimed(self) -> int:
        """The number of bytes that no piece has."""
        return self.claims.unclaimed

    @property
    def pieces(self) -> int:
        """The number of active pieces."""
        return len(self.claims.under_way)

    @property
    def complete(self) -> bool:
        """Whether all bytes are here; the two ways to ask agree."""
        return self.claims.complete and self.partial.complete

    def restart(
        self, piece: Piece, version: Version, expected: dict[str, bytes], most: int
    ) -> None:
        """Begin another version."""
        if piece.dead:
            raise Superseded
        self.claims.restart(piece, version, most)
        self.partial.restart(version, expected)

    def write(self, piece: Piece, data: memoryview) -> None:
        """Write the next bytes of a piece at its position."""
        if piece.dead:
            raise Superseded
        self.partial.write(data, piece.position)
        piece.position += len(data)

    def end_here(self, piece: Piece) -> None:
        """Set the size."""
        if self.claims.size is None:
            self.claims.end_here(piece)
            self.partial.end_at(piece.position)

    def forget(self) -> None:
        """Drop all bytes."""
        self.claims.forget()
        self.partial.forget()

    def checkpoint(self, *, sync: bool) -> None:
        """Write a checkpoint."""
        if sync:
            self.partial.sync()
        else:
            self.partial.checkpoint()


def claimed(partial: Part, most: int = 1 << 30) -> Piece:
    """Return the next piece, which must exist."""
    piece = partial.claim(most)
    assert piece is not None
    return piece


def begun(
    partial: Part, version: Version = V1, most: int = 1 << 30, md5: bytes | None = None
) -> Piece:
    """Return the first piece of a version whose response has come."""
    piece = claimed(partial)
    partial.restart(piece, version, {"md5": md5} if md5 else {}, most)
    return piece


def put(partial: Part, piece: Piece, body: bytes, count: int | None = None) -> None:
    """Write the next bytes of a piece, as the storage sends them."""
    end = piece.end if count is None else piece.position + count
    partial.write(piece, memoryview(body)[piece.position : end])


def filled(partial: Part, body: bytes) -> None:
    """Fetch all missing bytes."""
    while (piece := partial.claim(300)) is not None:
        put(partial, piece, body)
        partial.release(piece)


def placed(partial: Part, path: Path) -> bytes:
    """Seal a complete part, return its bytes, and remove it."""
    partial.seal()
    body: bytes = (path / partial.part_name).read_bytes()
    (path / partial.part_name).unlink()
    partial.placed()
    return body


def names(path: Path) -> list[str]:
    """Return the names in the folder."""
    return sorted(one.name for one in path.iterdir())


def opened(directory: Directory, key: str = "key") -> Part:
    """Open the part as a new run does."""
    return Part(PartialStore(directory).open(key))


# One part in one run.


def test_pieces_cover_the_object_once(directory: Directory, tmp_path: Path) -> None:
    """Each byte is in one piece, from the front on, and is given back if it did not come."""
    partial = opened(directory)
    first = begun(partial, most=300)
    assert (first.start, first.end, partial.size, partial.unclaimed) == (0, 300, 1000, 700)
    second = claimed(partial, 300)
    third = claimed(partial, 9999)
    assert [(p.start, p.end) for p in (second, third)] == [(300, 600), (600, 1000)]
    assert partial.claim(300) is None
    assert (partial.pieces, partial.unclaimed, partial.complete) == (3, 0, False)
    put(partial, second, BODY, 100)
    partial.release(second)
    put(partial, first, BODY)
    partial.release(first)
    again = claimed(partial, 1 << 30)
    assert (again.start, again.end) == (400, 600)
    put(partial, again, BODY)
    put(partial, third, BODY)
    assert not partial.complete
    partial.release(again)
    partial.release(third)
    partial.release(third)
    assert (partial.complete, partial.position) == (True, 1000)
    assert partial.digest() == SHA256
    assert placed(partial, tmp_path) == BODY
    assert names(tmp_path) == []


@pytest.mark.parametrize("size", [0, 1, 999, 1000])
def test_an_object_of_any_size(directory: Directory, tmp_path: Path, size: int) -> None:
    """An empty object is complete with its first response."""
    partial = opened(directory)
    piece = begun(partial, Version('"v1"', size))
    partial.write(piece, memoryview(BODY)[:size])
    partial.release(piece)
    assert partial.complete
    assert partial.digest() == hashlib.sha256(BODY[:size]).hexdigest()
    assert placed(partial, tmp_path) == BODY[:size]


def test_an_object_of_unknown_size_ends_where_the_storage_ends(
    directory: Directory, tmp_path: Path
) -> None:
    """Without a size there is one piece, which ends with the response."""
    partial = opened(directory)
    piece = begun(partial, Version('"v1"', None))
    assert (piece.end, partial.size, partial.claim(100)) == (UNKNOWN_END, None, None)
    put(partial, piece, BODY, 700)
    partial.end_here(piece)
    partial.release(piece)
    assert (partial.size, partial.complete) == (700, True)
    assert partial.digest() == hashlib.sha256(BODY[:700]).hexdigest()
    assert placed(partial, tmp_path) == BODY[:700]


def test_a_known_size_is_not_settled_anew(directory: Directory) -> None:
    """A response that ends early does not change a known size."""
    partial = opened(directory)
    piece = begun(partial)
    put(partial, piece, BODY, 300)
    partial.end_here(piece)
    partial.release(piece)
    assert (partial.size, partial.complete, partial.unclaimed) == (1000, False, 700)
    partial.suspend()


def test_a_restart_ends_the_other_pieces(directory: Directory, tmp_path: Path) -> None:
    """A piece of the old version cannot write into the new one."""
    partial = opened(directory)
    first = begun(partial, most=300)
    second = claimed(partial, 300)
    put(partial, second, BODY, 10)
    partial.restart(first, V2, {}, 1 << 30)
    with pytest.raises(Superseded):
        put(partial, second, BODY, 10)
    with pytest.raises(Superseded):
        partial.restart(second, V1, {}, 1 << 30)
    partial.release(second)
    assert (partial.position, first.start, first.end) == (0, 0, 1000)
    put(partial, first, OTHER)
    partial.release(first)
    assert partial.digest() == hashlib.sha256(OTHER).hexdigest()
    assert placed(partial, tmp_path) == OTHER


def test_all_bytes_can_be_forgotten(directory: Directory, tmp_path: Path) -> None:
    """After `forget` no file is left, and the next piece begins anew."""
    partial = opened(directory)
    piece = begun(partial)
    put(partial, piece, BODY, 300)
    partial.checkpoint(sync=True)
    partial.forget()
    assert names(tmp_path) == []
    with pytest.raises(Superseded):
        put(partial, piece, BODY, 10)
    partial.release(piece)
    assert (partial.version, partial.size, partial.position) == (None, None, 0)
    again = begun(partial, V2)
    assert again.end == 1000
    partial.release(again)
    partial.forget()


def test_a_wrong_digest_is_told(directory: Directory) -> None:
    """All bytes are checked with the digests of the first response, in whatever order they came."""
    partial = opened(directory)
    piece = begun(partial, md5=hashlib.md5(OTHER, usedforsecurity=False).digest())
    put(partial, piece, BODY)
    partial.release(piece)
    with pytest.raises(TransferError, match="md5"):
        partial.digest()
    partial.forget()


@pytest.mark.parametrize("seed", range(4))
def test_pieces_in_any_order(
    directory: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Pieces in any order, some of them given up, make the exact object and its SHA-256."""
    monkeypatch.setattr(hashing, "BLOCK", 1 << 12)
    monkeypatch.setattr(module, "LARGE", 1 << 18)
    monkeypatch.setattr(module, "FIRST_CHECKPOINT", 1 << 12)
    chance, body = random.Random(seed), random.Random(3).randbytes(1 << 18)
    md5 = hashlib.md5(body, usedforsecurity=False).digest()
    partial, buffer = opened(directory), memoryview(bytearray(1 << 12))
    partial.release(begun(partial, Version('"v1"', len(body)), 1 << 14, md5))
    under_way: list[Piece] = []
    for _ in range(300):
        if len(under_way) < 8 and (piece := partial.claim(chance.randrange(1, 1 << 14))):
            under_way.append(piece)
        if under_way:
            piece = under_way.pop(chance.randrange(len(under_way)))
            put(partial, piece, body, min(chance.randrange(9000), piece.end - piece.position))
            if piece.position == piece.end:
                partial.extend(piece, 1 << 12)
            if piece.position < piece.end and chance.random() < 0.9:
                under_way.append(piece)
            else:
                partial.release(piece)
        if chance.random() < 0.3:
            partial.hashing.catch_up(buffer)
    for piece in under_way:
        partial.release(piece)
    filled(partial, body)
    assert (partial.complete, partial.position) == (True, len(body))
    assert partial.digest() == hashlib.sha256(body).hexdigest()
    assert placed(partial, tmp_path) == body


def test_a_hash_that_cannot_follow_is_made_up_for(
    directory: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read error while hashing is raised by `digest`, or not if it has passed."""
    real, failing = os.preadv, [True]

    def sick(*arguments: Any) -> int:
        if failing[0]:
            raise OSError(errno.EIO, "sick")
        return real(*arguments)

    monkeypatch.setattr(os, "preadv", sick)
    partial = opened(directory)
    piece, second = begun(partial, most=500), claimed(partial)
    put(partial, second, BODY)
    put(partial, piece, BODY)
    partial.release(piece)
    partial.release(second)
    with pytest.raises(OSError, match="sick"):
        partial.digest()
    failing[0] = False
    assert partial.digest() == SHA256
    assert placed(partial, tmp_path) == BODY


# Left by one run, and resumed by another.


def left(
    directory: Directory, count: int, *, version: Version = V1, md5: bytes | None = None
) -> None:
    """Receive so many bytes, and suspend as after SIGTERM."""
    partial = opened(directory)
    piece = begun(partial, version, md5=md5)
    put(partial, piece, BODY, count)
    partial.release(piece)
    partial.suspend()


def test_a_parked_part_goes_on(directory: Directory, tmp_path: Path) -> None:
    """The next run has bytes, version, digests, and the SHA-256 of the earlier bytes."""
    expected = hashlib.md5(BODY, usedforsecurity=False).digest()
    left(directory, 300, md5=expected)
    assert len(names(tmp_path)) == 2
    partial = opened(directory)
    assert (partial.version, partial.position, partial.unclaimed) == (V1, 300, 700)
    piece = claimed(partial)
    assert (piece.start, piece.end) == (300, 1000)
    put(partial, piece, BODY)
    partial.release(piece)
    assert partial.digest() == SHA256
    assert placed(partial, tmp_path) == BODY
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("version", "count"),
    [(Version(None, 1000), 300), (Version('"v1"', None), 300), (V1, 0)],
)
def test_what_cannot_be_resumed_is_not_left(
    directory: Directory, tmp_path: Path, version: Version, count: int
) -> None:
    """Without a validator, a size or a byte no part is left."""
    left(directory, count, version=version)
    assert names(tmp_path) == []
    assert opened(directory).version is None


def test_a_complete_part_has_to_be_confirmed(directory: Directory, tmp_path: Path) -> None:
    """Its last byte is requested again, so that a changed object is noticed."""
    left(directory, 1000)
    partial = opened(directory)
    piece = claimed(partial)
    assert (piece.start, piece.end, partial.complete) == (999, 1000, False)
    put(partial, piece, BODY)
    partial.release(piece)
    assert partial.digest() == SHA256
    assert placed(partial, tmp_path) == BODY


def test_a_part_whose_move_failed_on_a_full_disk_is_left(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last bytes cannot make room for a checkpoint: it is closed."""
    partial = opened(directory)
    piece = begun(partial)
    put(partial, piece, BODY)
    partial.release(piece)
    partial.digest()
    partial.seal()

    def full(self: CheckpointFile) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(CheckpointFile, "save", full)
    partial.suspend()


def test_a_part_whose_move_failed_goes_on(directory: Directory, tmp_path: Path) -> None:
    """A sealed part that could not be moved is suspended complete."""
    partial = opened(directory)
    filled_piece = begun(partial)
    put(partial, filled_piece, BODY)
    partial.release(filled_piece)
    assert partial.digest() == SHA256
    partial.seal()
    partial.suspend()
    again = opened(directory)
    assert again.position == 999
    again.forget()


def killed(directory: Directory, pieces: list[tuple[int, int]], most: int) -> Part:
    """Write pieces of a part in this order, and do not suspend it."""
    partial = opened(directory)
    open_pieces = [begun(partial, most=most)]
    while (piece := partial.claim(most)) is not None:
        open_pieces.append(piece)
    for number, count in pieces:
        put(partial, open_pieces[number], BODY, count)
    return partial


def abandon(partial: Part) -> None:
    """Close the files that a killed process would have closed."""
    partial.partial._close()


@pytest.mark.parametrize(
    ("pieces", "most"), [([(0, 123), (0, 456)], 1 << 30), ([(3, 100), (0, 50)], 250)]
)
def test_what_was_written_down_outlives_a_kill(
    directory: Directory, pieces: list[tuple[int, int]], most: int
) -> None:
    """After a kill exactly the bytes of the last checkpoint count."""
    partial = killed(directory, pieces, most)
    partial.checkpoint(sync=False)
    counted = sum(count for _, count in pieces)
    with suppress(StopIteration):
        put(
            partial,
            next(one for one in partial.claims.under_way if one.position < one.end),
            BODY,
            10,
        )
    abandon(partial)
    again = opened(directory)
    assert again.position == counted
    filled(again, BODY)
    assert again.digest() == SHA256
    again.forget()


def test_a_large_part_is_written_down_as_it_grows(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between two timed checkpoints costs at most a fifth of the bytes."""
    monkeypatch.setattr(module, "FIRST_CHECKPOINT", 100)
    partial = opened(directory)
    piece = begun(partial)
    for _ in range(45):
        put(partial, piece, BODY, 10)
    abandon(partial)
    again = opened(directory)
    assert again.position == 440
    again.forget()


def test_nothing_is_written_down_while_nothing_is_there(
    directory: Directory, tmp_path: Path
) -> None:
    """A part without bytes has no checkpoint."""
    partial = opened(directory)
    piece = begun(partial)
    partial.checkpoint(sync=True)
    assert names(tmp_path) == [partial.part_name]
    partial.release(piece)
    partial.forget()


DAMAGE = {
    "first bit": (0, b"\1"),
    "a bit": (150, b"\1"),
    "last bit": (299, b"\x80"),
    "a hole": (100, None),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_between_two_runs_is_fetched_again(
    directory: Directory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
) -> None:
    """A flipped bit or a hole costs its block, and never gives a wrong byte."""
    monkeypatch.setattr(sums, "_BLOCK", 100)
    left(directory, 300)
    (path,) = tmp_path.glob("*.part")
    at, mask = DAMAGE[damage]
    body = bytearray(path.read_bytes())
    if mask is None:
        body[at : at + 100] = bytes(100)
    else:
        body[at] ^= mask[0]
    path.write_bytes(body)
    again = opened(directory)
    assert again.position == 200
    filled(again, BODY)
    assert again.digest() == SHA256
    assert placed(again, tmp_path) == BODY
    assert names(tmp_path) == []


def test_a_damaged_checkpoint_is_as_none(directory: Directory, tmp_path: Path) -> None:
    """A damaged digest in a checkpoint does not fail the right bytes."""
    left(directory, 300, md5=hashlib.md5(BODY).digest())
    (path,) = tmp_path.glob("*.json")
    text = bytearray(path.read_bytes())
    text[text.index(b'"md5": "') + 8] ^= 1
    path.write_bytes(text)
    assert opened(directory).version is None
    assert names(tmp_path) == []


@pytest.mark.parametrize("right", [True, False])
def test_a_digest_that_comes_late_is_checked(directory: Directory, right: bool) -> None:
    """A digest that only a later response has is checked for the whole object."""
    left(directory, 300)
    partial = opened(directory)
    piece = claimed(partial)
    partial.expect(V2, {"md5": bytes(16)})  # of a version that was dropped meanwhile
    partial.expect(V1, {"md5": hashlib.md5(BODY if right else OTHER).digest()})
    put(partial, piece, BODY, 100)
    partial.release(piece)
    partial.suspend()
    again = opened(directory)
    filled(again, BODY)
    if right:
        assert again.digest() == SHA256
    else:
        with pytest.raises(TransferError, match="md5"):
            again.digest()
    again.forget()


def test_a_digest_that_differs_later_is_a_failure(directory: Directory) -> None:
    """If two responses have different digests, it is an error, even if the bytes fit one."""
    partial = opened(directory)
    piece = begun(partial, md5=hashlib.md5(BODY).digest())
    put(partial, piece, BODY)
    partial.expect(V1, {"md5": hashlib.md5(OTHER).digest()})
    partial.release(piece)
    with pytest.raises(TransferError, match="md5"):
        partial.digest()
    partial.forget()


def test_a_full_disk_keeps_what_it_took(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes before the error count, and later ones are requested again."""
    partial = opened(directory)
    piece = begun(partial)
    partial.checkpoint(sync=False)
    put(partial, piece, BODY, 100)
    real, room = os.pwrite, [50]

    def limited(descriptor: int, data: Any, at: int) -> int:
        count = room.pop() if room else 0
        if not count:
            raise OSError(errno.ENOSPC, "full")
        return real(descriptor, data[:count], at)

    monkeypatch.setattr(os, "pwrite", limited)
    with pytest.raises(OSError, match="full"):
        put(partial, piece, BODY, 200)
    partial.release(piece)
    assert partial.position == 100
    partial.suspend()
    monkeypatch.setattr(os, "pwrite", real)
    again = opened(directory)
    assert again.position >= 100
    filled(again, BODY)
    assert again.digest() == SHA256
    again.forget()


def test_lost_power_costs_what_had_not_reached_the_disk(
    directory: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes in the checkpoint that did not reach the disk are fetched again."""
    monkeypatch.setattr(sums, "_BLOCK", 100)
    partial = opened(directory)
    piece = begun(partial)
    put(partial, piece, BODY, 200)
    partial.checkpoint(sync=True)
    put(partial, piece, BODY, 300)
    partial.checkpoint(sync=False)
    part = tmp_path / partial.part_name
    abandon(partial)
    part.write_bytes(BODY[:200] + bytes(300))
    again = opened(directory)
    assert again.position == 200
    filled(again, BODY)
    assert again.digest() == SHA256
    assert placed(again, tmp_path) == BODY


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("synced", [0, 300])
@pytest.mark.parametrize("suspended", [False, True])
def test_a_failed_sync_costs_what_was_not_synced_before(
    directory: Directory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    synced: int,
    suspended: bool,
) -> None:
    """After a failed sync only bytes of earlier syncs are trusted."""
    partial = opened(directory)
    piece = begun(partial)
    put(partial, piece, BODY, synced)
    partial.checkpoint(sync=True)
    put(partial, piece, BODY)
    partial.checkpoint(sync=False)
    partial.release(piece)

    def full(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=os.strerror(number)):
            partial.checkpoint(sync=True) if suspended else partial.seal()
        if suspended:
            partial.suspend()
    again = opened(directory)
    assert again.position == synced
    again.suspend()
    if not synced:
        assert names(tmp_path) == []


@pytest.mark.parametrize("synced", [0, 300])
@pytest.mark.parametrize("goes_on", [False, True])
def test_a_kill_after_a_failed_sync_costs_what_was_not_synced_before(
    directory: Directory, monkeypatch: pytest.MonkeyPatch, synced: int, goes_on: bool
) -> None:
    """No checkpoint vouches for bytes whose sync failed, though they can still be read."""
    partial = opened(directory)
    piece = begun(partial)
    put(partial, piece, BODY, synced)
    partial.checkpoint(sync=True)
    put(partial, piece, BODY, 600)
    partial.checkpoint(sync=False)

    def sick(descriptor: int) -> None:
        raise OSError(errno.EIO, "sick")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", sick)
        with pytest.raises(OSError, match="sick"):
            partial.checkpoint(sync=True)
    if goes_on:
        put(partial, piece, BODY)
        partial.checkpoint(sync=False)
    again = opened(directory)
    assert again.position == synced
    again.suspend()
    partial.forget()


def test_bytes_are_synced_before_the_checkpoint_that_speaks_of_them(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes are synced before their checkpoint, or lost power would cost all."""
    partial = opened(directory)
    piece = begun(partial)
    put(partial, piece, BODY, 300)
    order: list[str] = []
    real = files.write_file

    def write(folder: Directory, name: str, data: bytes, *, sync: bool) -> None:
        order.append(f"{name.partition('.')[2]} {sync}")
        real(folder, name, data, sync=False)

    monkeypatch.setattr(os, "fsync", lambda descriptor: order.append("fsync"))
    monkeypatch.setattr(checkpoint, "write_file", write)
    partial.checkpoint(sync=False)
    partial.checkpoint(sync=False)
    partial.checkpoint(sync=True)
    assert order == ["json False", "fsync", "json True"]
    partial.release(piece)
    partial.forget()


@pytest.mark.parametrize("length", [1001, 5000])
def test_a_part_longer_than_its_object_is_not_ours(
    directory: Directory, tmp_path: Path, length: int
) -> None:
    """A part with appended bytes is never put in place, and is replaced by the next run."""
    left(directory, 1000)
    (part,) = tmp_path.glob("*.part")
    part.write_bytes(BODY + bytes(length - 1000))
    partial = opened(directory)
    if partial.version is None:
        partial.release(begun(partial))
    filled(partial, BODY)
    assert partial.digest() == SHA256
    assert placed(partial, tmp_path) == BODY


def test_a_part_that_others_change_is_not_sealed(directory: Directory, tmp_path: Path) -> None:
    """A part whose length is not the object's is refused."""
    partial = opened(directory)
    piece = begun(partial)
    put(partial, piece, BODY)
    partial.release(piece)
    assert partial.digest() == SHA256
    with (tmp_path / partial.part_name).open("ab") as file:
        file.write(b"more")
    with pytest.raises(LocalError, match="changed by another program"):
        partial.seal()
    partial.forget()


# The parts of a folder.


def test_each_key_has_its_own_part(directory: Directory, tmp_path: Path) -> None:
    """Parts are found by their key, and other files are not touched."""
    foreign = ["x", "key-", "key.part", "a-b-c", ".part", "-.json", "key-1.part.bak", "readme.json"]
    for name in foreign:
        (tmp_path / name).write_bytes(b"foreign")
    store = PartialStore(directory)
    for at, key in enumerate(("key", "key2")):
        partial = Part(store.open(key))
        piece = begun(partial)
        put(partial, piece, BODY, 100 + at)
        partial.release(piece)
        partial.suspend()
    assert opened(directory, "key3").version is None
    again = PartialStore(directory)
    found = [Part(again.open(key)) for key in ("key2", "key", "key")]
    assert [partial.position for partial in found] == [101, 100, 0]
    for partial in found:
        partial.forget()
    assert names(tmp_path) == sorted(foreign)


def test_only_what_is_named_so_is_removed(directory: Directory, tmp_path: Path) -> None:
    """`clear` removes the parts with this prefix that were not opened, and no other file."""
    others = ["notes.txt", ".other-key-1.part", "key.json.new"]
    for name in others:
        (tmp_path / name).write_bytes(b"foreign")
    for suffix in ("part", "json", "json.new"):
        (tmp_path / f".p-key-0a.{suffix}").write_bytes(b"old")
    PartialStore(directory, ".p-").clear()
    assert names(tmp_path) == sorted(others)


LITTER = [
    ("j", ["json"]),
    ("p", ["part"]),
    ("n", ["json.new"]),
    ("all", ["part", "json", "json.new"]),
]


@pytest.mark.parametrize(("name", "suffixes"), LITTER)
@pytest.mark.parametrize("first", [True, False])
def test_a_part_is_found_among_litter(
    directory: Directory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    suffixes: list[str],
    first: bool,
) -> None:
    """Files of kills in the middle of a rename are removed when the part is complete."""
    left(directory, 300)
    (state,) = tmp_path.glob("*.json")
    for suffix in suffixes:
        (tmp_path / f"key-{name}.{suffix}").write_bytes(state.read_bytes())
    listed = sorted(names(tmp_path), key=lambda one: one.startswith(f"key-{name}.") is not first)
    monkeypatch.setattr(Directory, "listdir", lambda _: listed)
    partial = opened(directory)
    if "all" not in name:
        assert partial.position == 300
    if partial.version is None:
        partial.release(begun(partial))
    filled(partial, BODY)
    if name != "all":
        assert partial.digest() == SHA256
    placed(partial, tmp_path)
    assert names(tmp_path) == []


BAD: list[tuple[str, bytes | None, bytes | None]] = [
    ("empty checkpoint", b"", BODY[:300]),
    ("torn checkpoint", b'{"schema_version": 2', BODY[:300]),
    ("deep checkpoint", b"[" * 100_000, BODY[:300]),
    ("no checkpoint", None, BODY[:300]),
    ("another kind", b"[]", BODY[:300]),
    ("an older schema", b'{"schema_version": 0}', BODY[:300]),
    ("no part", b"good", None),
    ("an empty part", b"good", b""),
]


@pytest.mark.parametrize(("what", "state", "part"), BAD)
def test_what_cannot_be_trusted_is_dropped(
    directory: Directory, tmp_path: Path, what: str, state: bytes | None, part: bytes | None
) -> None:
    """A damaged or foreign part is ignored and removed."""
    left(directory, 300)
    (json_path,), (part_path,) = tmp_path.glob("*.json"), tmp_path.glob("*.part")
    for path, content in ((json_path, state), (part_path, part)):
        if content is None:
            path.unlink()
        elif content != b"good":
            path.write_bytes(content)
    partial = opened(directory)
    assert partial.position == 0
    if partial.version is None:
        assert names(tmp_path) == []
        partial.release(begun(partial))
    filled(partial, BODY)
    assert partial.digest() == SHA256
    assert placed(partial, tmp_path) == BODY
    assert names(tmp_path) == []


@pytest.mark.parametrize("suffix", ["part", "json"])
def test_links_are_not_followed(directory: Directory, tmp_path: Path, suffix: str) -> None:
    """A symlink in a part's place does not lead to bytes outside."""
    left(directory, 300)
    (one,) = tmp_path.glob(f"*.{suffix}")
    outside = tmp_path.parent / f"outside-{tmp_path.name}"
    one.rename(outside)
    one.symlink_to(outside)
    before = outside.read_bytes()
    partial = opened(directory)
    assert partial.version is None
    assert names(tmp_path) == []
    assert outside.read_bytes() == before


def test_two_runs_cannot_share_a_part(directory: Directory, tmp_path: Path) -> None:
    """Of two runs without locks only one gets the part."""
    for _ in range(20):
        left(directory, 300)
        stores = [PartialStore(directory) for _ in range(4)]
        for store in stores:
            store._stems()
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda store: Part(store.open("key")), stores))
        assert len({partial.stem for partial in found}) == 4
        assert sum(partial.position == 300 for partial in found) <= 1
        for partial in found:
            if partial.version is None:
                partial.release(begun(partial))
            filled(partial, BODY)
            assert partial.digest() == SHA256
        for partial in found:
            assert placed(partial, tmp_path) == BODY
        assert names(tmp_path) == []


# Any order of events in the life of a part.


def reading(body: bytes) -> sums.Read:
    """Return a function that reads from bytes as from a file."""

    def read(buffer: memoryview, offset: int) -> int:
        data = body[offset : offset + len(buffer)]
        buffer[: len(data)] = data
        return len(data)

    return read


class Lives(RuleBasedStateMachine):
    """A part through several runs; after each step a new run would trust only true bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(sums, "_BLOCK", 64)
        self.patch.setattr(module, "FIRST_CHECKPOINT", 150)
        self.patch.setattr(hashing, "_HAND_OVER", 100)
        self.fsync = os.fsync
        self.patch.setattr(os, "fsync", self._synced)
        self.durable: dict[int, bytes] = {}

    def _synced(self, descriptor: int) -> None:
        with suppress(OSError):  # an open checkpoint is only being written
            self.durable[os.fstat(descriptor).st_ino] = os.pread(descriptor, 1 << 20, 0)

    @initialize()
    def begin(self) -> None:
        """Open an empty folder."""
        self.patch.setattr(module, "LARGE", 0)
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.directory = open_root(self.folder.name)
        self.bodies: dict[str, bytes] = {}
        self._open()

    def _open(self) -> None:
        self.partial = opened(self.directory)
        self.pieces: list[Piece] = []

    @property
    def body(self) -> bytes:
        """The bytes of the version that is being fetched."""
        version = self.partial.version
        assert version is not None
        return self.bodies[version.validator or ""]

    @rule(most=st.integers(1, 400))
    def claim(self, most: int) -> None:
        """Another connection claims a piece; the first response begins a version."""
        if self.partial.version is None and self.pieces:
            return
        piece = self.partial.claim(most)
        if piece is not None:
            self.pieces.append(piece)
            if self.partial.version is None:
                self._restart(piece, most)

    def _restart(self, piece: Piece, most: int) -> None:
        validator = f'"{len(self.bodies)}"'
        body = self.bodies[validator] = random.Random(validator).randbytes(600)
        self.partial.restart(piece, Version(validator, len(body)), {}, most)
        self.partial.checkpoint(sync=False)

    @precondition(lambda self: self.pieces)
    @rule(at=st.integers(0, 9), count=st.integers(1, 200))
    def write(self, at: int, count: int) -> None:
        """Bytes of one piece arrive."""
        if self.partial.version is None:
            return
        piece = self.pieces[at % len(self.pieces)]
        count = min(count, piece.end - piece.position)
        with suppress(Superseded):
            put(self.partial, piece, self.body, count)

    @precondition(lambda self: self.pieces)
    @rule(at=st.integers(0, 9), most=st.integers(1, 200))
    def extend(self, at: int, most: int) -> None:
        """A piece grows into the free span after it."""
        piece = self.pieces[at % len(self.pieces)]
        if piece.position == piece.end:
            self.partial.extend(piece, most)

    @precondition(lambda self: self.pieces)
    @rule(at=st.integers(0, 9))
    def release(self, at: int) -> None:
        """A connection ends."""
        self.partial.release(self.pieces.pop(at % len(self.pieces)))

    @precondition(lambda self: self.pieces)
    @rule(at=st.integers(0, 9), most=st.integers(1, 400))
    def change(self, at: int, most: int) -> None:
        """A response shows another version of the object."""
        with suppress(Superseded):
            self._restart(self.pieces[at % len(self.pieces)], most)

    @rule(sync=st.booleans())
    def checkpoint(self, sync: bool) -> None:
        """The timer writes a checkpoint."""
        self.partial.checkpoint(sync=sync)

    @rule(count=st.integers(1, 200))
    def catch_up(self, count: int) -> None:
        """The thread that hashes beside the writer reads bytes back."""
        if self.partial.hashing is not None:
            self.partial.hashing.catch_up(memoryview(bytearray(count)))

    @rule()
    def forget(self) -> None:
        """All bytes are dropped."""
        self.partial.forget()

    def _end(self) -> None:
        for piece in self.pieces:
            self.partial.release(piece)

    @rule()
    def suspend(self) -> None:
        """A signal ends the run, and another one begins."""
        self._end()
        self.partial.suspend()
        self._open()

    @rule()
    def kill(self) -> None:
        """The run is killed, and another one begins."""
        abandon(self.partial)
        self._open()

    @rule()
    def lose_power(self) -> None:
        """All bytes that were not synced turn to noise, and the machine starts again."""
        abandon(self.partial)
        for path in self.path.glob("*.part"):
            safe = self.durable.get(path.stat().st_ino, b"")
            body = path.read_bytes()
            path.write_bytes(safe + bytes(len(body) - len(safe)) if len(body) > len(safe) else safe)
        self._open()

    @rule()
    def finish(self) -> None:
        """All missing bytes are fetched, and the file is put in place."""
        self._end()
        if self.partial.version is None:
            piece = claimed(self.partial)
            self._restart(piece, 100)
            self.partial.release(piece)
        body = self.body
        filled(self.partial, body)
        assert self.partial.digest() == hashlib.sha256(body).hexdigest()
        assert placed(self.partial, self.path) == body
        assert names(self.path) == []
        self._open()

    @invariant()
    def what_a_new_run_would_trust_is_true(self) -> None:
        """Each trusted byte is on disk, and of the version in the checkpoint."""
        for path in self.path.glob("*.json"):
            state = Checkpoint.from_bytes(path.read_bytes())
            body = self.bodies[state.version.validator or ""]
            part = path.with_suffix(".part")
            held = part.read_bytes() if part.exists() else b""
            known = sums.Sums(len(body), state.sums).verified(reading(held))
            for start, end in known.spans:
                assert held[start:end] == body[start:end]

    def teardown(self) -> None:
        """Close everything."""
        abandon(self.partial)
        self.directory.close()
        self.folder.cleanup()
        self.patch.undo()


def test_any_order_of_events_leaves_true_bytes() -> None:
    """Claims, writes, changes, kills and lost power in any order leave true bytes."""
    run_state_machine_as_test(
        Lives,
        settings=settings(max_examples=60 * MORE, stateful_step_count=30),
    )


@pytest.mark.parametrize("missing", [(), ("pwrite", "preadv")])
def test_bytes_are_put_at_their_offsets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...]
) -> None:
    """Bytes are written at offsets by several threads, also without `pwrite`."""
    for name in missing:
        monkeypatch.delattr(os, name)
    descriptor = os.open(tmp_path / "part", os.O_RDWR | os.O_CREAT)
    pieces = {at: bytes([at]) * 1000 for at in range(50)}

    def put(at: int) -> None:
        assert write_at(descriptor, memoryview(pieces[at]), at * 1000) == 1000

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, pieces))
    for at, piece in pieces.items():
        buffer = memoryview(bytearray(1000))
        assert (read_at(descriptor, buffer, at * 1000), bytes(buffer)) == (1000, piece)
    os.close(descriptor)
