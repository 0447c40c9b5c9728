"""Commands that are forked from a process that has the program loaded.

For a test, such a command is a process like any other: it has an id, a status, descriptors and a
session of its own, and it can be killed.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# What Python, the C library and OpenSSL read as they start.
_EARLY = re.compile(r"PYTHON\w*|LC_\w+|LANG|LANGUAGE|TZ|OPENSSL\w*|LD_\w+|MALLOC_\w+")
_UMASK = re.compile(r"^Umask:\s*([0-7]+)$", re.MULTILINE)

# The arguments that Popen passes to the method that makes a child, in this order.
_PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
_OPTIONS = (
    *("executable", "preexec_fn", "close_fds", "pass_fds", "cwd", "env"),
    *("startupinfo", "creationflags", "shell", *_PIPES, "restore_signals"),
    *("gid", "gids", "uid", "umask", "start_new_session", "process_group"),
)

IS_POSSIBLE = sys.platform == "linux"


class ForkServer:
    """The process that is forked; it starts with these variables, and ends with the tests."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = dict(env)
        self.requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        server = Path(__file__).with_name("fork_server.py")
        command = [sys.executable, "-P", str(server), str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                command,
                env=self._env,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self._decided = json.loads(self.requests.recv(1 << 16))

    def serves(self, env: Mapping[str, str]) -> bool:
        """Tell whether a process with these variables would start as the server did.

        What a `sitecustomize.py` does then can be done later too.
        """
        names = {*self._decided, *filter(_EARLY.fullmatch, {*env, *self._env})}
        if self.customized(env):
            names.discard("PYTHONPATH")
        return all(env.get(name) == self._env.get(name) for name in names)

    def customized(self, env: Mapping[str, str]) -> str:
        """Return the folder of another `sitecustomize.py` than the server's; empty if none is."""
        path = env.get("PYTHONPATH", "")
        is_other = path != self._env.get("PYTHONPATH") and os.path.isdir(path)
        return path if is_other and os.listdir(path) == ["sitecustomize.py"] else ""

    def close(self) -> None:
        """End the server; its children live on."""
        self.requests.close()
        self._process.wait()


class Forked(subprocess.Popen[bytes]):
    """`python -P -m MODULE ARGUMENTS...`, by a fork of the server.

    Three inner methods of Popen are replaced: those that make a child and read its status. All
    else, such as pipes and waiting with a timeout, is Popen's own.
    """

    def __init__(self, server: ForkServer, module: str, *arguments: str, **options: Any) -> None:
        self._server = server
        super().__init__([sys.executable, "-P", "-m", module, *arguments], **options)

    def _execute_child(self, args: list[str], *given: Any) -> None:
        options = dict(zip(_OPTIONS, given, strict=True))
        request = {
            "module": args[3],
            "arguments": args[4:],
            "env": options["env"],
            "cwd": os.path.abspath(options["cwd"] or "."),
            "umask": _umask(),
            "start_new_session": options["start_new_session"],
            "customize": self._server.customized(options["env"]),
        }
        theirs = [options[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        descriptors = [standard if one == -1 else one for standard, one in enumerate(theirs)]
        self._answers, sender = socket.socketpair()
        with sender:
            socket.send_fds(self._server.requests, [b"x"], [*descriptors, sender.fileno()])
        self._answers.sendall(json.dumps(request).encode())
        self._answers.shutdown(socket.SHUT_WR)
        self.pid = self._hear()
        self._child_created = True
        self._close_pipe_fds(*(options[name] for name in _PIPES))  # type: ignore[attr-defined]

    def _hear(self, flags: int = 0) -> int:
        told = self._answers.recv(4, flags)
        assert told, "the fork server has died"
        return int.from_bytes(told, sys.byteorder)

    def _try_wait(self, flags: int) -> tuple[int, int]:
        try:
            status = self._hear(socket.MSG_DONTWAIT if flags & os.WNOHANG else 0)
        except BlockingIOError:
            return 0, 0
        self._answers.close()
        return self.pid, status

    def _internal_poll(self, _deadstate: int | None = None) -> int | None:
        if self.returncode is None:
            pid, status = self._try_wait(os.WNOHANG)
            if pid:
                self._handle_exitstatus(status)  # type: ignore[attr-defined]
        return self.returncode


def _umask() -> int:
    found = _UMASK.search(Path("/proc/self/status").read_text())
    assert found
    return int(found[1], 8)
