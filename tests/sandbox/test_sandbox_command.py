"""`run_sandbox` runs a command with a sandbox, or serves until it is stopped."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from sourcecraft_artifacts.sandbox.command import past_proxies

RUN = (
    "import sys; from sourcecraft_artifacts.sandbox import run_sandbox;"
    "sys.exit(run_sandbox(sys.argv[1:]))"
)
SANDBOX = (sys.executable, "-c", RUN)
TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def clean_environment(**more: str) -> dict[str, str]:
    """Return the environment without proxies."""
    kept = {name: value for name, value in os.environ.items() if name.lower() not in PROXIES}
    return kept | more


@contextmanager
def started(*command: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    """Start a process in a session of its own, with pipes; end it with the context."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(**more),
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def child(code: str) -> tuple[str, ...]:
    """Return a command that runs Python code with a sandbox."""
    return (*SANDBOX, sys.executable, "-c", code)


def read_until(process: subprocess.Popen[str], text: str) -> None:
    """Read lines of standard output up to the first with `text`."""
    assert process.stdout
    assert any(text in line for line in process.stdout)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("pass", 0),
        ("raise SystemExit(7)", 7),
        pytest.param("import os; os.kill(os.getpid(), 9)", 137, marks=POSIX),
        pytest.param("import os; os.kill(os.getpid(), 15)", 143, marks=POSIX),
    ],
)
def test_ends_with_the_status_of_the_command(code: str, status: int) -> None:
    """The status is the command's, or 128 plus the signal that ended it."""
    assert subprocess.run(child(code), check=False).returncode == status


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    """The status is 127, and the message has the name."""
    name = str(tmp_path / "gone\x1b[31m")
    result = subprocess.run((*SANDBOX, name), capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (127, "")
    assert result.stderr == f"error: command not found: {tmp_path / 'gone'}\\x1b[31m\n"


@POSIX
def test_a_command_that_cannot_be_run(tmp_path: Path) -> None:
    """The status is 126, and the message has the reason."""
    result = subprocess.run((*SANDBOX, str(tmp_path)), capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (126, "")
    assert result.stderr == f"error: cannot run {tmp_path}: Permission denied\n"


def test_the_command_reaches_the_sandbox_past_a_proxy() -> None:
    """The command's environment exempts loopback from proxies."""
    code = (
        "import os, urllib.request as u;"
        "e = os.environ;"
        "r = u.Request(f\"{e['SOURCECRAFT_API_URL']}/repos/{e['SOURCECRAFT_ARTIFACTS_REPO']}\""
        " '/cicd/runs/43', headers={'Authorization': 'Bearer ' + e['SOURCECRAFT_TOKEN']});"
        "print(u.urlopen(r).status)"
    )
    environ = clean_environment(http_proxy="http://127.0.0.1:9")
    result = subprocess.run(child(code), capture_output=True, text=True, env=environ, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "200\n", "")


@pytest.mark.parametrize(
    ("environ", "value"),
    [
        ({}, "127.0.0.1"),
        ({"NO_PROXY": "corp.example"}, "corp.example,127.0.0.1"),
        ({"no_proxy": "a.example", "NO_PROXY": "b.example"}, "a.example,127.0.0.1"),
        ({"NO_PROXY": "*"}, "*"),
    ],
)
def test_loopback_is_kept_from_proxies(environ: Mapping[str, str], value: str) -> None:
    """Hosts that were exempt from proxies stay so."""
    assert past_proxies(environ) == {"NO_PROXY": value, "no_proxy": value}


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_passed_on(number: signal.Signals) -> None:
    """A signal to the sandbox is passed to the command, whose status counts."""
    code = (
        "import signal, sys\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(9))\n"
        "print('ready', flush=True)\n"
        "signal.pause()"
    )
    with started(*child(code)) as process:
        read_until(process, "ready")
        process.send_signal(number)
        assert process.wait(20) == 9


@POSIX
def test_ctrl_c_in_a_terminal_is_the_commands_own() -> None:
    """The sandbox survives a Ctrl-C, and does not pass it on a second time."""
    code = (
        "import signal, sys\n"
        "seen = []\n"
        "def see(*_): seen.append(1); print('interrupt', flush=True)\n"
        "signal.signal(signal.SIGINT, see)\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "sys.exit(40 + len(seen))"
    )
    with started(sys.executable, "-c", TERMINAL, *child(code)) as process:
        assert process.stdin
        for wait_for, keys in [("ready", "\x03"), ("interrupt", "\n")]:
            read_until(process, wait_for)
            process.stdin.write(keys)
            process.stdin.flush()
        assert process.wait(20) == 41


@POSIX
@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("sh",), True),
        (("/bin/sh", "-i"), True),
        (("sh", "-c", "echo inside"), False),
        (("echo", "inside"), False),
    ],
)
def test_a_shell_on_a_terminal_is_told_of_the_sandbox(command: Iterable[str], said: bool) -> None:
    """Its first line says what is served, where, and how it ends; no other command has that."""
    with started(sys.executable, "-c", TERMINAL, *SANDBOX, *command) as process:
        shown, _ = process.communicate("echo inside; exit\n" * said, timeout=20)
    served = r"sandbox/demo is served at http://127\.0\.0\.1:\d+ until this shell ends \(exit\)\."
    assert bool(re.search(served, shown)) is said
    assert "inside" in shown


