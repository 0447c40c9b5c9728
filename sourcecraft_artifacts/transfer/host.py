"""What the transfer of one artifact needs from the scheduler that it is part of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ..http.storage import Connections
from .links import Links
from .meter import Meter

if TYPE_CHECKING:
    from .attempt import Attempt
    from .transfer import Transfer


class Host(Protocol):
    """The scheduler, as a transfer knows it; for the loop's thread alone."""

    net: Connections
    meter: Meter
    links: Links

    def write(
        self, attempt: Attempt, do: Callable[[], object], block: memoryview | None = None
    ) -> None:
        """Pass an order to the writer; an error makes the attempt fail."""

    def shares(self, transfer: Transfer) -> None:
        """Note that several connections may fetch it."""

    def changed(self) -> None:
        """Note that there may be pieces to claim."""

    def retrying(self, transfer: Transfer, reason: str, delay: float) -> None:
        """Note that a request will be repeated after `delay` seconds."""
