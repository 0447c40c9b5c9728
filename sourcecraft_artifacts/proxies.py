"""Finds the proxy for a URL in the environment."""

from __future__ import annotations

import os
from functools import lru_cache
from importlib.util import find_spec
from urllib.parse import unquote, urlsplit

from .errors import UsageError
from .urls import is_loopback

_PROXY_SCHEMES = frozenset({"http", "https", "socks4", "socks4a", "socks5", "socks5h"})


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
