"""The `sandbox` command: runs a command with a sandbox, or serves one until Ctrl-C."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from ..errors import Interrupted
from ..text import visible
from .server import Sandbox

CANNOT_RUN, NOT_FOUND = 126, 127
_SIGNALS = [signal.SIGINT, signal.SIGTERM]
if hasattr(signal, "SIGHUP"):  # Windows has none
    _SIGNALS.append(signal.SIGHUP)
_SHELLS = ("bash", "dash", "fish", "ksh", "sh", "zsh")
_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
_HINT = """
Paste these lines into another shell, then try: sourcecraft-artifacts runs
The sandbox serves until Ctrl-C.
"""


def run_sandbox(command: Sequence[str]) -> int:
    """Run `command` with a sandbox, or serve one until Ctrl-C if there is no command.

    Returns the command's exit status as shells give it: 128+N if signal N ended it, 127 if it was
    not found, 126 if it cannot be run. Without a command: 0 after SIGINT, 143 after SIGTERM,
    129 after SIGHUP.
    """
    with Sandbox() as sandbox:
        if command:
            if _is_shell(command) and _on_terminal():
                served = f"{sandbox.repository.org_repo} is served at {sandbox.url}"
                print(f"{served} until this shell ends (exit).", file=sys.stderr, flush=True)
            return _run(command, os.environ | sandbox.environment() | past_proxies(os.environ))
        proxied = any(os.environ.get(name) for name in _PROXIES)
        return _serve(sandbox.environment() | (past_proxies(os.environ) if proxied else {}))


def _is_shell(command: Sequence[str]) -> bool:
    """Tell whether a command is a shell without a script, which asks a terminal for commands."""
    name, *options = command
    return os.path.basename(name) in _SHELLS and all(
        option == "-i" or option.startswith("--") for option in options
    )


def _on_terminal() -> bool:
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def past_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that exempt loopback from the proxies of `environ`."""
    # If both are set, the one in lower case is used.
    known = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    value = known if known.strip() == "*" else ",".join(filter(None, [known, "127.0.0.1"]))
    return {"NO_PROXY": value, "no_proxy": value}


def _serve(settings: Mapping[str, str]) -> int:
    def stop(number: int, _: object) -> None:
        raise Interrupted(number)

    try:
        with _handling(stop):
            for name, value in settings.items():
                print(f"export {name}={shlex.quote(value)}")
            sys.stdout.flush()
            print(_HINT.strip(), file=sys.stderr, flush=True)
            while True:
                time.sleep(3600)
    except Interrupted as interrupted:
        # Ctrl-C is the documented way to stop it.
        if interrupted.exit_code != 128 + signal.SIGINT:
            return interrupted.exit_code
        _end_the_line()
        return 0


def _end_the_line() -> None:
    """End the terminal's line, which has `^C`, so that the prompt stands on a line of its own."""
    if sys.stderr is not None and sys.stderr.isatty():
        print(file=sys.stderr, flush=True)


def _run(command: Sequence[str], environ: Mapping[str, str]) -> int:
    child: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def pass_on(number: int, _: object) -> None:
        if number == signal.SIGINT and _in_foreground():
            return
        if child is None:
            early.append(number)
        else:
            child.send_signal(number)

    with _handling(pass_on):
        try:
            child = subprocess.Popen(command, env=environ)
        except OSError as error:
            return _complain(command[0], error)
        for number in early:
            child.send_signal(number)
        status = child.wait()
    return status if status >= 0 else 128 - status


def _complain(name: str, error: OSError) -> int:
    if isinstance(error, FileNotFoundError):
        print(f"error: command not found: {visible(name)}", file=sys.stderr)
        return NOT_FOUND
    print(f"error: cannot run {visible(name)}: {error.strerror}", file=sys.stderr)
    return CANNOT_RUN


def _in_foreground() -> bool:
    """Tell whether the terminal sends Ctrl-C to the child itself, in the foreground group."""
    if sys.platform == "win32":
        return True
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


@contextmanager
def _handling(handler: Callable[[int, object], None]) -> Iterator[None]:
    # A signal that the parent ignores, such as a shell with a background job, stays ignored.
    numbers = [one for one in _SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]
    before = [signal.signal(number, handler) for number in numbers]
    try:
        yield
    finally:
        for number, old in zip(numbers, before, strict=True):
            signal.signal(number, old)
