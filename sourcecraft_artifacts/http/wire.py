"""Parses HTTP/1.1 responses from bytes as they arrive (RFC 9112), without a socket.

`http.client` parses headers as mail and reads through its own buffer, which for a thousand small
files takes as much CPU time as everything else together. It also guesses if a response is ambiguous
(two lengths, a malformed length, an unknown framing); here such a response is refused.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

MAX_OVERHEAD = 64 * 1024
"""The most bytes of a message outside its body: heads (also 1xx), chunk extensions, trailers."""
_LONGEST_LINE = 4096
"""The most bytes of a chunk's size with its extension, or of one trailer."""
_STATUS_LINE = re.compile(r"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: .*)?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FOLD = re.compile(r"\n[ \t]+")
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})([ \t]*(?:;[^\r\n]*)?)\r?\n")
_LINE = re.compile(rb"([^\n]*)\n")
_LENGTH = re.compile(r"[0-9]{1,18}")


class ProtocolError(Exception):
    """The response is not HTTP/1.1, or its framing is ambiguous."""


class Ended(Exception):
    """The other end closed the connection; `started` tells whether any byte had arrived."""

    def __init__(self, *, started: bool) -> None:
        super().__init__("the connection was closed")
        self.started = started


class Head(NamedTuple):
    """The head of a final response (not 1xx).

    `headers` have lower-case names; repeated ones are joined by commas (RFC 9110, 5.2). `length` is
    the number of bytes of the body, or None if only its end tells that.
    """

    status: int
    headers: dict[str, str]
    length: int | None


Step = Callable[["Parser", memoryview, list["Head | memoryview"]], memoryview | None]
"""A method of the parser that reads what it can from the data, and returns the rest or None."""


class Parser:
    """Parses one response: `feed` it the received bytes, and `close` it when the connection ends.

    `ended` tells that the whole body has arrived; `keeps`, that the connection can then carry
    another request, without stray bytes that would be read as its response. With `tunnel` it is the
    response to CONNECT, which has no body (RFC 9110, 9.3.6).
    """

    __slots__ = (
        "_keeps",
        "_known",
        "_left",
        "_overhead",
        "_pending",
        "_step",
        "_stray",
        "_tunnel",
        "chunked",
        "due",
        "ended",
        "started",
    )

    def __init__(self, *, tunnel: bool = False) -> None:
        self.ended = False
        self.started = False
        self.due = 0
        """How many bytes of the body are certainly still to come; 0 if unknown."""
        self.chunked = False
        """Whether there are other bytes between the pieces of the body (chunks)."""
        self._tunnel = tunnel
        self._keeps = False
        self._stray = False
        self._pending = b""
        """The beginning of an incomplete head or line."""
        self._known = 0
        """How many of the buffered bytes were searched already."""
        self._overhead = 0
        self._left = 0
        """How many bytes of the chunk are still to come."""
        # A plain function, not a bound method: a parser that refers to itself would live until a
        # garbage collection.
        self._step: Step = Parser._head

    @property
    def keeps(self) -> bool:
        """Whether the connection can carry another request."""
        return self._keeps and self.ended and not self._stray

    def skip(self, count: int) -> None:
        """Note that `count` bytes of the body have arrived, at most `due`; they need no parsing."""
        self.due -= count
        self.ended = not self.due

    def feed(self, data: memoryview) -> list[Head | memoryview]:
        """Return the head, once it is complete, and the pieces of the body in the bytes.

        The pieces are views of `data` if possible. Raises `ProtocolError`.
        """
        self.started = True
        if self._pending:
            self._known = len(self._pending)
            data, self._pending = memoryview(self._pending + data), b""
        events: list[Head | memoryview] = []
        while data and not self.ended:
            rest = self._step(self, data, events)
            if rest is None:
                self._pending = bytes(data)
                self._spend(0, len(data))
                break
            data = rest
        self._stray = self._stray or (self.ended and bool(data))
        return events

    def close(self) -> None:
        """Note that the connection has ended. Raises `Ended`, unless that ends the body."""
        if self._step is not Parser._to_the_end and not self.ended:
            raise Ended(started=self.started)
        self.ended = True

    def _spend(self, count: int, waiting: int = 0) -> None:
        self._overhead += count
        if self._overhead + waiting > MAX_OVERHEAD:
            raise ProtocolError(f"it has more than {MAX_OVERHEAD:,} bytes outside its body")

    # The steps: each takes what it can from the data and returns the rest, or None for "more".

    def _head(self, data: memoryview, events: list[Head | memoryview]) -> memoryview | None:
        found = _END_OF_HEAD.search(data, max(0, self._known - 2))
        if found is None:
            return None
        self._known = 0
        self._spend(found.end())
        first, *lines = _lines(str(data[: found.start()], "latin-1"))
        minor, status = _read_status(first)
        if status == 101:
            raise ProtocolError("it switches to another protocol")
        if status >= 200:  # else the final response is still to come
            events.append(self._framed(status, _read_headers(lines), minor))
        return data[found.end() :]

    def _framed(self, status: int, headers: dict[str, str], minor: str) -> Head:
        """Decide how the body ends (RFC 9112, 6.3)."""
        options = headers.get("connection", "").lower()
        self._keeps = "close" not in options if minor != "0" else "keep-alive" in options
        length: int | None = None
        if status in (204, 304) or (self._tunnel and status < 300):
            length = 0
        elif "transfer-encoding" in headers and _is_chunked(headers["transfer-encoding"]):
            self.chunked, self._step = True, Parser._chunk_size
            return Head(status, headers, None)
        elif (told := headers.get("content-length")) is not None:
            length = _read_length(told)
        if length is None:
            self._keeps, self._step = False, Parser._to_the_end
        else:
            self.due, self._step, self.ended = length, Parser._sized, length == 0
        return Head(status, headers, length)

    def _sized(self, data: memoryview, events: list[Head | memoryview]) -> memoryview:
        piece = data[: self.due]
        events.append(piece)
        self.due -= len(piece)
        self.ended = not self.due
        return data[len(piece) :]

    def _to_the_end(self, data: memoryview, events: list[Head | memoryview]) -> memoryview:
        events.append(data)
        return data[len(data) :]

    def _chunk_size(self, data: memoryview, events: list[Head | memoryview]) -> memoryview | None:
        line = _CHUNK_SIZE.match(data)
        if line is None:
            if _LINE.match(data) or len(data) > _LONGEST_LINE:
                raise ProtocolError("a chunk of its body is malformed")
            return None
        self._spend(len(line[2]))
        self._left = int(line[1], 16)
        self._step = Parser._chunk if self._left else Parser._trailer
        return data[line.end() :]

    def _chunk(self, data: memoryview, events: list[Head | memoryview]) -> memoryview:
        piece = data[: self._left]
        events.append(piece)
        self._left -= len(piece)
        if not self._left:
            self._step = Parser._chunk_end
        return data[len(piece) :]

    def _chunk_end(self, data: memoryview, events: list[Head | memoryview]) -> memoryview | None:
        line = _LINE.match(data)
        if line is None and bytes(data[:2]) in (b"\r", b""):
            return None
        if line is None or line[1] not in (b"", b"\r"):
            raise ProtocolError("a chunk of its body is longer than it says")
        self._step = Parser._chunk_size
        return data[line.end() :]

    def _trailer(self, data: memoryview, events: list[Head | memoryview]) -> memoryview | None:
        line = _LINE.match(data)
        if line is None:
            if len(data) > _LONGEST_LINE:
                raise ProtocolError("a line after its body is too long")
            return None
        self._spend(line.end())
        self.ended = line[1] in (b"", b"\r")
        return data[line.end() :]


