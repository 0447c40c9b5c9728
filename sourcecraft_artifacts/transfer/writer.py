"""The thread that writes received bytes to disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..disk.hashing import Hashing
from ..http.blocks import Blocks
from .crew import Crew
from .hasher import Hasher

if TYPE_CHECKING:
    from .attempt import Attempt

Order = tuple[Callable[[], Hashing | None], "Attempt | None", memoryview | None]
"""A task for partial data, the attempt that fails with it, and a block to give back afterwards.

The task may return what is left to be hashed.
"""


class Writer:
    """Carries out orders, one after the other, in a thread of its own.

    Orders are collected and passed on by `flush` at the end of each round of the loop, because
    waking a thread takes as long as writing a small file. `post` makes the loop's thread call a
    function, as it does with `failed` after an error of an attempt's order; `after` is called after
    the orders that were passed on together; `fail` gets an error that is of no order alone.
    """

    def __init__(
        self,
        blocks: Blocks,
        post: Callable[[Callable[[], None]], None],
        failed: Callable[[Attempt, Exception], None],
        after: Callable[[], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._blocks = blocks
        self._post, self._failed = post, failed
        self._after = after
        self._orders: list[Order] = []
        self._crew: Crew[Order] = Crew("writer", 1, self._work, fail, batch=2)
        self._hasher = Hasher(fail)

    def put(
        self,
        do: Callable[[], Hashing | None],
        attempt: Attempt | None = None,
        block: memoryview | None = None,
    ) -> None:
        """Add an order; for the loop's thread. Without an attempt, an error is ignored."""
        self._orders.append((do, attempt, block))

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
        for do, attempt, block in orders:
            hashing = None
            try:
                hashing = do()
            except Exception as error:
                if attempt is not None:
                    self._tell(attempt, error)
            if block is not None:
                self._blocks.give(block)
            if hashing is not None:
                self._hasher.follow(hashing)
        self._after()

    def _tell(self, attempt: Attempt, error: Exception) -> None:
        self._post(lambda: self._failed(attempt, error))
