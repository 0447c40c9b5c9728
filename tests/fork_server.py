"""A process that has the program loaded, and forks a command for each request.

Starting Python and importing take most of a short command's time; so they happen only once.
`forked.py` runs this file as a program, and is the tests' side of it.

Variables that modules read while they are imported have the values of this process. It tells their
names to the tests, which start a command with other values for them as a real process.
"""

from __future__ import annotations

import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

PROGRAM = "sourcecraft_artifacts"
# Modules of which tests replace something for a command.
_REPLACEABLE = {"errno", "fcntl", "os", "random", "resource", "time"}
# What the commands import later, besides their own modules.
_MODULES = [
    *("concurrent.futures.thread", "pwd", "requests", "resource", "shlex", "ssl"),
    *("platformdirs.unix", "rich.console", "rich.live", "rich.progress", "rich.table"),
    *("tarfile", "tomllib", "typer._click._textwrap", "typer._click.decorators"),
]


def load() -> list[str]:
    """Import the program, and return the names of the variables that its modules read then."""
    with _noted_reads() as names:
        for name in (*_MODULES, *_of_the_program()):
            importlib.import_module(name)
        build_commands()
    tasks = os.listdir("/proc/self/task")
    assert len(tasks) == 1, "a process with threads must not be forked"
    gc.collect()
    gc.freeze()
    return sorted(names)


def build_commands() -> None:
    """Let typer make the commands from their functions, which takes a fifth of a short command."""
    app = importlib.import_module(f"{PROGRAM}.cli.app")
    list(app.program().commands.values())


def _of_the_program() -> Iterator[str]:
    package = importlib.import_module(PROGRAM)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith(".__main__"):
            yield module.name


@contextmanager
def _noted_reads() -> Iterator[set[str]]:
    names: set[str] = set()
    kind: Any = type(os.environ)
    read = kind.__getitem__

    def note(environ: Any, name: str) -> Any:
        names.add(name)
        return read(environ, name)

    kind.__getitem__ = note
    try:
        yield names
    finally:
        kind.__getitem__ = read


def serve(requests: socket.socket) -> tuple[int, int, int, int]:
    """Fork for each request, and send back the child's id and then its exit status.

    Returns only in the children: the three standard descriptors, and the one from which to read the
    request. Ends with the tests.
    """
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    children: dict[int, tuple[int, int]] = {}
    while True:
        for ready, _ in poll.poll():
            if ready in children:
                pid, sender = children.pop(ready)
                poll.unregister(ready)
                os.close(ready)
                _tell(sender, os.waitpid(pid, 0)[1])
                os.close(sender)
                continue
            data, descriptors, _, _ = socket.recv_fds(requests, 1, 4)
            if not data:
                os._exit(0)
            stdin, stdout, stderr, sender = descriptors
            pid = os.fork()
            if not pid:
                return stdin, stdout, stderr, sender
            for descriptor in (stdin, stdout, stderr):
                os.close(descriptor)
            child = os.pidfd_open(pid)
            children[child] = (pid, sender)
            poll.register(child, select.POLLIN)
            _tell(sender, pid)


def _tell(sender: int, number: int) -> None:
    with suppress(BrokenPipeError):  # the test has ended
        os.write(sender, number.to_bytes(4, sys.byteorder))


def become(stdin: int, stdout: int, stderr: int, sender: int) -> dict[str, Any]:
    """Set up this process as a new process would be; return the request."""
    with open(sender, closefd=False) as asked:
        request: dict[str, Any] = json.load(asked)
    if request["start_new_session"]:
        os.setsid()
    for standard, given in enumerate((stdin, stdout, stderr)):
        os.dup2(given, standard)
    os.closerange(3, 1 << 20)
    os.umask(request["umask"])
    os.chdir(request["cwd"])
    # With no locale in the environment, Python sets one as it starts (PEP 538).
    coerced = {name: os.environ[name] for name in ("LC_CTYPE",) if name in os.environ}
    os.environ.clear()
    os.environ.update(request["env"] | coerced)
    for standard, name in enumerate(("stdin", "stdout", "stderr")):
        made = _renewed(getattr(sys, name), standard)
        setattr(sys, name, made)
        setattr(sys, f"__{name}__", made)
    sys.argv = ["-m", *request["arguments"]]
    sys.orig_argv = [sys.executable, "-P", "-m", request["module"], *request["arguments"]]
    return request


def customize(folder: str) -> None:
    """Run a test's `sitecustomize.py`, which a process of its own would run as it starts.

    What it replaces must not have been copied out of its module before.
    """
    modules = dict(sys.modules)
    before = {name: dict(vars(module)) for name, module in modules.items() if name in _REPLACEABLE}
    runpy.run_path(os.path.join(folder, "sitecustomize.py"))
    old = {
        id(value)
        for name, values in before.items()
        for key, value in values.items()
        if vars(modules[name]).get(key) is not value
    }
    for name, module in modules.items():
        if name.startswith(PROGRAM):
            kept = [key for key, value in vars(module).items() if id(value) in old]
            assert not kept, f"{name} has copies of what is to be replaced: {kept}"


def _renewed(stream: TextIO, descriptor: int) -> Any:
    """Make a standard stream as Python makes it at its start."""
    raw = io.FileIO(descriptor, "r" if descriptor == 0 else "w", closefd=False)
    raw.name = stream.name
    made: Any = io.TextIOWrapper(
        io.BufferedReader(raw) if descriptor == 0 else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        newline=None if descriptor == 0 else "\n",
        line_buffering=descriptor == 2 or raw.isatty(),
    )
    made.mode = stream.mode
    return made


def main() -> None:
    """Serve the tests; in a child, run the requested module as `python -m` does."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    requests.sendall(json.dumps(load()).encode())
    request = become(*serve(requests))
    if request["customize"]:
        customize(request["customize"])
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