def _is_chunked(encoding: str) -> bool:
    """Tell whether the body is chunked; `identity` means no coding."""
    told = map(str.strip, encoding.lower().split(","))
    codings = [name for name in told if name not in ("", "identity")]
    if codings not in ([], ["chunked"]):
        raise ProtocolError("its Transfer-Encoding is not chunked")
    return bool(codings)


def _read_length(told: str) -> int:
    text, *others = {part.strip() for part in told.split(",")} if "," in told else (told,)
    if others or not _LENGTH.fullmatch(text):
        raise ProtocolError("its Content-Length is malformed")
    return int(text)


def _lines(head: str) -> list[str]:
    """Return the lines of a head, with those that continue another joined to it."""
    text = head.replace("\r\n", "\n").removesuffix("\r")
    if "\r" in text or "\0" in text:
        # A validator with a line break would become another header when it is sent back.
        raise ProtocolError("its head has a stray control character")
    if "\n " in text or "\n\t" in text:
        text = _FOLD.sub(" ", text)  # obs-fold (RFC 9112, 5.2)
    return text.split("\n")


@lru_cache(maxsize=16)
def _read_status(line: str) -> tuple[str, int]:
    """Read the minor version of HTTP and the status."""
    found = _STATUS_LINE.fullmatch(line)
    if found is None:
        raise ProtocolError("its first line is not a status line")
    return found[1], int(found[2])


def _read_headers(lines: list[str]) -> dict[str, str]:
    headers = dict(map(_read_field, lines))
    if len(headers) < len(lines):
        headers = {}
        for name, value in map(_read_field, lines):
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


@lru_cache(maxsize=256)
def _read_field(line: str) -> tuple[str, str]:
    """Read a header; most lines of a storage's responses are the same each time."""
    name, colon, value = line.partition(":")
    if not colon or not _TOKEN.fullmatch(name):
        raise ProtocolError("a line of its head is not a header")
    return name.lower(), value.strip()
