"""nginx for benchmarks and tests: free ports, configuration, start and end."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

_LONGEST_START = 20
_CONFIG = """
{main}
{user}
daemon off;
pid {directory}/nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    client_body_temp_path {directory}/temporary;
    proxy_temp_path {directory}/temporary;
    fastcgi_temp_path {directory}/temporary;
    uwsgi_temp_path {directory}/temporary;
    scgi_temp_path {directory}/temporary;
    root {directory}/site;
    {http}
}}
"""


def free_ports(count: int) -> list[int]:
    """Return ports on which nobody listens at this moment."""
    with ExitStack() as stack:
        open_ = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(one.getsockname()[1]) for one in open_]


@contextmanager
def running(
    program: str, directory: Path, http: str, *, main: str = "", within: Sequence[str] = ()
) -> Iterator[None]:
    """Run nginx, with all that it reads and writes in the directory, until the context ends.

    `http` and `main` are additional text for its configuration; `within` is a command that runs it
    somewhere else. The context begins when it accepts connections. Raises `RuntimeError` if it does
    not start.
    """
    # Workers that root starts run as nobody, who may not enter a temporary folder.
    user = "user root;" if os.geteuid() == 0 else ""
    config, log = directory / "nginx.conf", directory / "nginx.log"
    config.write_text(_CONFIG.format(main=main, user=user, directory=directory, http=http))
    command = [*within, program, "-e", "stderr", "-p", str(directory), "-c", str(config)]
    with log.open("wb") as stderr, ended(subprocess.Popen(command, stderr=stderr)) as process:
        _wait(process, directory / "nginx.pid", log)
        yield


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """End a process with the context."""
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _wait(process: subprocess.Popen[bytes], listens: Path, log: Path) -> None:
    deadline = time.monotonic() + _LONGEST_START
    while process.poll() is None and time.monotonic() < deadline:
        if listens.exists():  # nginx writes it when its ports are open
            return
        time.sleep(0.02)
    raise RuntimeError(f"nginx did not start: {log.read_text().strip()}")
