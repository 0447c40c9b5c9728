"""The head of one response, from whose connection its body is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .targets import target_secrets
from .wire import Head

if TYPE_CHECKING:
    from .connection import Connection


class Response:
    """One response of the storage; `length` is its body's size in bytes, None if unknown.

    `headers` have lower-case names; repeated ones are joined by commas. Its body is read from
    its `connection`.
    """

    def __init__(self, connection: Connection, head: Head, target: str, waited: float) -> None:
        self.status = head.status
        self.length = head.length
        self.headers: Mapping[str, str] = head.headers
        self.connection = connection
        self.waited = waited
        """How many seconds it came after its request."""
        self.start = b""
        """The beginning of the body of an error."""
        self._target = target

    @property
    def secrets(self) -> list[str]:
        """The parts of the requested URL that may be secret, which no message may show."""
        return target_secrets(self._target)

    def text(self) -> str:
        """Return the beginning of an error's body, for a message."""
        return self.start.decode("utf-8", "replace")
