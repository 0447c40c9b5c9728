"""What the transfer of one artifact needs from the run that it is part of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ..http.storage import Connections
from ..http.waits import Steps
from ..models import Artifact
from .meter import Meter

if TYPE_CHECKING:
    from .attempt import Attempt
    from .transfer import Transfer


class Host(Protocol):
    """The run that a transfer is part of, in the loop's thread."""

    net: Connections
    meter: Meter

    def write(
        self, attempt: Attempt, do: Callable[[], object], block: memoryview | None = None
    ) -> None:
        """Pass an order to the writer; an error makes the attempt fail."""

    def listed_anew(
        self, artifact: Artifact, stale: str | None, *, has_begun: bool
    ) -> Steps[Artifact | None]:
        """Return the artifact with a URL newer than `stale`; None if there is none to be had now.

        `has_begun` tells that a URL of it has worked. Raises ArtifactsError.
        """

    def url_works(self, artifact: Artifact, *, is_new: bool) -> None:
        """Note that the storage has accepted its URL; `is_new` tells that it was renewed."""

    def shares(self, transfer: Transfer) -> None:
        """Note that several connections may fetch it."""

    def changed(self) -> None:
        """Note that there may be pieces to claim."""

    def retrying(self, transfer: Transfer, reason: str, delay: float) -> None:
        """Note that a request will be repeated after `delay` seconds."""
