"""What the transfer of one artifact needs from the run that it is part of."""

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
    """The run that a transfer is part of, in the loop's thread."""

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
