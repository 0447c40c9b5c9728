"""Decides which URLs may be requested, by their text alone.

It is stricter than RFC 3986 wherever two parsers could see different hosts in one URL.
`urllib.parse` reads an accepted URL in the same way, and its path and query can be sent byte for
byte as UTF-8.
"""

import re
from functools import lru_cache

_UNSENDABLE = r"[\x00-\x20\x7f-\x9f\\\ud800-\udfff]"
_START = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_LABEL = r"[A-Za-z0-9_-]{1,63}"
_AUTHORITY = re.compile(
    rf"(?:({_LABEL}(?:\.{_LABEL})*\.?)|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{{1,5}}))?"
)


def unsafe_url_reason(url: str) -> str | None:
    """Return why a `download_url` must not be requested, or None if it may be.

    It must be https, or http on loopback, with a host, without user info. The reason repeats no
    part of the URL, so that it can be shown.
    """
    is_plain = url.isascii() and url.isprintable()  # to search takes ten times as long
    if (not is_plain or " " in url or "\\" in url) and re.search(_UNSENDABLE, url):
        return "it holds a control character, a space or a backslash"
    start = _START.match(url)
    return _start_reason(start[0]) if start else "it is not an absolute URL"


@lru_cache(maxsize=256)
def _start_reason(start: str) -> str | None:
    """Judge a URL by its scheme and authority alone, which many URLs have in common."""
    scheme, _, authority = start.partition("://")
    if scheme.lower() not in ("https", "http"):
        return "its scheme is not https"
    if "@" in authority:
        return "it holds user info"
    if not authority or authority.startswith(":"):
        return "it names no host"
    match = _AUTHORITY.fullmatch(authority)
    if match is None or not _possible(*match.groups()):
        return "its host or its port is malformed"
    if scheme.lower() == "http" and not is_loopback(match[1] or match[2]):
        return "plain http is for loopback only"
    return None


def _possible(name: str | None, ipv6: str | None, port: str | None) -> bool:
    """Tell whether the matched parts can be a host (RFC 1035, RFC 4291) and a port."""
    if port is not None and not 0 < int(port) < 65536:
        return False
    if name is not None:
        return len(name) <= 254
    return _is_ipv6(ipv6 or "")


def _is_ipv6(text: str) -> bool:
    from ipaddress import IPv6Address

    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Tell whether a host, without brackets, is `localhost`, in 127.0.0.0/8, or `::1`.

    Names are not looked up, and other spellings (`127.1`, `::ffff:127.0.0.1`) are not accepted.
    """
    if host.lower() == "localhost":
        return True
    from ipaddress import IPv4Address, IPv6Address, ip_address

    try:
        address = ip_address(host)
    except ValueError:
        return False
    return (
        address.is_loopback if isinstance(address, IPv4Address) else address == IPv6Address("::1")
    )


def shown_url(url: str) -> str:
    """Return what may be shown of a URL: no query, no fragment, and nothing if it has user info.

    Raw `@` and `?` make it unclear where the user info of a malformed URL ends.
    """
    return "[redacted]" if "@" in url else re.split(r"[?#]", url, maxsplit=1)[0]
