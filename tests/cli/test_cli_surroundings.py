"""The command's surroundings: ignored signals, a deleted folder, no home, odd stdouts."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import termios
import threading

import pytest
from conftest import Cli
from fake_service import CUBE, REPO, FakeService, eventually, held, tree
from servers import Response

from sourcecraft_artifacts.cli import config, name_cache
from sourcecraft_artifacts.cli.streams import BlockingWriter

LARGE = os.urandom(3 << 20)

# Stdout gets every byte, or the exit status is not 0.


def make_small(pipe: int) -> None:
    """Give a pipe the smallest capacity that the system allows."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 4096)


def held_by(pipe: int) -> int:
    """Return how many bytes are in a pipe."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


class SlowReader:
    """The reading end of a non-blocking pipe."""

    def __init__(self) -> None:
        self.got = bytearray()
        self._end, self.writer = os.pipe()
        os.set_blocking(self.writer, False)
        make_small(self.writer)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while piece := os.read(self._end, 512):
            self.got += piece
        os.close(self._end)

    def whole(self) -> bytes:
        """Return all bytes, until no process writes any more."""
        os.close(self.writer)
        self._thread.join()
        return bytes(self.got)


def many(service: FakeService) -> None:
    """List more artifacts than a pipe holds."""
    for number in range(400):
        service.add(f"{'a-long-name-' * 18}{number}.bin", b"1")


UNBUFFERED = [{}, {"PYTHONUNBUFFERED": "1"}]


@pytest.mark.parametrize("env", UNBUFFERED)
@pytest.mark.parametrize("arguments", [("list", "--json"), ("list",), ("download", "-n", "--json")])
def test_a_pipe_that_does_not_block_gets_every_byte(
    service: FakeService, cli: Cli, arguments: tuple[str, ...], env: dict[str, str]
) -> None:
    """The program waits until a full non-blocking pipe has room, however stdout is buffered."""
    many(service)
    command, *options = arguments
    wanted = cli(command, "7", *CUBE, *options).stdout
    assert len(wanted) > 1 << 16
    reader = SlowReader()
    finished = cli(command, "7", *CUBE, *options, "-q", stdout=reader.writer, env=env)
    assert finished.err == ""
    got = reader.whole()
    if command == "download":  # its report has times
        assert json.loads(got)["files"] == json.loads(wanted)["files"]
    else:
        assert got == wanted


def test_an_artifact_goes_whole_into_a_pipe_that_does_not_block(
    service: FakeService, cli: Cli
) -> None:
    """`-o -` waits for room in the pipe too."""
    service.add("large", LARGE)
    reader = SlowReader()
    cli("download", "7", *CUBE, "-o", "-", stdout=reader.writer)
    assert reader.whole() == LARGE


@pytest.mark.parametrize("arguments", [("--show-completion", "bash"), ("download", "--help")])
@pytest.mark.parametrize("env", UNBUFFERED)
def test_what_the_parser_prints_comes_whole(
    cli: Cli, arguments: tuple[str, ...], env: dict[str, str]
) -> None:
    """Help and completion scripts are written as a whole too."""
    wanted = cli(*arguments).stdout
    reader = SlowReader()
    cli(*arguments, stdout=reader.writer, env=env)
    assert reader.whole() == wanted


@pytest.mark.parametrize("env", UNBUFFERED)
@pytest.mark.parametrize("arguments", [("list", "--json"), ("list",), ("download", "-n", "--json")])
def test_a_file_that_is_cut_short_is_a_fault(
    service: FakeService, cli: Cli, arguments: tuple[str, ...], env: dict[str, str]
) -> None:
    """After a short write the rest is written too, which then reports the full disk."""
    many(service)
    command, *options = arguments
    env = {**env, **cli.limited(FSIZE=80 << 9)}
    with open(cli.cwd / "list", "wb") as stdout:
        finished = cli(command, "7", *CUBE, *options, "-q", env=env, stdout=stdout, code=1)
    assert finished.err == "error: cannot write to stdout: File too large\n"


def test_notices_into_a_pipe_that_does_not_block_come_whole(service: FakeService, cli: Cli) -> None:
    """The program waits for room in stderr too, so that no message is lost."""
    for number in range(400):
        service.add(f"{'a-long-name-' * 18}{number}.bin", status="failed")
    wanted = cli.download(code=6).err
    assert len(wanted) > 1 << 16
    reader = SlowReader()
    cli.download(stderr=reader.writer, code=6)
    assert reader.whole().decode() == wanted


def test_ctrl_c_ends_a_program_that_is_stuck_in_stdout(service: FakeService, cli: Cli) -> None:
    """A signal ends a program that is blocked by a full stdout."""
    many(service)
    reader, writer = os.pipe()
    make_small(writer)
    process = cli.start("list", "7", *CUBE, "--json", stdout=writer)
    os.close(writer)
    eventually(lambda: held_by(reader) >= 4096, "the pipe is full")
    process.send_signal(signal.SIGINT)
    assert cli.finish(process).code == 130
    os.close(reader)


def test_a_full_pipe_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for room in a full non-blocking pipe takes no CPU time."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    make_small(writer)
    os.write(writer, bytes(4096))
    waited: list[object] = []

    def until_ready(*given: object) -> None:
        waited.append(given)
        os.read(reader, 4096)

    monkeypatch.setattr(select, "select", until_ready)
    assert BlockingWriter(writer).write(b"x") == 1
    assert waited == [([], [writer], [])]
    os.close(reader)
    os.close(writer)


# Signals.


def test_a_second_signal_ends_at_once(service: FakeService, cli: Cli) -> None:
    """A program that is blocked while it ends, as by a full stderr, ends at the second signal."""
    service.api.on(f"/repos/{REPO}/cicd/", Response(hang=True))
    reader, writer = os.pipe()
    make_small(writer)
    os.write(writer, bytes(4096))
    process = cli.start("list", "7", *CUBE, stderr=writer)
    os.close(writer)
    eventually(lambda: service.api.requests, "the listing is asked")

    def is_over() -> bool:
        process.send_signal(signal.SIGINT)
        return process.poll() is not None

    eventually(is_over, "a later one ends it")
    assert cli.finish(process).code == 130
    os.close(reader)


IGNORING = ("sh", "-c", "trap '' INT TERM; exec \"$@\"", "sh")


def test_signals_that_are_ignored_stay_so(service: FakeService, cli: Cli) -> None:
    """A signal that the parent ignores, as a shell does for background jobs, stays ignored."""
    gate = threading.Event()
    service.add("large", LARGE, held(LARGE, gate))
    process = cli.start("download", "7", *CUBE, "-d", "out", wrap=IGNORING)
    eventually(lambda: service.storage.requests, "the file is asked for")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        process.send_signal(number)
    gate.set()
    assert cli.finish(process).code == 0
    assert tree(cli.out) == {"large": LARGE}


def test_one_ignored_signal_leaves_the_other(service: FakeService, cli: Cli) -> None:
    """A background job that ignores SIGINT can be ended with SIGTERM."""
    service.api.on(f"/repos/{REPO}/cicd/", Response(hang=True))
    background = ("sh", "-c", "trap '' INT; exec \"$@\"", "sh")
    process = cli.start("list", "7", *CUBE, wrap=background)
    eventually(lambda: service.api.requests, "the listing is asked")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert cli.finish(process).code == 143


def test_the_sandbox_ignores_what_is_ignored(cli: Cli) -> None:
    """The sandbox's command runs to its end despite ignored signals."""
    child = "kill -INT $PPID; kill -TERM $PPID; kill -INT $$; kill -TERM $$; echo whole"
    assert cli("sandbox", "--", "sh", "-c", child, wrap=IGNORING).stdout == b"whole\n"


