"""Files that the program reads must be plain and of a sensible size; it waits for no other."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Cli
from fake_service import CUBE, STATE, FakeService, tree
from servers import Response, ranged

from sourcecraft_artifacts.cli import name_cache
from sourcecraft_artifacts.disk.files import LARGEST

pytestmark = pytest.mark.skipif(os.name == "nt", reason="makes FIFOs and links")

SOON = 20.0
"""Seconds for what takes one, on a machine that is busy."""


def sparse(path: Path, size: int) -> None:
    """Create a sparse file of this size."""
    path.touch()
    os.truncate(path, size)


ODD: dict[str, Callable[[Path], None]] = {
    "FIFO": os.mkfifo,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "huge": lambda path: sparse(path, 1 << 40),
    "folder": Path.mkdir,
}


@pytest.fixture
def in_time() -> Iterator[None]:
    """Fail a test that takes too long."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < SOON


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(
    "arguments", [("list", "7"), ("auth", "status"), ("auth", "login", "--with-token")]
)
def test_a_config_that_is_no_file(cli: Cli, odd: str, arguments: tuple[str, ...]) -> None:
    """It is refused at once by its name, and stays."""
    cli.config.parent.mkdir(parents=True)
    ODD[odd](cli.config)
    finished = cli(*arguments, code=(1, 2), stdin=b"token-token-token")
    assert f"the config file {cli.config} " in finished.err
    assert cli.config.exists()


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize(
    "text",
    ["a." * 30_000 + "a = 1", "\n[" + "a." * 30_000 + "a]", "x = {" + "a." * 600 + "a = 1}"],
    ids=["key", "table", "inline"],
)
def test_a_config_that_takes_long_to_read(cli: Cli, text: str) -> None:
    """Keys with so many parts that parsing takes minutes are refused with their line."""
    cli.config.parent.mkdir(parents=True)
    cli.config.write_text(text)
    finished = cli("auth", "status", code=2)
    assert f"line {text.count(chr(10)) + 1} of the config file {cli.config}" in finished.err
    cli.config.write_text("a." * 100_000 + "a = 1")
    assert "larger than 65,536 bytes" in cli("auth", "status", code=2).err


def test_a_config_that_is_meant_to_be_empty(cli: Cli) -> None:
    """A link to `/dev/null` counts as an empty file."""
    cli.config.parent.mkdir(parents=True)
    cli.config.symlink_to(os.devnull)
    cli("auth", "status")


def test_a_config_behind_a_link_is_read(cli: Cli, tmp_path: Path) -> None:
    """A config file may be a symlink."""
    (tmp_path / "dotfile").write_text('[tokens]\n"127.0.0.1" = "abc"\nrepo = "1.2.3"\n')
    cli.config.parent.mkdir(parents=True)
    cli.config.symlink_to(tmp_path / "dotfile")
    cli("auth", "status")


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", ["manifest.json", "journal.jsonl"])
def test_records_that_are_no_files(service: FakeService, cli: Cli, odd: str, name: str) -> None:
    """The file in the way is named, and nothing is downloaded."""
    service.add("file", b"file")
    (cli.out / STATE).mkdir(parents=True)
    ODD[odd](cli.out / STATE / name)
    for finished in (cli.download(code=8), cli("verify", "out", code=8)):
        assert f"{STATE}/{name} is " in finished.err
    assert "file" not in tree(cli.out)


@pytest.mark.usefixtures("in_time")
@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="makes a device, as root only")
def test_records_that_are_a_device(service: FakeService, cli: Cli) -> None:
    """A device in the manifest's place is not read."""
    service.add("file", b"file")
    (cli.out / STATE).mkdir(parents=True)
    os.mknod(cli.out / STATE / "manifest.json", 0o600 | 0o020000, os.makedev(1, 5))
    assert "not a plain file" in cli.download(code=8).err


def test_a_manifest_that_may_not_be_read(service: FakeService, cli: Cli, tmp_path: Path) -> None:
    """The disk's error while reading the manifest is shown."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sitecustomize.py").write_text(
        "import os\nreal = os.open\n"
        "def broken(path, *a, **o):\n"
        "    if path == 'manifest.json': raise OSError(5, os.strerror(5))\n"
        "    return real(path, *a, **o)\n"
        "os.supports_dir_fd.add(broken)\nos.open = broken\n"
    )
    service.add("file", b"file")
    cli.download()
    env = {"PYTHONPATH": str(tmp_path / "broken")}
    said = f"cannot read out/{STATE}/manifest.json: Input/output error"
    assert said in cli.download(code=1, env=env).err
    assert said in cli("verify", "out", code=1, env=env).err


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("odd", ODD)
def test_partial_data_that_are_no_files(service: FakeService, cli: Cli, odd: str) -> None:
    """Other files in the place of partial data are not resumed, and do no harm."""
    body = b"file" * 100_000
    service.add("file", body, ranged(body, cut_first=200_000), Response(503))
    cli.download("--retries", "0", code=6)
    for path in (cli.out / STATE / "partial").iterdir():
        path.unlink()
        ODD[odd](path)
    service.add("other", b"other")
    cli.download("-i", "other")
    assert tree(cli.out)["other"] == b"other"


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("odd", ["FIFO", "endless", "huge"])
def test_a_git_config_that_is_no_file(cli: Cli, odd: str) -> None:
    """If the git config is not a plain file, git is not run."""
    (cli.cwd / ".git").mkdir()
    ODD[odd](cli.cwd / ".git" / "config")
    env = {"SOURCECRAFT_ARTIFACTS_REPO": None}
    assert "--repo" in cli("list", "7", *CUBE, code=2, env=env).err


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("odd", ODD)
def test_a_kept_answer_that_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    """A FIFO in the cache does not block completion: the service is asked."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert name_cache.remembered(["what"], list) == []
    (kept,) = (tmp_path / "sourcecraft-artifacts").iterdir()
    kept.unlink()
    ODD[odd](kept)
    assert name_cache.remembered(["what"], list) == []


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("odd", ["FIFO", "endless", "huge"])
def test_a_bundle_of_cas_that_is_no_file(cli: Cli, tmp_path: Path, odd: str) -> None:
    """It is refused as a bad setting."""
    ODD[odd](tmp_path / "cas")
    finished = cli("list", "7", *CUBE, "--ca-bundle", str(tmp_path / "cas"), code=2)
    assert "--ca-bundle" in finished.err


@pytest.mark.usefixtures("in_time")
def test_a_token_without_an_end(cli: Cli) -> None:
    """An endless stdin is refused as a token."""
    with open("/dev/zero", "rb") as endless:
        process = cli.start("auth", "login", "--with-token", "--no-check", stdin=endless)
        assert cli.finish(process).code == 2
    assert not cli.config.exists()


def test_the_largest_record_is_far_larger_than_any() -> None:
    """The limit is above the size of a manifest of a million files."""
    assert LARGEST >= 200 * 1_000_000