def test_a_shell_that_reads_a_pipe_is_told_nothing() -> None:
    """Scripts find nothing of the sandbox's on stderr."""
    with started(*SANDBOX, "sh") as process:
        shown = process.communicate("echo inside", timeout=20)
    assert shown == ("inside\n", "")


@POSIX
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_without_a_command_it_serves_until_told_to_stop(
    number: signal.Signals, status: int
) -> None:
    """Stdout has the settings as shell lines, and nothing else."""
    with started(*SANDBOX) as process:
        assert process.stdout
        assert process.stderr
        settings = dict(read_export(process.stdout.readline()) for _ in range(3))
        # Both lines come after the settings: a signal before them would keep them away.
        hint = "".join(process.stderr.readline() for _ in range(2))
        url = f"{settings['SOURCECRAFT_API_URL']}/repos/sandbox/demo/cicd/runs"
        token = settings["SOURCECRAFT_TOKEN"]
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request) as response:
            assert response.status == 200
        process.send_signal(number)
        rest, _ = process.communicate(timeout=20)
    assert settings["SOURCECRAFT_ARTIFACTS_REPO"] == "sandbox/demo"
    assert (process.returncode, rest) == (status, "")
    assert "Ctrl-C" in hint


@POSIX
def test_after_ctrl_c_the_prompt_stands_on_a_new_line() -> None:
    """The sandbox ends the terminal's line, which has `^C`."""
    with started(sys.executable, "-c", TERMINAL, *SANDBOX) as process:
        assert process.stdin
        read_until(process, "until Ctrl-C")
        process.stdin.write("\x03")
        process.stdin.flush()
        shown, _ = process.communicate(timeout=20)
    assert (process.returncode, shown.strip(" \r")) == (0, "^C\n")


@POSIX
def test_the_settings_name_the_proxy_exception_where_there_is_a_proxy() -> None:
    """Behind a proxy, the settings exempt loopback from it."""
    with started(*SANDBOX, HTTP_PROXY="http://proxy.example", NO_PROXY="a b") as process:
        assert process.stdout
        settings = dict(read_export(process.stdout.readline()) for _ in range(5))
        process.send_signal(signal.SIGINT)
    assert settings["NO_PROXY"] == settings["no_proxy"] == "a b,127.0.0.1"


def read_export(line: str) -> tuple[str, str]:
    """Return the name and value of an export line, as a shell reads it."""
    export, setting = shlex.split(line)
    assert export == "export"
    name, _, value = setting.partition("=")
    return name, value