# The folder.

LOST = ("sh", "-c", 'mkdir gone && cd gone && rmdir ../gone && exec "$@"', "sh")


@pytest.mark.parametrize(
    "arguments",
    [
        ("download", "7", *CUBE),
        ("download", "7", *CUBE, "-d", "out"),
        ("download", "7", *CUBE, "-n"),
        ("download", "7", *CUBE, "-o", "file"),
        ("download", "7", *CUBE, "--checksums", "sums"),
        ("verify",),
        ("verify", "out"),
    ],
    ids=" ".join,
)
def test_a_deleted_folder_is_told_of(
    service: FakeService, cli: Cli, arguments: tuple[str, ...]
) -> None:
    """The message says that the current folder has been deleted."""
    service.add("a", b"1")
    err = cli(*arguments, wrap=LOST, code=1).err
    assert err.startswith("error: the current folder has been deleted\n  hint: ")
    assert service.storage.requests == []


def test_a_deleted_folder_names_no_repository(cli: Cli) -> None:
    """If the checkout would name the repository, the message is about the deleted folder."""
    err = cli("list", "7", wrap=LOST, env={"SOURCECRAFT_ARTIFACTS_REPO": None}, code=1).err
    assert err.startswith("error: the current folder has been deleted\n")


def test_a_deleted_folder_that_is_not_needed_is_no_fault(service: FakeService, cli: Cli) -> None:
    """Absolute paths, and commands without a path, work in a deleted folder."""
    service.add("a", b"1")
    cli("list", "7", *CUBE, wrap=LOST)
    assert cli("download", "7", *CUBE, "-o", "-", wrap=LOST).stdout == b"1"
    cli("download", "7", *CUBE, "-d", str(cli.out), wrap=LOST)
    assert tree(cli.out) == {"a": b"1"}
    cli("verify", str(cli.out), wrap=LOST)
    cli("auth", "status", wrap=LOST)


# The home.

NOBODY = ("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups")


def test_without_home_and_user_all_else_works(service: FakeService, cli: Cli) -> None:
    """Without a home or user name, as in a container, all commands but `auth login` work."""
    service.add("a", b"1")
    env = {"HOME": None, "XDG_CONFIG_HOME": None, "XDG_CACHE_HOME": None, "PYTHONPATH": None}
    clean = {k: v for k, v in {**cli.env, **env}.items() if v is not None}
    tried = shutil.which(NOBODY[0]) and subprocess.run(
        [*NOBODY, sys.executable, "-c", "import os, pwd; pwd.getpwuid(os.getuid())"],
        env=clean,
        cwd="/",
        capture_output=True,
        check=False,
    )
    if not tried or b"KeyError" not in tried.stderr:
        pytest.skip("needs leave to become somebody else")
    assert cli("list", "7", *CUBE, wrap=NOBODY, env=env, cwd="/").out.endswith("\ta\n")
    assert cli("download", "7", *CUBE, "-o", "-", wrap=NOBODY, env=env, cwd="/").stdout == b"1"
    login = cli("auth", "login", "--with-token", stdin=b"t", wrap=NOBODY, env=env, cwd="/", code=1)
    assert "error: no home folder is known for the config file\n" in login.err


def test_no_home_is_no_config_and_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """If platformdirs finds no home, there is no config file and no cache."""

    def homeless(*_: object, **__: object) -> str:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("platformdirs.user_config_dir", homeless)
    monkeypatch.setattr("platformdirs.user_cache_dir", homeless)
    assert config.load_config() == config.Config(path="config.toml")
    assert name_cache.remembered(("x",), lambda: []) == []
