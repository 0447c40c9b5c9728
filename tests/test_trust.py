"""The trusted CAs, and the TLS context with them."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from sourcecraft_artifacts import trust
from sourcecraft_artifacts.errors import UsageError


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Forget cached settings, so that no test sees another one's."""
    yield
    trust._context.cache_clear()


@pytest.fixture
def ca(tmp_path: Path) -> str:
    """Write a file with one CA."""
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return str(path)


def test_the_option_beats_the_environment(monkeypatch: pytest.MonkeyPatch, ca: str) -> None:
    """`--ca-bundle`, then REQUESTS_CA_BUNDLE, then SSL_CERT_FILE; empty is unset."""
    assert trust.ca_bundle(None) is None
    monkeypatch.setenv("SSL_CERT_FILE", ca)
    assert trust.ca_bundle(None) == ca
    folder = os.path.dirname(ca)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", folder)
    assert trust.ca_bundle("") == folder
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    assert trust.ca_bundle(ca) == ca
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "")
    assert trust.ca_bundle(None) == ca


@pytest.mark.parametrize("setting", ["--ca-bundle", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_missing_ca_bundle_names_its_setting(
    monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """The message names the option or variable."""
    option = "/no\x1bwhere" if setting == "--ca-bundle" else None
    if not option:
        monkeypatch.setenv(setting, "/no\x1bwhere")
    with pytest.raises(UsageError, match=rf"{setting} names '/no\\x1bwhere'"):
        trust.ca_bundle(option)


def test_ssl_cert_file_is_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """SSL_CERT_FILE must be a file."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path))
    with pytest.raises(UsageError, match="SSL_CERT_FILE"):
        trust.ca_bundle(None)


def test_every_context_checks_certificate_and_host(ca: str) -> None:
    """Each context verifies certificate and host, and is built once."""
    for bundle in (None, ca):
        context = trust.ssl_context(bundle)
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert trust.ssl_context(bundle) is context
    assert trust.ssl_context(ca).cert_store_stats()["x509_ca"] == 1
    assert trust.ssl_context(None).cert_store_stats()["x509_ca"] > 50


@pytest.mark.parametrize("setting", ["--ca-bundle", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_bundle_without_cas_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """The message names the file, and the option or variable."""
    path = tmp_path / "ca.pem"
    path.write_text("no CA")
    if not setting.startswith("--"):
        monkeypatch.setenv(setting, str(path))
    with pytest.raises(UsageError, match=r"ca\.pem', which cannot be used: it holds no") as caught:
        trust.ssl_context(str(path))
    assert caught.value.message.startswith(f"{setting} names")


def test_a_folder_of_cas_has_hashed_names(tmp_path: Path, ca: str) -> None:
    """OpenSSL looks for no other names in it, so a folder without any is a usage error."""
    folder = os.path.dirname(ca)
    with pytest.raises(UsageError, match=r"--ca-bundle names .* `openssl rehash`"):
        trust.ssl_context(folder)
    os.rename(ca, os.path.join(folder, "9d66eef0.0"))
    assert trust.ssl_context(folder).verify_mode == ssl.CERT_REQUIRED
