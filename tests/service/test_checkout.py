"""The repository of a git checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourcecraft_artifacts.service import checkout
from sourcecraft_artifacts.service.address import parse_repo
from sourcecraft_artifacts.service.checkout import repo_from_git, repo_from_remote, why_no_repo


@pytest.mark.parametrize(
    ("url", "repo"),
    [
        ("ssh://ssh.sourcecraft.dev/o/r.git", "o/r"),
        ("ssh://git@ssh.sourcecraft.dev:22/o/r", "o/r"),
        ("SSH://git@SSH.SourceCraft.dev/o/r.git/", "o/r"),
        ("git@ssh.sourcecraft.dev:o/r.git", "o/r"),
        ("ssh.sourcecraft.dev:/o/r.x", "o/r.x"),
        ("https://git.sourcecraft.dev/o/r.git", "o/r"),
        ("https://git.sourcecraft.dev/o/r/", "o/r"),
        ("https://user:p@ss@git.sourcecraft.dev:443/o/r.git", "o/r"),
        ("", None),
        ("/srv/o/r.git", None),
        ("http://git.sourcecraft.dev/o/r.git", None),
        ("https://ssh.sourcecraft.dev/o/r.git", None),
        ("ssh://git.sourcecraft.dev/o/r.git", None),
        ("https://git.sourcecraft.dev/o", None),
        ("https://git.sourcecraft.dev/o/r/x.git", None),
        ("https://git.sourcecraft.dev/o/r.git?x", None),
        ("https://git.sourcecraft.dev.example.org/o/r.git", None),
        ("https://git.sourcecraft.dev@example.org/o/r.git", None),
        ("git@ssh.sourcecraft.dev.example.org:o/r.git", None),
        ("git@example.org:o/r.git", None),
        ("x/git@ssh.sourcecraft.dev:o/r.git", None),
        ("https://github.com/o/r.git", None),
    ],
)
def test_only_remotes_on_sourcecraft_name_a_repository(url: str, repo: str | None) -> None:
    """The forms of SourceCraft's remotes are read, with or without user info; others are not."""
    assert repo_from_remote(url) == repo


@settings(derandomize=True, max_examples=50)
@given(st.text() | st.text().map("https://git.sourcecraft.dev/o/{}".format))
def test_no_remote_is_a_crash(url: str) -> None:
    """Any remote gives ORG/REPO or None."""
    repo = repo_from_remote(url)
    assert repo is None or parse_repo(repo) == repo


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


def test_the_origin_of_a_checkout_names_the_repository(tmp_path: Path) -> None:
    """It is found from any folder of the checkout; without a SourceCraft `origin` there is none."""
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    _git(tmp_path, "init", "-q")
    assert repo_from_git(str(below)) is None
    _git(tmp_path, "remote", "add", "origin", "https://u:p@git.sourcecraft.dev/o/r.git")
    assert repo_from_git(str(below)) == "o/r"
    _git(tmp_path, "remote", "set-url", "origin", "https://example.org/o/r.git")
    assert repo_from_git(str(below)) is None


def test_no_git_and_no_folder_are_no_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without git, or in a missing folder, nothing is raised or printed."""
    assert repo_from_git(str(tmp_path / "absent")) is None
    assert repo_from_git(str(tmp_path)) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert repo_from_git(str(tmp_path)) is None
    assert capfd.readouterr() == ("", "")


NOT_ONE = "the current folder is not a checkout from SourceCraft"


def test_it_is_said_why_there_is_no_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout of which git does not tell the remote is not called none."""
    folder = str(tmp_path)
    assert why_no_repo(folder) == NOT_ONE
    _git(tmp_path, "init", "-q")
    assert why_no_repo(folder) == NOT_ONE
    _git(tmp_path, "remote", "add", "origin", "https://ann:pa55@example.org/o/r.git?x")
    assert why_no_repo(folder).endswith(" is not on SourceCraft: https://example.org/o/r.git")
    (tmp_path / ".git" / "HEAD").write_text("broken")
    assert why_no_repo(folder) == "git remote get-url origin fails here"
    (tmp_path / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "git").chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
        patch.setattr(checkout, "_PATIENCE", 0.1)
        assert "takes more than 0.1 seconds" in why_no_repo(folder)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert "git, which knows the repository" in why_no_repo(folder)
    assert "cannot be run" in why_no_repo(folder)


def test_there_is_no_repository_in_a_deleted_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is raised if the current folder is gone."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert (repo_from_git("."), why_no_repo(".")) == (None, NOT_ONE)
