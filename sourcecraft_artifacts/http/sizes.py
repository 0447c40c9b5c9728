"""Asks the storage for the sizes of objects: a GET for the first byte of each, several at once.

A URL may be signed for GET alone, so no HEAD is sent. These exchanges block, each in a thread of a
small pool. Like those of a download they check a URL, and send it byte for byte, without any
credential.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from time import sleep
from urllib.parse import urlsplit

from ..backoff import backoff
from ..errors import TransferError, UnsafeUrl, UsageError
from ..logs import get_logger
from ..network import explain, root_cause
from ..proxies import proxy_authorization, proxy_for
from ..text import count
from ..trust import ssl_context
from ..urls import unsafe_url_reason
from .targets import redirected, split_target

AT_ONCE = 16
"""How many objects are requested at the same time."""
TIMEOUT = 10.0
"""How many seconds a connection may be silent."""
PATIENCE = 30.0
"""Seconds without any response after which the remaining sizes are given up."""
_MOST_REDIRECTS = 5
_SMALL = 8192
"""The most bytes of a body that are read so that the connection can be kept."""
_TOTAL = re.compile(r"bytes\s+(?:[0-9]{1,19}-[0-9]{1,19}|\*)/([0-9]{1,19})", re.IGNORECASE)

_log = get_logger(__name__)


def read_size(status: int, headers: Mapping[str, str]) -> int | None:
    """Read an object's size in bytes from the response to a GET for `bytes=0-0`.

    | response                              | size                              |
    | ------------------------------------- | --------------------------------- |
    | 206, 416 with a total (`bytes 0-0/9`) | the total                         |
    | 200 with a Content-Length             | that                              |
    | any with a Content-Encoding           | None: it is that of the coded form |
    | any other                             | None                              |

    `headers` have lower-case names.
    """
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        return None
    if status in (206, 416):
        match = _TOTAL.fullmatch(headers.get("content-range", "").strip())
        return int(match[1]) if match else None
    length = headers.get("content-length", "").strip()
    is_told = status == 200 and length.isascii() and length.isdigit() and len(length) < 20
    return int(length) if is_told else None


def ask_sizes(
    urls: Sequence[str | None], *, ca_bundle: str | None = None, retries: int = 1
) -> list[int | None]:
    """Return the size in bytes of the object at each URL, in order; None if unknown.

    Unknown sizes are counted in the log. Raises `UsageError` for a bad proxy or CA bundle.
    """
    asking = _Asking(ca_bundle, retries)
    pool = ThreadPoolExecutor(max(1, min(AT_ONCE, sum(url is not None for url in urls))))
    try:
        futures = [None if url is None else _submit(pool, asking, url) for url in urls]
        sizes = [asking.result(future) for future in futures]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        asking.close()
    unknown = sum(size is None and url is not None for size, url in zip(sizes, urls, strict=True))
    if unknown:
        why = f": {asking.reason}" if asking.reason else ""
        _log.warning("the size of %s is not known%s", count(unknown, "artifact"), why)
    return sizes


def _submit(pool: ThreadPoolExecutor, asking: _Asking, url: str) -> Future[int | None]:
    """Let a thread ask for a size, or ask here if no thread can be started."""
    try:
        return pool.submit(asking.size, url)
    except RuntimeError:
        done: Future[int | None] = Future()
        done.set_result(asking.size(url))
        return done


class _Unanswered(Exception):
    """A request got no response, or a temporary error: another try may succeed."""


class _Asking:
    """Many requests at once; connections are reused, and a dead storage is given up."""

    def __init__(self, ca_bundle: str | None, retries: int) -> None:
        self.reason = ""
        """Why the first unknown size is unknown, safe to show."""
        self._ca_bundle, self._retries = ca_bundle, min(retries, 2)
        self._lock = threading.Lock()
        self._idle: list[_Line] = []
        self._closed = False
        self._failures = 0
        self._given_up = False

    def close(self) -> None:
        """Close the connections; one that is in use closes when its request has ended."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for line in idle:
            line.close()

    def result(self, future: Future[int | None] | None) -> int | None:
        """Return the result of a request; None also if all have been silent for too long."""
        if future is None or (self._given_up and not future.done()):
            return None
        try:
            return future.result(PATIENCE)
        except NotInTime:
            self._given_up = True
            self._note(f"there was no response for {PATIENCE:g} s")
            return None

    def size(self, url: str) -> int | None:
        """Request the size of the object at a URL. Raises `UsageError`."""
        for failed in range(1, self._retries + 2):
            if self._given_up:
                return None
            try:
                found = self._size(url)
            except _Unanswered as error:
                reason = str(error)
                self._note(reason)
                self._failures += 1
                self._given_up = self._given_up or self._failures > 2 * AT_ONCE
            except TransferError as error:
                self._note(error.message)
                return None
            else:
                self._failures = 0
                return found
            if failed <= self._retries:
                delay = backoff(failed)
                _log.debug("storage: retrying in %.1f s: %s", delay, reason)
                sleep(delay)
        return None

    def _note(self, reason: str) -> None:
        self.reason = self.reason or reason

    def _size(self, url: str) -> int | None:
        for _ in range(_MOST_REDIRECTS + 1):
            if reason := unsafe_url_reason(url):
                raise UnsafeUrl(reason)
            status, headers = self._exchange(url)
            if status not in (301, 302, 303, 307, 308) or "location" not in headers:
                if status in (408, 429) or status >= 500:
                    raise _Unanswered(f"the storage answered {status}")
                size = read_size(status, headers)
                if size is None:
                    self._note(f"the storage answered {status} without it")
                return size
            url = redirected(url, headers["location"])
        raise TransferError("the storage redirects too often", code="redirect")

    def _exchange(self, url: str) -> tuple[int, Mapping[str, str]]:
        origin, target = split_target(url)
        kept = self._kept(origin)
        if kept is not None:
            try:
                return self._ask(kept, target)
            except (OSError, HTTPException):
                pass  # the storage has closed the kept connection: try a new one
        try:
            return self._ask(_Line(origin, self._ca_bundle), target)
        except (OSError, HTTPException) as error:
            why = explain(root_cause(error), TIMEOUT)
            raise _Unanswered(f"the storage could not be reached: {why}") from error

    def _kept(self, origin: str) -> _Line | None:
        with self._lock:
            found = [line for line in self._idle if line.origin == origin][-1:]
            for line in found:
                self._idle.remove(line)
        return found[0] if found else None

    def _ask(self, line: _Line, target: str) -> tuple[int, Mapping[str, str]]:
        keeps = False
        try:
            status, headers, keeps = line.ask(target)
        finally:
            with self._lock:
                keeps = keeps and not self._closed
                if keeps:
                    self._idle.append(line)
            if not keeps:
                line.close()
        # Only the origin is logged: a URL's path may be secret.
        _log.debug("storage: %d for bytes=0-0 of a file at %s", status, line.origin)
        return status, headers


