"""Which URLs may be requested, by their text."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourcecraft_artifacts.urls import is_loopback, shown_url, unsafe_url_reason


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("LocalHost", True),
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("0:0:0:0:0:0:0:1", True),
        ("", False),
        ("localhost.", False),
        ("a.localhost", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("127.1", False),
        ("2130706433", False),
        ("0x7f.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("::ffff:127.0.0.1", False),
        ("::1%lo", False),
        ("[::1]", False),
    ],
)
def test_loopback_is_a_short_list(host: str, loopback: bool) -> None:
    """Only the plain spellings of loopback are accepted with plain http."""
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    "url",
    [
        "https://storage.example.org/bucket/key?X-Signature=a%2Fb&x=~",
        "https://storage.example.org",
        "https://storage.example.org?signature=s",
        "HTTPS://Storage.Example.ORG:8443/a/../b//c%2f",
        "https://a_b.example.org./x",
        "https://10.0.0.1/x",
        "https://[2001:db8::1]:8443/x",
        "https://h/отчёт.txt?q=ё#f",
        "https://h/a@b:c?u=https://x:y@z",
        "http://localhost:8080/x",
        "http://127.0.0.1/x",
        "http://[::1]:9/x",
    ],
)
def test_a_usual_url_may_be_asked(url: str) -> None:
    """https to any host is accepted, and plain http to loopback."""
    assert unsafe_url_reason(url) is None


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "not an absolute"),
        ("/a", "not an absolute"),
        ("//h/a", "not an absolute"),
        ("https:/h/a", "not an absolute"),
        ("https:h", "not an absolute"),
        ("ftp://h/a", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("javascript://h/%0aalert(1)", "scheme"),
        ("http://h/a", "loopback"),
        ("http://127.0.0.1.example.org/", "loopback"),
        ("http://127.1/", "loopback"),
        ("https:///a", "no host"),
        ("https://:443/a", "no host"),
        ("https://?a", "no host"),
        ("https://u:p@h/a", "user info"),
        ("https://@h/a", "user info"),
        ("http://localhost:1@example.org/", "user info"),
        ("https://h:/a", "port"),
        ("https://h:0/a", "port"),
        ("https://h:65536/a", "port"),
        ("https://h:-1/a", "port"),
        ("https://h:+8/a", "port"),
        ("https://h:٣/a", "port"),
        ("https://h:1:2/a", "port"),
        ("https://пример.рф/a", "host"),
        ("https://ｈ/a", "host"),
        ("https://h%2eorg/a", "host"),
        ("https://h;x/a", "host"),
        ("https://a..b/a", "host"),
        ("https://./a", "host"),
        ("https://" + "a" * 64 + "/", "host"),
        ("https://" + "a." * 128 + "/", "host"),
        ("https://[::1/a", "host"),
        ("https://[1.2.3.4]/a", "host"),
        ("https://[::1%25lo]/a", "host"),
        ("https://[::g]/a", "host"),
        ("https://[::1]x/a", "host"),
        ("https://h/a b", "control"),
        (" https://h/a", "control"),
        ("https://h/a\n", "control"),
        ("ht\ttps://h/a", "control"),
        ("https://h\\@x/a", "control"),
        ("https://h/a\x00", "control"),
        ("https://h/a\x7f", "control"),
        ("https://h/a\x85", "control"),
        ("https://h/a\ud800", "control"),
    ],
)
def test_what_is_unsafe_or_ambiguous_is_refused(url: str, reason: str) -> None:
    """A URL in which parsers could see different hosts, or that cannot be sent, is refused."""
    assert reason in (unsafe_url_reason(url) or "")


def test_the_reason_repeats_nothing_of_the_url() -> None:
    """The reason for a refusal shows no part of the URL."""
    for url in ("http://h/?s=SECRET", "https://u:SECRET@h/", "SECRET://h", "https://h:SECRET/"):
        assert "SECRET" not in (unsafe_url_reason(url) or "SECRET")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/a?s=SECRET", "https://h/a"),
        ("https://h/a#SECRET", "https://h/a"),
        ("https://u:SECRET@h/a", "[redacted]"),
        ("https://u:SE?CRET@h/a", "[redacted]"),
        ("https://h/?mail=a@b&s=SECRET", "[redacted]"),
    ],
)
def test_what_is_shown_of_a_url_holds_no_secret(url: str, shown: str) -> None:
    """Queries and possible user info are cut off."""
    assert shown_url(url) == shown


_PIECES = ["https", "http", "://", ":", "/", "@", "[", "]", "::1", "localhost", "127.0.0.1", "h"]
_PIECES += [".", "..", "%41", "\\", "\t", "\n", " ", "?", "#", "8080", "99999", "é", "ａ", "\ud800"]
_SCRAPS = st.lists(st.sampled_from(_PIECES), max_size=10).map("".join)


@settings(derandomize=True)
@given(st.text() | _SCRAPS | _SCRAPS.map("https://{}".format) | _SCRAPS.map("https://h{}".format))
def test_what_passes_is_read_alike_by_the_standard_library(url: str) -> None:
    """Any text is accepted or refused; accepted ones have one host, port and no user info."""
    if unsafe_url_reason(url) is not None:
        return
    parts = urlsplit(url)
    assert parts.scheme in ("https", "http")
    assert parts.hostname
    assert parts.port is None or 0 < parts.port < 65536
    assert (parts.username, parts.password) == (None, None)
    assert parts.scheme == "https" or is_loopback(parts.hostname)
    assert url.encode()[len(parts.scheme) :].startswith(f"://{parts.netloc}".encode())
