"""The proxy that the environment chooses for a URL."""

from __future__ import annotations

import pytest

from sourcecraft_artifacts import proxies
from sourcecraft_artifacts.errors import UsageError


@pytest.mark.parametrize(
    ("environ", "url", "proxy"),
    [
        ({}, "https://h/", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://h/a?b", "http://p:1"),
        ({"https_proxy": "p:1"}, "HTTPS://h/", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "http://h/", None),
        ({"HTTP_PROXY": "http://u:w@127.0.0.1:1"}, "http://[::1]/", "http://u:w@127.0.0.1:1"),
        ({"HTTP_PROXY": "localhost:1"}, "http://127.0.0.1:2/", "http://localhost:1"),
        ({"HTTP_PROXY": "http://u:w@p:1"}, "http://127.0.0.1/", None),
        ({"ALL_PROXY": "10.0.0.1:1"}, "http://localhost/", None),
        ({"ALL_PROXY": "https://p"}, "https://h/", "https://p"),
        ({"ALL_PROXY": "http://a", "HTTPS_PROXY": "http://p"}, "https://h/", "http://p"),
        ({"HTTPS_PROXY": " "}, "https://h/", None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "x, h"}, "https://h/", None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": ".example"}, "https://a.example/", None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "h:444"}, "https://h/", "http://p"),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "10.0.0.0/8"}, "https://10.1.1.1/", None),
        ({"HTTPS_PROXY": "http://p", "no_proxy": "*"}, "https://h/", None),
    ],
)
def test_the_environment_chooses_the_proxy(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], url: str, proxy: str | None
) -> None:
    """The four variables work as in curl and requests, but plain http stays on this machine."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert proxies.proxy_for(url) == proxy


@pytest.mark.parametrize(
    "proxy", ["http://u:s3cret@", "http://u:s3cret@p:x", "ftp://u:s3cret@p", "u:s3cret@[p"]
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_malformed_proxy_is_a_usage_error_without_its_password(
    monkeypatch: pytest.MonkeyPatch, proxy: str, variable: str
) -> None:
    """The message names the variable, without its value."""
    monkeypatch.setenv(variable, proxy)
    with pytest.raises(UsageError, match=f"variable {variable}") as caught:
        proxies.proxy_for("https://h/")
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "SOCKS4"])
def test_a_socks_proxy_without_its_package_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """The message names the missing package."""
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://p:1080")
    monkeypatch.setattr(proxies, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="PySocks"):
        proxies.proxy_for("https://h/")


def test_a_proxy_is_shown_without_its_user_info() -> None:
    """Name and password are left out, also with an `@` in them."""
    assert proxies.shown_proxy("http://u:p@ss@proxy.example:3128/") == "proxy.example:3128"
