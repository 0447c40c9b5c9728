"""HTTP to the storage: kept connections, deadlines, redirects, and bytes just as they come.

urllib3 makes the connections, TLS and proxies included; requests and answers are our own (`wire`),
since requests and urllib3's pools rewrite a URL (`%7e`, `/../`), and a signature over the original
bytes then fails. No credential exists here.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import urllib3.exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.wait import wait_for_read

from .errors import Cancelled, TransferError
from .network import explain, proxy_authorization, proxy_for, root_cause, ssl_context
from .text import visible
from .urls import shown_url, unsafe_url_reason
from .wire import Ended, Misshapen, WireAnswer

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DRAIN = 8192
"""Bytes of an unwanted body that are read to keep its connection."""
_SHORTEST_SECRET = 8
"""Characters of a query's value from which on it may be a key."""


class BrokenTransfer(TransferError):
    """The connection failed, stalled or ended early: worth another try."""

    def __init__(self, message: str, *, code: str = "network") -> None:
        super().__init__(message, code=code)


class _Link:
    """One connection and the moment, in monotonic seconds, at which it counts as stalled."""

    __slots__ = (
        "connection",
        "deadline",
        "host",
        "moved",
        "origin",
        "proxy_headers",
        "shut",
        "stalled",
        "tunnel",
    )

    def __init__(
        self, connection: Any, origin: str, proxy_headers: Mapping[str, str] | None = None
    ) -> None:
        self.connection = connection
        self.origin = origin
        scheme, _, authority = origin.partition("://")
        self.host = authority.removesuffix(":443" if scheme == "https" else ":80")
        self.proxy_headers = proxy_headers
        """What each request to a forwarding proxy carries; None without such a proxy."""
        self.tunnel: tuple[str, int, Mapping[str, str]] | None = None
        """The host and port that a proxy is to dig a tunnel to, and what it is told for that."""
        self.deadline = 0.0
        self.moved = 0
        self.stalled = False
        self.shut = False

    def connect(self) -> None:
        """Open the connection anew; urllib3 forgets the tunnel with each one that it closes."""
        if self.tunnel is not None:
            self.connection.set_tunnel(*self.tunnel)
        self.connection.connect()
        sock: Any = self.connection.sock
        if isinstance(sock, ssl.SSLSocket):
            # A body without a length ends with TLS's own goodbye, or it was cut (RFC 9112, 9.8).
            setattr(sock, "suppress_ragged_eofs", False)  # noqa: B010 - unknown to the type stubs

    def end(self) -> None:
        """End whatever call is blocked on the socket, from any thread."""
        self.shut = True
        sock = self.connection.sock
        if sock is not None:
            with suppress(OSError):
                # Not SSLSocket.shutdown: it would pull the TLS object from under the reader.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    @property
    def open(self) -> bool:
        """Whether there is a socket."""
        return self.connection.sock is not None

    @property
    def silent(self) -> bool:
        """Whether it is open and nothing came since: that would be taken for the next answer."""
        sock = self.connection.sock
        pending = isinstance(sock, ssl.SSLSocket) and sock.pending()
        return sock is not None and not pending and not wait_for_read(sock, 0)


