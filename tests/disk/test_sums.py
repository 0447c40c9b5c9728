"""The checksums by which a later run verifies the bytes of a part."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcecraft_artifacts.disk import sums as module
from sourcecraft_artifacts.disk.spans import Span, added, gaps
from sourcecraft_artifacts.disk.sums import Read, Sums

BLOCK = 64
BODY = random.Random(1).randbytes(10 * BLOCK + 7)
SIZE = len(BODY)
ALL = 1 << 40


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use small blocks, read in smaller pieces."""
    monkeypatch.setattr(module, "_BLOCK", BLOCK)
    monkeypatch.setattr(module, "_BUFFER", 10)


def reading(body: bytes) -> Read:
    """Return a function that reads from bytes as from a file."""

    def read(buffer: memoryview, offset: int) -> int:
        data = body[offset : offset + len(buffer)]
        buffer[: len(data)] = data
        return len(data)

    return read


def no_bytes(buffer: memoryview, offset: int) -> int:
    """Fail, as nothing has to be read."""
    raise AssertionError(f"{len(buffer)} bytes at {offset} were read")


def learnt(*done: Span, body: bytes = BODY) -> Sums:
    """Return the checksums of spans that were added one after the other."""
    sums, so_far = Sums(SIZE), list[Span]()
    for span in done:
        so_far = sorted([*so_far, span])
        sums.learn(reading(body), so_far, ALL)
    return sums


def test_each_block_has_its_own() -> None:
    """Bytes added to a block extend its checksum; the next block has its own."""
    sums = learnt((0, 10), (10, 50), (50, 100), (200, 210))
    assert [(start, end) for start, end, _ in sums] == [(0, 64), (64, 100), (192 + 8, 210)]
    assert all(crc == zlib.crc32(BODY[start:end]) for start, end, crc in sums)


def test_no_byte_is_read_twice() -> None:
    """Each checkpoint reads only bytes that were added since the last one."""
    counted = []

    def read(buffer: memoryview, offset: int) -> int:
        counted.append(count := reading(BODY)(buffer, offset))
        return count

    sums = Sums(SIZE)
    for end in range(1, SIZE + 1, 13):
        sums.learn(read, [(0, end)], ALL)
    assert sum(counted) == end
    assert len(list(sums)) == -(-end // BLOCK)


def test_so_many_at_once() -> None:
    """Bytes above the limit are left to the next checkpoint."""
    sums = Sums(SIZE)
    sums.learn(reading(BODY), [(0, 500)], 100)
    assert sums.spans == [(0, 100)]
    sums.learn(reading(BODY), [(0, 500)], 1000)
    assert sums.spans == [(0, 500)]


@pytest.mark.parametrize("size", [1, 1 << 20, 1 << 40])
def test_their_number_is_bounded(size: int) -> None:
    """A huge object has larger blocks, so that its checkpoint stays small."""
    assert size <= Sums(size)._block * 1024


@given(st.integers(0, 8 * SIZE - 1))
def test_a_flipped_bit_costs_its_block(at: int) -> None:
    """A flipped bit drops only its block."""
    damaged = bytearray(BODY)
    damaged[at // 8] ^= 1 << at % 8
    block = at // 8 // BLOCK
    kept = learnt((0, SIZE)).verified(reading(bytes(damaged))).spans
    assert gaps(kept, SIZE) == [(block * BLOCK, min(SIZE, (block + 1) * BLOCK))]


def test_what_is_lost_is_not_vouched_for() -> None:
    """Bytes in a hole, beyond the end or unreadable are dropped."""
    sums = learnt((0, SIZE))
    holed = BODY[:70] + bytes(20) + BODY[90:]
    assert gaps(sums.verified(reading(holed)).spans, SIZE) == [(64, 128)]
    assert sums.verified(reading(BODY[:100])).spans == [(0, 64)]

    def sick(buffer: memoryview, offset: int) -> int:
        if offset >= BLOCK:
            raise OSError("sick")
        return reading(BODY)(buffer, offset)

    assert sums.verified(sick).spans == [(0, 64)]
    assert not sums.verified(reading(b""))


@given(st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, 200), st.booleans())))
def test_any_order_of_spans(claims: list[tuple[int, int, bool]]) -> None:
    """Spans in any order, in memory or read, are covered exactly, and verify."""
    sums = Sums(SIZE)
    done: list[Span] = []
    for start, count, in_memory in claims:
        for span in gaps(done, SIZE):
            one = max(start, span[0]), min(start + count, span[1])
            if one[0] < one[1]:
                done = added(done, one)
                if in_memory:
                    sums.add(memoryview(BODY)[slice(*one)], one[0])
        sums.learn(no_bytes if in_memory else reading(BODY), done, ALL)
        assert sums.spans == done
    assert list(sums.verified(reading(BODY))) == list(sums)
    assert all(start // BLOCK == (end - 1) // BLOCK for start, end, _ in sums)
