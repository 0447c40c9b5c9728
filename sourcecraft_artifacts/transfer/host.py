"""What the transfer of one artifact needs from the scheduler that it is part of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..http.storage import Connections
from .links import Links
from .meter import Meter
from .writer import Writer

if TYPE_CHECKING:
    from .transfer import Transfer


class Host(Protocol):
    """The scheduler, as a transfer knows it; for the loop's thread alone."""

    net: Connections
    meter: Meter
    links: Links
    writer: Writer

    def shares(self, transfer: Transfer) -> None:
        """Note that several connections may fetch it."""

    def changed(self) -> None:
        """Note that there may be pieces to claim."""

    def retrying(self, transfer: Transfer, reason: str, delay: float) -> None:
        """Note that a request will be repeated after `delay` seconds."""
