"""What the API and the storage are given and what they answer, free of sockets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from email.message import Message
from urllib.parse import urlsplit

from .content import Chunk

STORAGE = "/storage/"
"""The path below which everything is storage."""


@dataclass(frozen=True)
class Request:
    """One request as it came: `target` is the raw path and query, `headers` ignore case.

    `client` is the address of the other end: requests of one connection share it.
    """

    method: str
    target: str
    headers: Message
    client: tuple[str, int] = ("", 0)

    @property
    def path(self) -> str:
        """The raw path, still percent-encoded."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The raw query without its question mark."""
        return self.target.partition("?")[2]

    @property
    def is_storage(self) -> bool:
        """Whether the request is for the storage, not the API."""
        return self.target.startswith(STORAGE)

    def header(self, name: str) -> str | None:
        """Return the field `name`, repeated lines joined by commas, or None."""
        lines = self.headers.get_all(name)
        return None if lines is None else ", ".join(str(line).strip() for line in lines)


@dataclass(frozen=True)
class Reply:
    """One answer; `length` is the size of the body in bytes."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: Iterable[Chunk] = field(default=(), repr=False)
    length: int = 0


def whole(status: int, kind: str, body: bytes, *headers: tuple[str, str]) -> Reply:
    """Return a reply with a small `body` of media type `kind`."""
    return Reply(status, (("Content-Type", kind), *headers), (body,), len(body))


def origin_form(target: str) -> str:
    """Return path and query of a request target that may be a whole URL (RFC 9112, 3.2.2)."""
    if not target.startswith(("http://", "https://")):
        return target
    parts = urlsplit(target)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
