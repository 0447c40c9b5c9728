"""What every connection needs from its environment: proxies, trusted CAs, deadlines."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from functools import lru_cache, partial
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import unquote, urlsplit

from .errors import UsageError
from .text import visible
from .urls import is_loopback

if TYPE_CHECKING:
    import socket
    import ssl

A = TypeVar("A")
T = TypeVar("T")

_PROXY_SCHEMES = frozenset({"http", "https", "socks4", "socks4a", "socks5", "socks5h"})
_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})")
_LARGEST_BUNDLE = 64 << 20
"""The largest file of CAs that is read, in bytes."""
_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")
"""The name of a CA in a folder of them: OpenSSL looks for no others."""
_LONGEST_WAIT = 0.5
"""The longest wait for a lock, in seconds: on Windows, Ctrl-C does not interrupt one."""
_HEAD_START = 0.25
"""Seconds after which the next address of a host is tried too (RFC 8305)."""


class DeadlinePassed(Exception):
    """The call did not end in time."""


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return what `call` returns, or raise what it raises, if that takes `seconds` at most.

    It runs in a daemon thread, so that neither slow data nor a silent name server can hold up the
    caller, and a signal ends the wait at once. Raises `DeadlinePassed`; the thread then ends by
    itself.
    """
    box: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            box.put((call(), None))
        except BaseException as error:
            box.put((None, error))

    try:
        threading.Thread(target=run, daemon=True, name="exchange").start()
    except (RuntimeError, MemoryError):  # without a thread there is no deadline
        run()
    result, error = _await(box, time.monotonic() + seconds)
    if error is None:
        return cast("T", result)
    try:
        raise error
    finally:
        del error  # The exception refers to this frame: break the reference cycle.


def in_threads(ask: Callable[[A], T], things: Iterable[A], at_once: int) -> Generator[T]:
    """Yield what `ask` returns for each thing, in order, or raise what it raises.

    Up to `at_once` calls run at the same time; if no thread can be started, they run one by one.
    """
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(at_once)
    coming: list[Callable[[], T]] = []
    try:
        for thing in things:
            try:
                coming.append(pool.submit(ask, thing).result)
            except RuntimeError:  # without a thread it runs here, in its turn
                coming.append(partial(ask, thing))
        for result in coming:
            yield result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _await(box: SimpleQueue[T], end: float) -> T:
    while True:
        left = end - time.monotonic()
        try:
            return box.get(timeout=min(max(left, 0.0), _LONGEST_WAIT))
        except Empty:
            if left <= 0:
                raise DeadlinePassed from None


def open_socket(host: str, port: int, timeout: float) -> socket.socket:
    """Connect to the first address of a host that answers, within `timeout` seconds in all.

    The addresses are raced (RFC 8305), IPv6 and IPv4 in turn: each starts a quarter of a second
    after the one before it, or when that has failed. The socket is non-blocking. Raises OSError.
    """
    import socket
    from selectors import EVENT_WRITE, DefaultSelector

    end = time.monotonic() + timeout
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    waiting, fault = _in_turn([(one[0], one[4]) for one in found]), OSError("it has no address")
    next_start = time.monotonic()
    with DefaultSelector() as started:
        try:
            while waiting or started.get_map():
                now = time.monotonic()
                if waiting and now >= next_start:
                    next_start = now + _HEAD_START
                    try:
                        started.register(_start(*waiting.pop(0)), EVENT_WRITE)
                    except OSError as error:
                        fault, next_start = error, now
                    continue
                if now >= end:
                    raise TimeoutError
                for key, _ in started.select(min(end, next_start if waiting else end) - now):
                    sock = cast("socket.socket", key.fileobj)
                    started.unregister(sock)
                    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not code:
                        return sock
                    sock.close()
                    fault, next_start = OSError(code, os.strerror(code)), now
        finally:
            for key in list(started.get_map().values()):
                cast("socket.socket", key.fileobj).close()
    raise fault


def numeric_address(host: str, port: int) -> tuple[int, Any] | None:
    """Return the family and the address of a host that is given by its number; None for a name."""
    import socket

    for family, more in ((socket.AF_INET, ()), (socket.AF_INET6, (0, 0))):
        with suppress(OSError, ValueError):
            socket.inet_pton(family, host)
            return family, (host, port, *more)
    return None


def _start(family: int, address: Any) -> socket.socket:
    """Begin to connect, without waiting for it. Raises OSError."""
    import errno
    import socket

    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    code = sock.connect_ex(address)
    if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
        sock.close()
        raise OSError(code, os.strerror(code))
    return sock


