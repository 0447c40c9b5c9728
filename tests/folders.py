"""A folder to work in, beside one that nothing may touch, known in both ways that there are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sourcecraft_artifacts.disk import directory as folder
from sourcecraft_artifacts.disk.directory import Directory

CREATE = os.O_WRONLY | os.O_CREAT

KINDS = ("descriptors", "paths")
"""The ways to know a folder: by its descriptor, or by its path alone."""

OBSTACLES = {
    "file": "out/file is not a folder",
    "link": "out/link is a symlink",
    "dangling": "out/dangling is a symlink",
    "inner\u202e": r"out/inner\\u202e is a symlink",
}
"""What `put_obstacles` puts in the way, and what is said of it, as a pattern."""


def know_folders_by(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let folders be known in this way; `paths` is that of a system that has nothing better."""
    if kind == "paths":
        monkeypatch.setattr(folder, "_HAS_DIR_FD", False)
        monkeypatch.setattr(folder, "_SAFELY", 0)


@contextmanager
def laid_out(tmp_path: Path) -> Iterator[str]:
    """An output folder `out` with folders `a/b` and a file, beside `outside`, which stays as is."""
    (tmp_path / "out/a/b").mkdir(parents=True)
    (tmp_path / "out/file").write_text("mine")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("theirs")
    yield str(tmp_path / "out")
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["secret"]
    assert (tmp_path / "outside/secret").read_text() == "theirs"


def put_obstacles(tmp_path: Path) -> None:
    """Put symlinks where folders could be: to the outside, to nothing there, and to the inside."""
    (tmp_path / "out/link").symlink_to(tmp_path / "outside")
    (tmp_path / "out/dangling").symlink_to(tmp_path / "outside/new")
    (tmp_path / "out/inner\u202e").symlink_to("a")


def write(parent: Directory, name: str, body: bytes = b"new") -> None:
    """Write to a file, new or not."""
    descriptor = parent.open(name, CREATE)
    os.write(descriptor, body)
    os.close(descriptor)