class _Line:
    """A connection to an origin. Its methods raise OSError and HTTPException."""

    def __init__(self, origin: str, ca_bundle: str | None) -> None:
        self.origin = origin
        parts, proxy = urlsplit(origin), proxy_for(origin)
        secure = parts.scheme == "https"
        host, port = parts.hostname or "", parts.port or (443 if secure else 80)
        default = ":443" if secure else ":80"
        self._host = origin.partition("://")[2].removesuffix(default)
        self._forwarded: dict[str, str] | None = None
        where = (host, port)
        if proxy is not None:
            address = urlsplit(proxy)
            if address.scheme != "http":
                raise UsageError(
                    f"a proxy of the kind {address.scheme}:// is not supported for the storage"
                )
            where = (address.hostname or "", address.port or 80)
            self._forwarded = None if secure else proxy_authorization(proxy)
        self._connection = (
            HTTPSConnection(*where, timeout=TIMEOUT, context=ssl_context(ca_bundle))
            if secure
            else HTTPConnection(*where, timeout=TIMEOUT)
        )
        if proxy is not None and secure:
            self._connection.set_tunnel(host, port, proxy_authorization(proxy))

    def ask(self, target: str) -> tuple[int, Mapping[str, str], bool]:
        """Ask for the first byte; return the status, the headers, and whether to keep this line."""
        if self._connection.sock is None:
            self._connection.connect()
        sock: socket.socket = self._connection.sock
        lines = [f"Host: {self._host}", "Accept: */*", "Accept-Encoding: identity"]
        lines += ["User-Agent: sourcecraft-artifacts", "Range: bytes=0-0"]
        if self._forwarded is not None:
            target = self.origin + target
            lines += [f"{name}: {value}" for name, value in self._forwarded.items()]
        head = f"GET {target} HTTP/1.1\r\n".encode("utf-8", "surrogateescape")
        sock.sendall(head + "\r\n".join([*lines, "", ""]).encode("latin-1"))
        answer = HTTPResponse(sock, method="GET")
        try:
            answer.begin()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            is_small = answer.length is not None and answer.length <= _SMALL
            if is_small:
                answer.read()
            return answer.status, headers, is_small and not answer.will_close
        finally:
            answer.close()

    def close(self) -> None:
        """Close it."""
        self._connection.close()
