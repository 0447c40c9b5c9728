"""One HTTP/1.1 answer as it comes off a socket (RFC 9112), without a copy or a call to spare.

`http.client` parses headers as mail and reads through a buffer of its own: for a thousand small
files that costs as much as everything else together. What is ambiguous is refused here, where
`http.client` would guess: two lengths, a length that is no number, an unknown framing.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
from typing import Any

MAX_HEAD = 64 * 1024
"""Bytes of the longest head that is read."""
_BUFFER = 32 * 1024
_RECORD = 16 * 1024
_STATUS_LINE = re.compile(r"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: [^\r\n\0]*)?(?=\r?\n|$)")
_FIELD = r"\r?\n([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n\0]*)"
_FIELDS = re.compile(f"(?:{_FIELD})*+")
_EACH_FIELD = re.compile(_FIELD)
_FOLD = re.compile(r"\r?\n[ \t]+")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
_LENGTH = re.compile(r"[0-9]{1,18}")
_LONGEST_CHUNK_LINE = 4096


class ProtocolError(Exception):
    """What came is not HTTP/1.1, or its framing is ambiguous."""


class Ended(Exception):
    """The other end closed the connection; `started` tells whether anything had come."""

    def __init__(self, *, started: bool) -> None:
        super().__init__("the connection was closed")
        self.started = started


class WireResponse:
    """The head of one answer, and its body piece by piece.

    `headers` have lower-case names; repeated ones are joined by commas (RFC 9110, 5.2). `length`
    is the bytes of the body, None when only its end will tell.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._tls: Any = sock if isinstance(sock, ssl.SSLSocket) else None
        self._poll = None
        if self._tls is not None and hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(sock, select.POLLIN)
        self._buffer = bytearray(_BUFFER)
        self._start = self._end = 0
        head = self._read_head()
        while head[0] < 200:  # 1xx: the answer proper is still to come
            if head[0] == 101:
                raise ProtocolError("it switches protocols unasked")
            head = self._read_head()
        self.status, self.headers, keeps = head
        self._chunked = False
        self._in_chunk = 0
        self.length = self._framing()
        self.left = self.length
        self.ended = self.length == 0
        self._keeps = keeps and (self._chunked or self.length is not None)

    @property
    def reusable(self) -> bool:
        """Whether the connection can carry another request; a stray byte would be its answer."""
        return self._keeps and self.ended and self._start == self._end

    def read_into(self, view: memoryview) -> int:
        """Fill `view` with what is there, in one read of the socket; 0 is the end of the body.

        Raises Ended when the connection ends before the body does, ProtocolError, and OSError.
        """
        if self.ended or not view:
            return 0
        if self._chunked:
            return self._read_chunked(view)
        room = view if self.left is None else view[: self.left]
        count = self._take(room)
        if self.left is not None:
            if not count:
                raise Ended(started=True)
            self.left -= count
        self.ended = not count or self.left == 0
        return count

    def _take(self, view: memoryview) -> int:
        """Read from what came with the head, else straight from the socket."""
        there = self._end - self._start
        if not there:
            count = self._sock.recv_into(view)
            return count + (self._take_ready(view[count:]) if self._tls and count else 0)
        count = min(there, len(view))
        view[:count] = memoryview(self._buffer)[self._start : self._start + count]
        self._start += count
        return count

    def _take_ready(self, view: memoryview) -> int:
        """Read the TLS records that have arrived: one read gives no more than one, of 16 KiB."""
        got = 0
        while len(view) - got >= _RECORD and (self._tls.pending() or self._is_readable()):
            count = self._tls.recv_into(view[got:])
            got += count
            if not count:
                break
        return got

    def _is_readable(self) -> bool:
        if self._poll is None:
            return False
        return bool(self._poll.poll(0))

    def _fill(self) -> None:
        """Read more behind what is in the buffer."""
        if self._start == self._end:
            self._start = self._end = 0
        if self._end == len(self._buffer):
            self._buffer += bytes(len(self._buffer))
        count = self._sock.recv_into(memoryview(self._buffer)[self._end :])
        if not count:
            raise Ended(started=self._end > 0)
        self._end += count

    def _read_head(self) -> tuple[int, dict[str, str], bool]:
        searched = self._start
        while (found := _END_OF_HEAD.search(self._buffer, searched, self._end)) is None:
            self._check_head(self._end)
            searched = max(self._start, self._end - 3)
            self._fill()
        self._check_head(found.start())
        text = self._buffer[self._start : found.start()].decode("latin-1")
        self._start = found.end()
        status = _STATUS_LINE.match(text)
        if status is None:
            raise ProtocolError("its first line is no status line")
        headers = _read_headers(text[status.end() :])
        options = headers.get("connection", "").lower()
        keeps = "close" not in options if status[1] != "0" else "keep-alive" in options
        return int(status[2]), headers, keeps

    def _check_head(self, end: int) -> None:
        if end - self._start > MAX_HEAD:
            raise ProtocolError(f"its head is longer than {MAX_HEAD:,} bytes")

    def _framing(self) -> int | None:
        if self.status in (204, 304):
            return 0
        encoding = self.headers.get("transfer-encoding")
        if encoding is not None:
            if encoding.strip().lower() != "chunked":
                raise ProtocolError("its Transfer-Encoding is not chunked")
            self._chunked = True
            return None
        told = self.headers.get("content-length")
        if told is None:
            return None
        lengths = {part.strip() for part in told.split(",")}
        text = lengths.pop()
        if lengths or not _LENGTH.fullmatch(text):
            raise ProtocolError("its Content-Length is misshapen")
        return int(text)

    def _read_chunked(self, view: memoryview) -> int:
        if not self._in_chunk:
            self._in_chunk = self._chunk_size()
            if not self._in_chunk:
                self._skip_trailers()
                self.ended = True
                return 0
        count = self._take(view[: self._in_chunk])
        if not count:
            raise Ended(started=True)
        self._in_chunk -= count
        if not self._in_chunk and not self._skip_line():
            raise ProtocolError("a chunk of its body is longer than it says")
        return count

    def _chunk_size(self) -> int:
        while (line := _CHUNK_SIZE.match(self._buffer, self._start, self._end)) is None:
            if b"\n" in self._buffer[self._start : self._end] or self._too_long:
                raise ProtocolError("a chunk of its body is misshapen")
            self._fill()
        self._start = line.end()
        return int(line[1], 16)

    def _skip_line(self) -> bool:
        """Pass over a line; tell whether it was empty."""
        while (end := self._buffer.find(b"\n", self._start, self._end)) < 0:
            if self._too_long:
                raise ProtocolError("a line of its body is too long")
            self._fill()
        empty = bytes(self._buffer[self._start : end]) in (b"", b"\r")
        self._start = end + 1
        return empty

    def _skip_trailers(self) -> None:
        while not self._skip_line():
            pass

    @property
    def _too_long(self) -> bool:
        return self._end - self._start > _LONGEST_CHUNK_LINE


def _read_headers(text: str) -> dict[str, str]:
    if "\n " in text or "\n\t" in text:
        text = _FOLD.sub(" ", text)  # obs-fold (RFC 9112, 5.2)
    if not _FIELDS.fullmatch(text):
        # A value with a line break would be a header of its own where it is sent back.
        raise ProtocolError("a line of its head is no header")
    headers: dict[str, str] = {}
    for name, value in _EACH_FIELD.findall(text):
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
