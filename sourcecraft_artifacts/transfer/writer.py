"""The thread that writes received bytes to disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..disk.partial import Partial
from ..http.blocks import Blocks
from .crew import Crew
from .hasher import Hasher


class Order:
    """A task for partial data; `failed` is called with an error, in the loop's thread.

    The `block` is given back afterwards, and `partial` data are hashed, if that takes long.
    """

    def __init__(
        self,
        do: Callable[[], object],
        failed: Callable[[Exception], None],
        block: memoryview | None = None,
        partial: Partial | None = None,
    ) -> None:
        self.do, self.failed, self.block, self.partial = do, failed, block, partial


class Writer:
    """Carries out orders, one after the other, in a thread of its own.

    Orders are collected and passed on by `flush` at the end of each round of the loop, because
    waking a thread takes as long as writing a small file. `post` makes the loop's thread call a
    function; `after` is called after the orders that were passed on together; `fail` gets an error
    that is of no order alone.
    """

    def __init__(
        self,
        blocks: Blocks,
        post: Callable[[Callable[[], None]], None],
        after: Callable[[], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._blocks = blocks
        self._post = post
        self._after = after
        self._orders: list[Order] = []
        self._crew: Crew[Order] = Crew("writer", 1, self._work, fail, batch=2)
        self._hasher = Hasher(fail)

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
        self._hasher.close(deadline)

    def _work(self, orders: Sequence[Order]) -> None:
        for order in orders:
            try:
                order.do()
            except Exception as error:
                self._tell(order.failed, error)
            if order.block is not None:
                self._blocks.give(order.block)
            if order.partial is not None and order.partial.is_large:
                self._hasher.follow(order.partial.hashing)
        self._after()

    def _tell(self, failed: Callable[[Exception], None], error: Exception) -> None:
        self._post(lambda: failed(error))
