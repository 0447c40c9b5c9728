"""Finds the trusted CAs, and makes the TLS context with them."""

from __future__ import annotations

import os
import re
import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from .errors import UsageError
from .text import visible

if TYPE_CHECKING:
    import ssl

_LARGEST_BUNDLE = 64 << 20
"""The largest file of CAs that is read, in bytes."""
_HASHED = r"[0-9a-f]{8}\.[0-9]+"
"""The name of a CA in a folder of them: OpenSSL looks for no others."""


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
            flaw = ""
            if not os.path.exists(path):
                flaw = "does not exist"
            elif not (os.path.isfile(path) or (folder_allowed and os.path.isdir(path))):
                flaw = "is not a file of CAs"
            elif os.stat(path).st_size > _LARGEST_BUNDLE:
                flaw = "is too large for CAs"
            if flaw:
                raise UsageError(f"{setting} names '{visible(path)}', which {flaw}")
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
        if folder and not any(re.fullmatch(_HASHED, name) for name in os.listdir(path)):
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
