"""What all tests share: a clean environment, a fake service, the command."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fake_service import CUBE, REPO, SIGNATURE, TOKEN, WAIT, FakeService
from folders import KINDS, know_folders_by
from forked import IS_POSSIBLE, Forked, ForkServer
from hypothesis import HealthCheck, settings

from sourcecraft_artifacts import proxies
from sourcecraft_artifacts.sandbox import Sandbox

_OUTSIDE = re.compile(
    r".*_PROXY|SOURCECRAFT_.*|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|SSL_CERT_(FILE|DIR)|SSLKEYLOGFILE"
    r"|NETRC|NO_COLOR|FORCE_COLOR|CLICOLOR(_FORCE)?|COLUMNS",
    re.IGNORECASE,
)

# SIGINT is ignored if the tests run as a background job of a shell, SIGHUP if they run by `nohup`,
# and then the program would ignore them too.
_SIGNALS = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]
for _number in filter(None, _SIGNALS):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(
            _number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL
        )

# A property holds on a busy machine too, where an example may take long. Each run tries the same.
settings.register_profile(
    "busy", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy")

PROGRAM = "sourcecraft_artifacts"

# The program's random waits before a retry or a poll are short in tests.
HURRY = """
import random
random.random = lambda: 0.02
random.uniform = lambda low, high: low / 20
"""


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    stdout: bytes
    err: str

    @property
    def out(self) -> str:
        """Standard output as text."""
        return self.stdout.decode()

    @property
    def json(self) -> Any:
        """The JSON document on standard output."""
        return json.loads(self.stdout)

    @property
    def outcomes(self) -> dict[str, str]:
        """The outcome of each artifact, from the report."""
        return {one["local_path"]: one["outcome"] for one in self.json["files"]}


class Cli:
    """The command, in a clean environment that points at the fake service."""

    def __init__(
        self, home: Path, service: FakeService, fork_server: ForkServer | None = None
    ) -> None:
        self._fork_server = fork_server
        self.cwd = home / "work"
        self.out = self.cwd / "out"
        self.cwd.mkdir()
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_CACHE_HOME": str(home / "cache"),
            "SOURCECRAFT_API_URL": service.api.url,
            "SOURCECRAFT_TOKEN": TOKEN,
            "SOURCECRAFT_ARTIFACTS_REPO": REPO,
        }
        self._started: list[subprocess.Popen[bytes]] = []
        self.config = home / "config" / "sourcecraft-artifacts" / "config.toml"

    def start(
        self,
        *arguments: str,
        env: Mapping[str, str | None] | None = None,
        wrap: Sequence[str] = (),
        anew: bool = False,
        **options: Any,
    ) -> subprocess.Popen[bytes]:
        """Start the command, with `wrap` by a command that execs it; None unsets a variable.

        It is forked from a process that has the program loaded, unless a test wants a new process
        or one would start differently.
        """
        merged = {**self.env, **(env or {})}
        clean = {name: value for name, value in merged.items() if value is not None}
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        options = {"cwd": self.cwd, "env": clean, **pipes, **options}
        server = self._fork_server
        process: subprocess.Popen[bytes]
        if server and not wrap and not anew and server.serves(clean):
            process = Forked(server, PROGRAM, *arguments, **options)
        else:
            command = [*wrap, sys.executable, "-P", "-m", PROGRAM, *arguments]
            process = subprocess.Popen(command, **options)
        self._started.append(process)
        return process

    def limited(self, **limits: int) -> dict[str, str]:
        """Return variables with which a command has resource limits, such as `NOFILE=20`."""
        folder = self.cwd.parent / "limited"
        folder.mkdir(exist_ok=True)
        lines = [f"resource.setrlimit(resource.RLIMIT_{k}, ({v}, {v}))" for k, v in limits.items()]
        (folder / "sitecustomize.py").write_text("\n".join([HURRY, "import resource", *lines]))
        return {"PYTHONPATH": str(folder)}

    @contextmanager
    def started_with(self, env: Mapping[str, str]) -> Iterator[None]:
        """Fork the commands from a process that started with these variables too."""
        usual = self._fork_server
        if usual is None or usual.serves({**self.env, **env}):
            yield
            return
        early = {name: self.env[name] for name in ("PATH", "PYTHONPATH")}
        self._fork_server = own = ForkServer({**early, **env})
        yield
        self._fork_server = usual
        own.close()

    def close(self) -> None:
        """End processes that a failed test has left."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def finish(self, process: subprocess.Popen[bytes], stdin: bytes = b"") -> Finished:
        """Wait for the end, and check what is promised for every output."""
        try:
            out, err = process.communicate(stdin, timeout=WAIT)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"did not end: {err!r}") from None
        finished = Finished(process.returncode, out or b"", (err or b"").decode())
        assert "Traceback" not in finished.err, finished.err
        assert TOKEN.encode() not in finished.stdout + (err or b""), finished
        if "--with-urls" not in str(process.args):
            assert SIGNATURE.encode() not in finished.stdout + (err or b""), finished
        return finished

    def __call__(
        self, *arguments: str, code: int | tuple[int, ...] = 0, stdin: bytes = b"", **options: Any
    ) -> Finished:
        """Run the command to its end, and check its exit status."""
        finished = self.finish(self.start(*arguments, **options), stdin)
        wanted = (code,) if isinstance(code, int) else code
        assert finished.code in wanted, f"{finished.code}, not {code}: {finished.err}"
        return finished

    def download(self, *arguments: str, **options: Any) -> Finished:
        """Download the usual cube to `out`."""
        return self("download", "7", *CUBE, "-d", "out", *arguments, **options)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the machine's proxy, TLS, colour and service settings.

    Proxies are remembered by host and port, and a port may have been another test's.
    """
    for name in [name for name in os.environ if _OUTSIDE.fullmatch(name)]:
        monkeypatch.delenv(name)
    proxies._proxy.cache_clear()


@pytest.fixture
def service() -> Iterator[FakeService]:
    """Start a service without artifacts; check what is promised for every request."""
    with FakeService() as service:
        yield service
    for received in service.storage.requests:
        assert received.method == "GET"
        assert received.header("Authorization") is None
        assert received.header("Cookie") is None
    assert all(received.method == "GET" for received in service.api.requests)


@pytest.fixture(scope="session")
def hurry(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment in which waits between tries and polls are short."""
    folder = tmp_path_factory.mktemp("hurry")
    (folder / "sitecustomize.py").write_text(HURRY)
    return {"PYTHONPATH": str(folder)}