def _in_turn(addresses: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """Order addresses so that IPv6 and IPv4 alternate, the system's first choice first."""
    first = [one for one in addresses if one[0] == addresses[0][0]]
    others = [one for one in addresses if one[0] != addresses[0][0]]
    mixed = [one for pair in zip(first, others, strict=False) for one in pair]
    return mixed + first[len(others) :] + others[len(first) :]


def proxy_for(url: str) -> str | None:
    """Return the address of the proxy for a URL, its user info included, or None.

    It follows `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, also in lower case, which
    are read once for each scheme and host. Plain http stays on this machine: it goes through a
    proxy on loopback, but through no other. Raises `UsageError` for a proxy that cannot be used.
    """
    parts = urlsplit(url)
    return _proxy(parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower())


@lru_cache(maxsize=1024)
def _proxy(scheme: str, authority: str) -> str | None:
    from requests.utils import get_environ_proxies, select_proxy

    url = f"{scheme}://{authority}/"
    proxy = (select_proxy(url, get_environ_proxies(url)) or "").strip()
    if not proxy:
        return None
    proxy = _checked_proxy(proxy, scheme)
    if scheme == "http" and not is_loopback(urlsplit(proxy).hostname or ""):
        return None  # it would see the token, and reach its own loopback instead of ours
    return proxy


def _checked_proxy(proxy: str, scheme: str) -> str:
    """Return a proxy's address with its scheme. No message shows it, as it may have a password."""
    setting = f"the proxy for {scheme}{_proxy_setting(scheme)}"
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(proxy)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.scheme.lower() not in _PROXY_SCHEMES:
        raise UsageError(f"{setting} is not an address such as http://proxy.example:3128")
    if parts.scheme.lower().startswith("socks") and find_spec("socks") is None:
        raise UsageError(
            f"{setting} is a SOCKS proxy, and the package PySocks is not installed",
            hint="install PySocks beside this tool, or use an HTTP proxy",
        )
    return proxy


def _proxy_setting(scheme: str) -> str:
    """Name the variable that set the proxy, in brackets; empty if none did."""
    small = [f"{kind}_proxy" for kind in (scheme, "all")]
    names = [spelling for name in small for spelling in (name, name.upper())]
    found = next((name for name in names if os.environ.get(name)), None)
    return f" (the variable {found})" if found else ""


def proxy_authorization(proxy: str) -> dict[str, str]:
    """Return the `Proxy-Authorization` header for the proxy's user name and password (RFC 7617)."""
    from base64 import b64encode

    parts = urlsplit(proxy)
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {b64encode(pair).decode()}"}


def shown_proxy(proxy: str) -> str:
    """Return a proxy's host and port for messages, without user name and password."""
    return urlsplit(proxy).netloc.rpartition("@")[2]


def ca_bundle(option: str | None) -> str | None:
    """Return the file or folder of trusted CAs that the option or the environment names.

    The order is `--ca-bundle`, `REQUESTS_CA_BUNDLE`, `SSL_CERT_FILE`; None if none is set. Raises
    `UsageError` if it does not exist or is too large.
    """
    for setting, path in (
        ("--ca-bundle", option),
        ("REQUESTS_CA_BUNDLE", os.environ.get("REQUESTS_CA_BUNDLE")),
        ("SSL_CERT_FILE", os.environ.get("SSL_CERT_FILE")),
    ):
        if path:
            folder_allowed = setting != "SSL_CERT_FILE"
            if not (os.path.isfile(path) or (folder_allowed and os.path.isdir(path))):
                raise UsageError(f"{setting} names '{visible(path)}', which is not a file of CAs")
            if os.stat(path).st_size > _LARGEST_BUNDLE:
                raise UsageError(f"{setting} names '{visible(path)}', which is too large for CAs")
            return path
    return None


def _bundle_setting(path: str) -> str:
    """Name the option or variable that set the CA bundle."""
    variables = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
    return next((name for name in variables if os.environ.get(name) == path), "--ca-bundle")


_building = threading.Lock()


def ssl_context(ca_bundle: str | None) -> ssl.SSLContext:
    """Return the TLS context that trusts the CAs in a file or folder, by default those of requests.

    It demands TLS 1.2 or newer and checks certificate and host name. It is built once, as reading
    the CAs takes 10 ms. Raises `UsageError` if there are no CAs.
    """
    with _building:
        return _context(ca_bundle)


@lru_cache(maxsize=8)
def _context(path: str | None) -> ssl.SSLContext:
    import ssl

    path = path or _default_bundle()
    folder = os.path.isdir(path)
    try:
        if folder and not any(map(_HASHED.fullmatch, os.listdir(path))):
            raise OSError(0, "it has no CAs with the names that `openssl rehash` gives them")
        context = ssl.create_default_context(
            cafile=None if folder else path, capath=path if folder else None
        )
    except OSError as error:
        reason = "it holds no CAs" if isinstance(error, ssl.SSLError) else error.strerror
        setting = _bundle_setting(path)
        raise UsageError(
            f"{setting} names '{visible(path)}', which cannot be used: {reason}"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _default_bundle() -> str:
    """Return the CAs that requests trusts, without loading requests: it may be loading just now."""
    from certifi import where

    return where()


def root_cause(error: BaseException) -> BaseException:
    """Return the exception that is the cause of all others in the chain."""
    while cause := error.__cause__ or (not error.__suppress_context__ and error.__context__):
        error = cause
    return error


# By OpenSSL's numbers (X509_V_ERR_…).
_UNTRUSTED = {
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is self-signed",
    19: "its CA is not known",
    20: "its CA is not known",
    62: "it is for another host",
    64: "it is for another address",
}


def explain(cause: BaseException, timeout: float) -> str:
    """Describe why an exchange failed, given its root cause and its timeout in seconds."""
    import socket
    import ssl
    from http.client import BadStatusLine, IncompleteRead, RemoteDisconnected

    match cause:
        case ssl.SSLCertVerificationError():
            reason = _UNTRUSTED.get(cause.verify_code, "it cannot be verified")
            return f"its certificate is not trusted: {reason}"
        case ssl.SSLError():
            spoken = cause.reason not in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST")
            return f"TLS failed{'' if spoken else ': no TLS is spoken there'}"
        case socket.gaierror():
            return "its name cannot be resolved"
        case TimeoutError():
            return f"it sent nothing for {timeout:g} s"
        case OSError() if refused := _TUNNEL_REFUSED.match(str(cause)):
            # Only the status of its text is shown: a proxy may repeat the password.
            return f"the proxy refused the connection with {refused[1]}"
        case RemoteDisconnected():
            return "it closed the connection without a response"
        case OSError():
            return os.strerror(cause.errno) if cause.errno else "the connection broke"
        case IncompleteRead():
            return "the response is malformed: it ended early"
        case BadStatusLine():
            return "the response is malformed: it has no status"
    # The exception's text is not shown: it may quote a secret in the response or the address.
    return "the response is malformed"
