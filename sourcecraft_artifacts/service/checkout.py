"""Reads the repository from the `origin` remote of a git checkout."""

import os
import re

from ..text import visible

_LARGEST_CONFIG = 1 << 20
"""The largest git config, in bytes, that git is asked to read."""
_PATIENCE = 2
"""The seconds that git may take."""
_NO_REMOTE = 2
"""The exit status of git if there is no remote of that name."""
_REMOTE = (
    r"(?i)(?:ssh://(?:[^/?#]*@)?ssh\.sourcecraft\.dev(?::[0-9]*)?/"
    r"|(?:[^/:@]*@)?ssh\.sourcecraft\.dev:/?"
    r"|https://(?:[^/?#]*@)?git\.sourcecraft\.dev(?::[0-9]*)?/)"
    r"([^/?#\s]+)/([^/?#\s]+?)(?:\.git)?/?"
)


def repo_from_git(directory: str) -> str | None:
    """Read the repository from the `origin` remote of the checkout around a folder.

    Returns None if there is no such remote, if it is not on SourceCraft, or if git does not tell
    it. Nothing is raised or shown, as a remote may hold a password.
    """
    return repo_from_remote(_origin(directory)[0])


def repo_from_remote(url: str) -> str | None:
    """Read `org/repo` from the address of a git remote; None when it is not on SourceCraft."""
    match = re.fullmatch(_REMOTE, url) if ":" in url else None
    return f"{match[1]}/{match[2]}" if match else None


def why_no_repo(directory: str) -> str:
    """Say why the checkout around the current folder names no repository, safe to show."""
    url, fault = _origin(directory)
    if fault:
        return fault
    url = re.sub(r"^([a-z+]+://)?[^/@]*@", lambda found: found[1] or "", url)
    if url and "@" not in url:
        shown = visible(re.split(r"[?#]", url)[0])
        return f"the remote origin of the current folder is not on SourceCraft: {shown}"
    return "the current folder is not a checkout from SourceCraft"


def _origin(directory: str) -> tuple[str, str]:
    """Return the `origin` remote, or why git does not tell that of a checkout."""
    import subprocess

    command = ("git", "remote", "get-url", "origin")
    is_checkout = False
    try:
        checkout = _checkout_around(directory)
        is_checkout = checkout is not None
        if checkout is not None and not _is_readable(checkout):
            return "", "the git config of the current folder cannot be read"
        answer = subprocess.run(
            command,
            cwd=directory,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it may have a password
            timeout=_PATIENCE,
        )
    except (OSError, ValueError):
        fault = "git, which knows the repository of the current folder, cannot be run"
    except subprocess.TimeoutExpired:
        fault = f"{' '.join(command)} takes more than {_PATIENCE} seconds in the current folder"
    else:
        if answer.returncode == 0:
            return answer.stdout.decode(errors="replace").strip(), ""
        fault = "" if answer.returncode == _NO_REMOTE else f"{' '.join(command)} fails here"
    return "", fault if is_checkout else ""


def _checkout_around(directory: str) -> str | None:
    """Return the folder of the checkout that a folder is in; git knows other ways to tell it."""
    folder = os.path.abspath(directory)
    while not os.path.lexists(os.path.join(folder, ".git")):
        folder, below = os.path.dirname(folder), folder
        if folder == below:
            return None
    return folder


def _is_readable(checkout: str) -> bool:
    """Tell whether it is safe to let git read the config of a checkout.

    Git would wait for a FIFO for ever, and read all of a device into memory.
    """
    config = os.path.join(checkout, ".git", "config")
    if not os.path.lexists(config):
        return True
    return os.path.isfile(config) and os.path.getsize(config) <= _LARGEST_CONFIG
