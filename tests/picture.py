"""Draw the README's picture: a real download on a terminal of 84 columns.

    python tests/picture.py

The program runs on a pseudo-terminal with the sandbox. From what it shows, an early frame of the
display and the last line become an SVG, made by rich.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from sourcecraft_artifacts.sandbox import Sandbox

PICTURE = Path(__file__).parent / "data" / "download.svg"
COLUMNS, LINES = 84, 24
COMMAND = ("download", "latest", "--run-status", "success", "-d", "out")
LARGE = ("images/disk.img", "dist/symbols.bin", "site/search.bin")
"""The files that take long enough to have a bar."""
_SLOWED = {"SOURCECRAFT_ARTIFACTS_LIMIT_RATE": "32M"}
_REDRAWN = re.compile(r"\r?(?:\x1b\[(?:1A|2K))+")
_CURSOR = re.compile(r"\x1b\[\?25[hl]")
_WEB_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def on_terminal(command: Sequence[str], cwd: str | Path, env: dict[str, str]) -> tuple[int, str]:
    r"""Run a command on a terminal; return its exit status and all that it showed.

    Lines end with `\n`.
    """
    return started_on_terminal(lambda **more: subprocess.Popen(command, cwd=cwd, **more), env)


def started_on_terminal(
    start: Callable[..., subprocess.Popen[bytes]], env: dict[str, str]
) -> tuple[int, str]:
    """Do the same for a command that `start` starts, given the variables and streams."""
    ours, its = pty.openpty()
    size = {"COLUMNS": str(COLUMNS), "LINES": str(LINES), "TERM": "xterm-256color"}
    streams = {"stdin": subprocess.DEVNULL, "stdout": its, "stderr": its}
    with start(env={**size, **env}, **streams) as process:
        os.close(its)
        shown = b""
        try:
            while piece := os.read(ours, 1 << 16):
                shown += piece
        except OSError:
            pass  # on Linux: the other end is closed
        finally:
            os.close(ours)
    return process.returncode, shown.decode().replace("\r\n", "\n")


def caught(shown: str) -> list[str]:
    """Return the lines before the display, an early frame of it, and the lines after it."""
    first, *frames, last = _REDRAWN.split(_CURSOR.sub("", shown))
    whole = [frame for frame in frames if all(name in frame for name in LARGE)]
    frame = whole[len(whole) // 3]
    return [first.splitlines()[0], *frame.splitlines(), "", *last.splitlines()]


def draw() -> str:
    """Return the picture as SVG."""
    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
        env = {**sandbox.environment(), **_SLOWED, "HOME": folder, "LC_ALL": "C.UTF-8"}
        program = [sys.executable, "-P", "-m", "sourcecraft_artifacts", *COMMAND]
        status, shown = on_terminal(program, folder, env)
    assert status == 0, shown
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text("$ ", style="bold") + Text(f"sourcecraft-artifacts {' '.join(COMMAND)}"))
        for line in caught(shown):
            console.print(Text.from_ansi(line), no_wrap=True)
        picture = console.export_svg(title="sourcecraft-artifacts", unique_id="download")
    return _WEB_FONT.sub("", picture)  # a picture that loads nothing from elsewhere


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8", newline="\n")
