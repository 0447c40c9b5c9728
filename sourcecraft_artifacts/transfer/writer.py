"""The thread that writes received bytes to disk and hashes them in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ..disk.partial import BLOCK, Partial
from ..http.blocks import Blocks
from .crew import Crew


@dataclass(slots=True)
class Order:
    """A task for partial data; `failed` is called with an error, in the loop's thread."""

    do: Callable[[], object]
    failed: Callable[[Exception], None]
    block: memoryview | None = None
    """A block that is given back afterwards."""
    partial: Partial | None = None
    """Partial data to hash later, when there is nothing else to do."""


class Writer:
    """Carries out orders, one after the other, in a thread of its own.

    Orders are collected and passed on by `flush` at the end of each round of the loop, because
    waking a thread takes as long as writing a small file. `post` makes the loop's thread call a
    function; `after` is called after the orders that were passed on together.
    """

    def __init__(
        self,
        blocks: Blocks,
        post: Callable[[Callable[[], None]], None],
        after: Callable[[], None],
    ) -> None:
        self._blocks = blocks
        self._post = post
        self._after = after
        self._orders: list[Order] = []
        self._crew: Crew[Order] = Crew("writer", 1, self._work, batch=2)
        self._behind: set[Partial] = set()
        self._buffer: memoryview | None = None

    def put(self, order: Order) -> None:
        """Add an order; for the loop's thread."""
        self._orders.append(order)

    def flush(self) -> None:
        """Pass on the orders that were added."""
        if self._orders:
            orders, self._orders = self._orders, []
            self._crew.put(orders)

    def close(self, deadline: float | None = None) -> None:
        """Finish all orders and end; return by `deadline`, in monotonic seconds, in any case."""
        self._crew.close(deadline)

    def _work(self, orders: Sequence[Order]) -> None:
        for order in orders:
            try:
                order.do()
            except Exception as error:
                self._tell(order.failed, error)
            if order.block is not None:
                self._blocks.give(order.block)
            if order.partial is not None and order.partial.is_large:
                self._behind.add(order.partial)
        self._after()
        while self._behind and not self._crew.waiting:
            self._catch_up(next(iter(self._behind)))

    def _tell(self, failed: Callable[[Exception], None], error: Exception) -> None:
        self._post(lambda: failed(error))

    def _catch_up(self, partial: Partial) -> None:
        """Hash some of the bytes that are next in order."""
        self._buffer = self._buffer or memoryview(bytearray(BLOCK))
        more = False
        with suppress(OSError):  # `digest` reads again, and gets the error
            more = partial.catch_up(self._buffer)
        if not more:
            self._behind.discard(partial)

    def leave(self, partial: Partial) -> None:
        """Stop using partial data that another thread uses from now on; called by an order."""
        self._behind.discard(partial)
