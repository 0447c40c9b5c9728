"""The requests and responses of API and storage, independent of sockets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .content import Chunk

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Request:
    """One request; `target` is the raw path and query, `headers` have lower-case names."""

    method: str
    target: str
    headers: Mapping[str, str]
    keep_alive: bool = True

    @property
    def path(self) -> str:
        """The raw path, still percent-encoded."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The raw query without its question mark."""
        return self.target.partition("?")[2]


@dataclass(frozen=True)
class Reply:
    """One response; `length` is the size of the body in bytes."""

    status: int
    headers: Headers
    body: Iterable[Chunk]
    length: int


def text_reply(status: int, media_type: str, text: str, headers: Headers = ()) -> Reply:
    """Return a reply whose body is a short text."""
    body = text.encode()
    return Reply(status, (("Content-Type", media_type), *headers), (body,), len(body))
