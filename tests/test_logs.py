"""The package's loggers: they show no secrets, and nothing by default."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from sourcecraft_artifacts.logs import PACKAGE, get_logger, redaction


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (("plain",), "plain"),
        (("%s of %d", "a", 3), "a of 3"),
        (
            ("asked %s", "https://user:pw@host/p?sig=1"),
            "asked https://[redacted]@host/p?[redacted]",
        ),
        (("with %s", "t0ken-of-mine"), "with [redacted]"),
        (("100%",), "100%"),
        (("a\x1b[31m\nb",), r"a\x1b[31m\nb"),
    ],
)
def test_what_is_logged_holds_no_secret(
    told: tuple[object, ...],
    said: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Known secrets, and queries and user info of URLs, are redacted for every handler."""
    monkeypatch.setattr(redaction, "_secrets", {"t0ken-of-mine"})
    message, *arguments = told
    get_logger(f"{PACKAGE}.test").warning(message, *arguments)
    assert caplog.messages == [said]


def test_who_does_not_listen_hears_nothing() -> None:
    """A program that uses the library without logging gets nothing on its stderr."""
    code = (
        "from sourcecraft_artifacts.logs import get_logger; get_logger('sourcecraft_artifacts.x')"
    )
    finished = subprocess.run(
        [sys.executable, "-P", "-c", f"{code}.warning('told')"], capture_output=True, check=True
    )
    assert finished.stderr == b""


def test_a_logger_redacts_once() -> None:
    """A module that is imported again gives its logger no second filter."""
    names = [get_logger(f"{PACKAGE}.twice").filters for _ in range(2)]
    assert names[0] == [redaction]
    assert logging.getLogger(f"{PACKAGE}.twice").propagate