class Answer:
    """One answer of the storage; `length` is the bytes of its body, or None when not told."""

    def __init__(self, storage: Storage, link: _Link, wire: WireAnswer, target: str) -> None:
        self.status = wire.status
        self.length = wire.length
        self._headers = wire.headers
        self._storage = storage
        self._link = link
        self._wire = wire
        self._target = target

    @property
    def secrets(self) -> list[str]:
        """What the request had in its query: no message may repeat it."""
        return query_secrets(self._target)

    @property
    def ended(self) -> bool:
        """Whether the body was read to its end."""
        return self._wire.ended

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, by lower-case names."""
        return self._headers

    def header(self, name: str) -> str | None:
        """Return a header's text, repeated lines joined by commas, or None."""
        return self._headers.get(name.lower())

    def read_into(self, buffer: memoryview) -> int:
        """Fill `buffer` with what is there, and return its bytes; 0 is the end of the body.

        Raises BrokenTransfer when the connection fails or ends early, Cancelled when called off.
        """
        try:
            count = self._wire.read_into(buffer)
        except (OSError, Misshapen, Ended) as error:
            raise self._storage.translate(self._link, error) from error
        if count:
            self._storage.moved(self._link, count)
        elif not self.length:
            self._storage.check(self._link)  # an end without a length may be our own doing
        return count

    def text(self, most: int = 2048) -> str:
        """Return the start of a small body, for a message; empty when it cannot be read."""
        buffer = memoryview(bytearray(most))
        got = 0
        with suppress(TransferError):
            while got < most and (count := self.read_into(buffer[got:])):
                got += count
        return bytes(buffer[:got]).decode("utf-8", "replace")

    def close(self) -> None:
        """Give the connection back: kept when the body was read whole, closed otherwise."""
        if not self.ended and 0 < (self.length or 0) < _DRAIN:
            self.text(_DRAIN)
        self._storage.release(self._link, keep=self._wire.reusable)

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Storage:
    """Sends GETs to `download_url`s; safe to use from many threads, each with one connection.

    `stall_timeout` is in seconds: a connection that moves less than 1 byte a second for so long
    is given up, and so is one whose headers are not all there by then.
    """

    def __init__(
        self,
        *,
        stall_timeout: float = 30.0,
        ca_bundle: str | None = None,
        log: Callable[[str], None] | None = None,
        agent: str = "sourcecraft-artifacts",
    ) -> None:
        self._stall_timeout = stall_timeout
        self._ca_bundle = ca_bundle
        self._log = log
        self._standing = f"User-Agent: {agent}\r\nAccept: */*\r\nAccept-Encoding: identity"
        self._local = threading.local()
        self._active: set[_Link] = set()
        self._lock = threading.Lock()
        self._tls: ssl.SSLContext | None = None
        self._over = threading.Event()
        self._cancelled = False
        self._watching = False

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Send one GET and return its answer, redirects followed; the caller closes it.

        Raises BrokenTransfer for what another try may cure, TransferError for what none can,
        Cancelled when the download was called off.
        """
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._exchange(url, headers)
            location = answer.header("Location") if answer.status in _REDIRECTS else None
            if location is None:
                return answer
            answer.close()
            url = redirected(url, location)
        raise TransferError(
            f"the storage redirects more than {MAX_REDIRECTS} times", code="redirect"
        )

    def cancel(self) -> None:
        """Call everything off: blocked reads end at once with Cancelled, in every thread."""
        self._cancelled = True
        with self._lock:
            for link in self._active:
                link.end()

    def close(self) -> None:
        """End the watch; connections close with their threads."""
        self._over.set()

    def drop_connection(self) -> None:
        """Close the kept connection of the calling thread."""
        link: _Link | None = vars(self._local).pop("link", None)
        if link is not None:
            link.connection.close()

    # The rest is for Answer and for the watch.

    def moved(self, link: _Link, count: int) -> None:
        """Note progress; the deadline moves on once the link has earned it at 1 byte a second."""
        link.moved += count
        if link.moved >= self._stall_timeout:
            link.moved = 0
            link.deadline = time.monotonic() + self._stall_timeout

    def check(self, link: _Link) -> None:
        """Raise what ended the link, where it did not end by itself."""
        if self._cancelled:
            raise Cancelled
        if link.stalled:
            raise BrokenTransfer(
                f"the connection stalled for {self._stall_timeout:g} s", code="stalled"
            )

    def translate(self, link: _Link, error: Exception) -> Exception:
        """Return what an error of the connection means to the transfer."""
        try:
            self.check(link)
        except (Cancelled, BrokenTransfer) as known:
            return known
        if isinstance(error, Misshapen):
            return BrokenTransfer(f"the storage's answer is broken: {error}", code="protocol")
        if isinstance(error, Ended):
            return BrokenTransfer("the connection ended too early", code="cut")
        cause = root_cause(error)
        why = explain(cause, self._stall_timeout)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return TransferError(
                f"the storage could not be reached: {why}",
                code="certificate",
                hint="trust its authority with --ca-bundle FILE",
            )
        return BrokenTransfer(f"the storage could not be reached: {why}")

    def release(self, link: _Link, *, keep: bool) -> None:
        """Take the link from the watch, and close it unless it is to be kept."""
        with self._lock:
            self._active.discard(link)
        if not keep or link.shut:
            link.connection.close()

    def _exchange(self, url: str, headers: Mapping[str, str]) -> Answer:
        if reason := unsafe_url_reason(url):
            raise TransferError(f"the storage's URL is unsafe: {reason}", code="unsafe_url")
        link, target = self._link(url)
        reused = link.open
        try:
            return self._send(link, target, headers)
        except BrokenTransfer:
            if not reused or link.stalled:
                raise
        # The storage had closed the kept connection: that says nothing of this request.
        return self._send(*self._link(url), headers)

    def _send(self, link: _Link, target: str, headers: Mapping[str, str]) -> Answer:
        self._watch(link)
        connection: Any = link.connection
        try:
            if not link.open:
                link.connect()
                connection.sock.settimeout(None)  # from here on the watch keeps the time
                self.check(link)
            connection.sock.sendall(self._head(link, target, headers))
            wire = WireAnswer(connection.sock)
        except (OSError, HTTPException, urllib3.exceptions.HTTPError, Misshapen, Ended) as error:
            self.release(link, keep=False)
            raise self.translate(link, error) from error
        except BaseException:
            self.release(link, keep=False)
            raise
        self.moved(link, 1 << 20)
        if self._log:
            asked, shown = headers.get("Range", "all"), shown_url(link.origin + target)
            self._log(f"storage: {wire.status} for {asked} of {visible(shown)}")
        return Answer(self, link, wire, target)

    def _head(self, link: _Link, target: str, headers: Mapping[str, str]) -> bytes:
        """Return the request's head; the target goes out byte for byte."""
        lines = [f"GET {target} HTTP/1.1", f"Host: {link.host}", self._standing]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if link.proxy_headers is not None:
            lines[0] = f"GET {link.origin}{target} HTTP/1.1"
            lines += [f"{name}: {value}" for name, value in link.proxy_headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")

    def _watch(self, link: _Link) -> None:
        link.stalled = link.shut = False
        link.moved = 0
        link.deadline = time.monotonic() + self._stall_timeout
        with self._lock:
            if self._cancelled:
                raise Cancelled
            self._active.add(link)
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._keep_watch, daemon=True, name="stalls").start()

    def _keep_watch(self) -> None:
        while not self._over.wait(min(0.5, self._stall_timeout / 4)):
            now = time.monotonic()
            with self._lock:
                for link in self._active:
                    if link.deadline < now and not link.shut:
                        link.stalled = True
                        link.end()

    def _link(self, url: str) -> tuple[_Link, str]:
        """Return this thread's one connection, made for the URL's origin, and the target."""
        origin, target = split_target(url)
        link: _Link | None = getattr(self._local, "link", None)
        if link is None or link.origin != origin or not link.silent:
            self.drop_connection()
            link = self._local.link = self._new_link(origin)
        return link, target

    def _new_link(self, origin: str) -> _Link:
        parts = urlsplit(origin)
        host, tls = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        proxy = proxy_for(origin)
        at = urlsplit(proxy) if proxy else None
        if at is not None and at.scheme != "http":
            raise TransferError(
                f"a proxy of the kind {at.scheme}:// is not supported for the storage",
                code="proxy",
                hint="name an http:// proxy in HTTPS_PROXY, or the storage's host in NO_PROXY",
            )
        where = (at.hostname or "", at.port or 80) if at else (host, port)
        timeout = self._stall_timeout
        proxy_headers = proxy_authorization(proxy) if proxy else None
        if not tls:
            plain = HTTPConnection(*where, timeout=timeout)
            return _Link(plain, origin, proxy_headers)
        connection = HTTPSConnection(*where, timeout=timeout, ssl_context=self._context())
        link = _Link(connection, origin)
        if proxy_headers is not None:
            link.tunnel = host, port, proxy_headers
        return link

    def _context(self) -> ssl.SSLContext:
        with self._lock:
            if self._tls is None:
                self._tls = ssl_context(self._ca_bundle)
            return self._tls