@pytest.fixture(scope="session")
def fork_server(hurry: dict[str, str]) -> Iterator[ForkServer | None]:
    """Start the process from which commands are forked, with short waits, if the system can."""
    server = ForkServer({"PATH": os.environ["PATH"], **hurry}) if IS_POSSIBLE else None
    yield server
    if server:
        server.close()


@pytest.fixture
def make_cli(
    hurry: dict[str, str], fork_server: ForkServer | None
) -> Callable[[Path, FakeService], Cli]:
    """Return a function that makes a command with a home and a token for a service."""

    def make(home: Path, service: FakeService) -> Cli:
        cli = Cli(home, service, fork_server)
        cli.env |= hurry
        return cli

    return make


@pytest.fixture
def cli(
    tmp_path: Path, service: FakeService, make_cli: Callable[[Path, FakeService], Cli]
) -> Iterator[Cli]:
    """The command in a home of its own, with a token, pointed at the service, with short waits."""
    cli = make_cli(tmp_path, service)
    yield cli
    cli.close()


@pytest.fixture
def sandbox_env(
    request: pytest.FixtureRequest, tmp_path: Path, hurry: dict[str, str]
) -> Iterator[dict[str, str]]:
    """A home and a sandbox, whose run in progress stands still, or ends soon for `--wait`.

    Its time passes from the first request on: a slow machine must not miss the run.
    """
    params = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    waits = "block" in params and "--wait" in params["block"].text
    began, asked = time.time(), list[float]()

    def clock() -> float:
        asked.append(time.time())
        first = asked[1] if len(asked) > 1 else asked[0]  # the sandbox asks once when it is made
        return began + 10 * (asked[-1] - first) * waits

    paths = [sysconfig.get_path("scripts"), os.environ["PATH"]]
    home = tmp_path / "home"
    home.mkdir()
    with Sandbox(clock=clock) as sandbox:
        yield {
            "PATH": os.pathsep.join(paths),
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            **hurry,
            **sandbox.environment(),
        }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an empty folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Yield both ways to know a folder."""
    know_folders_by(request.param, monkeypatch)
    return str(request.param)
