"""The blocks that carry bytes from the network to the disk."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sourcecraft_artifacts.http.blocks import Blocks
from sourcecraft_artifacts.http.waits import Gate


def test_a_block_that_nobody_waits_for_wakes_nobody() -> None:
    """The loop has other work than to look at blocks that it will ask for anyway."""
    posts: list[Callable[[], None]] = []
    blocks = Blocks(1, posts.append)
    for _ in range(2):
        block = blocks.spare()
        assert block is not None
        blocks.give(block)
    assert posts == []


def test_a_block_goes_to_the_one_who_waits() -> None:
    """Whoever asked in vain is woken once when a block is given back."""
    posts: list[Callable[[], None]] = []
    blocks = Blocks(1, posts.append)
    block = blocks.spare()
    assert block is not None
    waiting, got = blocks.take(), []
    gate = next(waiting)
    assert isinstance(gate, Gate)

    def go_on() -> None:
        with pytest.raises(StopIteration) as ended:
            next(waiting)
        got.append(ended.value.value)

    gate.waiting.append(go_on)
    blocks.give(block)
    posts.pop()()
    assert got == [block]
    blocks.give(block)
    assert posts == []
