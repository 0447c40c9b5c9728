"""Connects to a host by the first of its addresses that answers, and explains failures."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import socket
    import ssl

_TUNNEL_REFUSED = r"Tunnel connection failed: (\d{3})"
_HEAD_START = 0.25
"""Seconds after which the next address of a host is tried too (RFC 8305)."""


def open_socket(host: str, port: int, timeout: float) -> socket.socket:
    """Connect to the first address of a host that answers, within `timeout` seconds in all.

    The addresses are raced (RFC 8305), IPv6 and IPv4 in turn: each starts a quarter of a second
    after the one before it, or when that has failed. The socket is non-blocking. Raises OSError.
    """
    import socket
    from selectors import EVENT_WRITE, DefaultSelector

    end = time.monotonic() + timeout
    found = socket.getaddrinfo(encoded(host), port, type=socket.SOCK_STREAM)
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


def open_through_socks(proxy: str, host: str, port: int, timeout: float) -> socket.socket:
    """Connect to a host through a SOCKS proxy; each step may take `timeout` seconds.

    PySocks does it, as for the API. It blocks. Raises OSError.
    """
    import socket
    from urllib.parse import unquote, urlsplit

    import socks  # type: ignore[import-untyped]

    at = urlsplit(proxy)
    kind = at.scheme.lower()
    wrapped = socks.create_connection(
        (host, port),
        timeout,
        proxy_type=socks.SOCKS5 if kind.startswith("socks5") else socks.SOCKS4,
        proxy_addr=at.hostname,
        proxy_port=at.port or 1080,
        proxy_rdns=kind in ("socks4a", "socks5h"),  # the proxy looks the host up
        proxy_username=unquote(at.username or "") or None,
        proxy_password=unquote(at.password or "") or None,
    )
    return socket.socket(fileno=wrapped.detach())


def encoded(host: str) -> str | bytes:
    """Return a host for a lookup or for TLS.

    For a text, Python loads its rules for international names first, even if they do not apply.
    """
    return host.encode() if host.isascii() else host


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
_OUT_OF_TIME, _ANOTHER = (9, 10), (62, 64)


def way_out(cause: ssl.SSLCertVerificationError) -> str:
    """Return the hint for a certificate that is not trusted."""
    if cause.verify_code in _OUT_OF_TIME:
        return "check the clock of this machine"
    if cause.verify_code in _ANOTHER:
        return "check the address and the proxy variables: another host may have answered"
    return "if a CA of your own signed it, use --ca-bundle FILE"


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
        case OSError() if refused := re.match(_TUNNEL_REFUSED, str(cause)):
            # Only the status of its text is shown: a proxy may repeat the password.
            return f"the proxy refused the connection with {refused[1]}"
        case OSError() if type(cause).__module__ == "socks":
            return "the SOCKS proxy refused the connection"
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
