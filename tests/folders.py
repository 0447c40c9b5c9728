"""A folder to work in beside one that must stay untouched, known in both ways."""

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
    """Use one way to know folders; `paths` is that of systems without folder descriptors."""
    if kind == "paths":
        monkeypatch.setattr(folder, "_HAS_DIR_FD", False)
        monkeypatch.setattr(folder, "_SAFELY", 0)


@contextmanager
def laid_out(tmp_path: Path) -> Iterator[str]:
    """Create `out` with folders `a/b` and a file, beside `outside`, which must stay untouched."""
    (tmp_path / "out/a/b").mkdir(parents=True)
    (tmp_path / "out/file").write_text("mine")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("theirs")
    yield str(tmp_path / "out")
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["secret"]
    assert (tmp_path / "outside/secret").read_text() == "theirs"


def put_obstacles(tmp_path: Path) -> None:
    """Put symlinks in the places of folders: to the outside, to nothing, and to the inside."""
    (tmp_path / "out/link").symlink_to(tmp_path / "outside")
    (tmp_path / "out/dangling").symlink_to(tmp_path / "outside/new")
    (tmp_path / "out/inner\u202e").symlink_to("a")


def write(parent: Directory, name: str, body: bytes = b"new") -> None:
    """Write to a file, which may exist."""
    descriptor = parent.open(name, CREATE)
    os.write(descriptor, body)
    os.close(descriptor)