def redirected(url: str, location: str) -> str:
    """Return where a redirect leads (RFC 9110, 10.2.2), an absolute `location` byte for byte.

    Raises TransferError when it leads from https to http.
    """
    location = location.encode("latin-1", "replace").decode("utf-8", "surrogateescape")
    try:
        target = location if "://" in location.split("?")[0] else urljoin(url, location)
    except ValueError:
        raise TransferError("the storage redirects to no address", code="redirect") from None
    if url.lower().startswith("https:") and not target.lower().startswith("https:"):
        raise TransferError("the storage redirects from https to http", code="redirect")
    return target


def split_target(url: str) -> tuple[str, str]:
    """Split a URL into its origin and the request target: its own bytes, less a fragment."""
    whole = url.partition("#")[0]
    start = whole.index("://") + 3
    ends = [at for mark in "/?" if (at := whole.find(mark, start)) >= 0]
    end = min(ends, default=len(whole))
    target = whole[end:]
    origin = whole[: start - 3].lower() + whole[start - 3 : end]
    return origin, target if target.startswith("/") else f"/{target}"


def query_secrets(target: str) -> list[str]:
    """Return the query of a request target and each longer value in it, as sent and decoded."""
    query = target.partition("?")[2]
    values = [pair.partition("=")[2] or pair for pair in query.split("&")]
    found = {query, *values, *map(unquote, values)}
    # The longest first: what is redacted must not leave the rest of another.
    return sorted((one for one in found if len(one) >= _SHORTEST_SECRET), key=len, reverse=True)
