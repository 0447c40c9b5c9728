"""The sandbox's HTTP/1.1 server (RFC 9112) on loopback."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from io import BufferedIOBase
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any, Self

from .api import Api
from .data import Repository
from .http import Reply, Request, text_reply
from .sample import sample_repository
from .storage import PREFIX, Storage

LONGEST_LINE = 1 << 16
MOST_FIELDS = 100
SMALL_BODY = 1 << 16
"""The largest body, in bytes, that is sent together with its headers."""


class Sandbox:
    """Serves a repository on 127.0.0.1 for as long as the context lasts.

    `url_lifetime` is in seconds of `clock`, which also drives live runs.
    """

    def __init__(
        self,
        repository: Repository | None = None,
        *,
        token: str = "sandbox-token",
        url_lifetime: float = 300.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.token = token
        self.repository = repository or sample_repository()
        self._storage = Storage(url_lifetime, clock)
        started = clock()
        self._api = Api(
            self.repository,
            token,
            lambda: clock() - started,
            lambda *item: self.url + self._storage.sign(*item),
        )
        self._server = _Server(self._answer)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self) -> dict[str, str]:
        """Return the variables that point the downloader at this sandbox."""
        return {
            "SOURCECRAFT_API_URL": self.url,
            "SOURCECRAFT_TOKEN": self.token,
            "SOURCECRAFT_ARTIFACTS_REPO": self.repository.org_repo,
        }

    def _answer(self, request: Request) -> Reply:
        part = self._storage if request.target.startswith(PREFIX) else self._api
        return part.answer(request)


class _Server(ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, answer: Callable[[Request], Reply]) -> None:
        self.answer = answer
        super().__init__(("127.0.0.1", 0), _Connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client may disconnect at any time; anything else is a bug and is shown.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Connection(StreamRequestHandler):
    server: _Server
    disable_nagle_algorithm = True

    def handle(self) -> None:
        while request := self._read():
            self._send(request, self.server.answer(request))
            if not request.keep_alive:
                return

    def _read(self) -> Request | None:
        try:
            return _read_request(self.rfile)
        except ValueError as error:
            unread = Request("GET", "", {}, keep_alive=False)
            self._send(unread, text_reply(400, "text/plain", f"bad request: {error}\n"))
            return None

    def _send(self, request: Request, reply: Reply) -> None:
        body = iter(reply.body if request.method != "HEAD" else ())
        head = _head(request, reply)
        if reply.length <= SMALL_BODY:
            head += b"".join(body)
        self.connection.sendall(head)
        for chunk in body:
            self.connection.sendall(chunk)


def _head(request: Request, reply: Reply) -> bytes:
    fields = [
        ("Date", formatdate(usegmt=True)),
        ("Content-Length", str(reply.length)),
        ("Connection", "keep-alive" if request.keep_alive else "close"),
        *reply.headers,
    ]
    lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in fields]
    return "\r\n".join([*lines, "", ""]).encode()


def _read_request(reader: BufferedIOBase) -> Request | None:
    """Read one request and drop its body; None at the end. Raises ValueError if malformed."""
    line = _read_line(reader)
    if not line:
        return None
    method, target, version = line.split()
    headers: dict[str, str] = {}
    while line := _read_line(reader):
        name, colon, value = line.partition(":")
        if not colon or len(headers) == MOST_FIELDS:
            raise ValueError("its header fields")
        headers[name.lower()] = value.strip()
    # No endpoint uses a body; a longer one ends the connection.
    length = headers.get("content-length", "0")
    if not length.isdecimal():
        raise ValueError("its length")
    reader.read(min(int(length), SMALL_BODY))
    bodiless = not headers.keys() & {"content-length", "transfer-encoding"}
    closes = headers.get("connection", "").lower() == "close"
    return Request(method, target, headers, bodiless and version == "HTTP/1.1" and not closes)


def _read_line(reader: BufferedIOBase) -> str:
    line = reader.readline(LONGEST_LINE)
    if line and not line.endswith(b"\n"):
        raise ValueError("a line without an end")
    return line.decode("latin-1").rstrip("\r\n")
