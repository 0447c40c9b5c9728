"""Reads addresses of artifacts: the repository, the run, and the names below it.

The repository comes from the first of these that names one: the command line, the web address of a
run, the environment, the config file, the `origin` remote of a git checkout.
"""

import os
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

from .. import checks
from ..errors import UsageError
from ..select import name_pattern
from ..text import visible
from ..urls import shown_url
from .checkout import repo_from_remote, why_no_repo

WEB_FORM = "https://sourcecraft.dev/ORG/REPO/cicd/runs/RUN[/WORKFLOW[/TASK[/CUBE]]]"
_NAMES = ("WORKFLOW", "TASK", "CUBE")
# Patterns are compiled when they are first used: most addresses are plain names.
_WEB = (
    r"(?is)(?:https?://)?(?:(?:www\.)?sourcecraft\.dev|api\.sourcecraft\.tech/repos)"
    r"/([^?#]*)(?:[?#].*)?"
)
_WITHOUT_SCHEME = ("sourcecraft.dev/", "www.sourcecraft.dev/", "api.sourcecraft.tech/")
_OF_A_RUN = (["cicd", "runs"], ["cicd", "artifacts"])


class _Words(NamedTuple):
    repo: str
    run: str
    workflow: str | None
    task: str | None
    cube: str | None


class Address(_Words):
    """A repository, a run, and three names or globs below it. Raises `UsageError`.

    `repo` is `org/repo`; `run` is the slug of a run, which may be given as a number, or `latest`.
    `workflow`, `task` and `cube` are names or globs; None stands for all.
    """

    __slots__ = ()

    def __new__(
        cls,
        repo: str,
        run: str | int,
        workflow: str | None = None,
        task: str | None = None,
        cube: str | None = None,
    ) -> Self:
        if isinstance(run, int) and not isinstance(run, bool):
            checks.whole("run", run, 0)
            run = str(run)
        names = {"run": run, "workflow": workflow, "task": task, "cube": cube}
        for name, value in names.items():
            if value is not None or name == "run":
                checks.text(name, value)
        repo = parse_repo(checks.text("repo", repo))
        return super().__new__(cls, repo, str(run), workflow, task, cube)

    @property
    def exact(self) -> bool:
        """Whether there are three plain names, so that the run need not be read."""
        names = (self.workflow, self.task, self.cube)
        return all(name is not None and not is_glob(name) for name in names)


def parse_address(
    run: str,
    names: Sequence[str | None] = (),
    *,
    explicit_repo: str | None = None,
    default_repo: Callable[[], str | None] = lambda: None,
) -> Address:
    """Read RUN, the names after it, and the repository.

    `explicit_repo` is from the command line, and must not contradict a web address. `default_repo`
    is called only if neither of them names a repository. Raises `UsageError`.
    """
    if explicit_repo is not None:
        explicit_repo = parse_repo(explicit_repo)
    if looks_like_web_address(run):
        return _web_address(run, names, explicit_repo)
    run = _checked("RUN", run)
    repo = explicit_repo or given_repo(default_repo(), run)
    return Address(repo, run, *_checked_names(_split(names)))


def _split(names: Sequence[str | None]) -> Sequence[str | None]:
    """Split a single `WORKFLOW/TASK/CUBE`, the form that messages use, into its names."""
    first, *more = names or [None]
    parts = (first or "").rstrip("/").split("/")
    is_single = all(name is None for name in more)
    if not is_single or len(parts) > len(_NAMES) or not all(parts):
        return names
    return parts


def parse_repo(text: str) -> str:
    """Read a repository: ORG/REPO, its web address, or a git remote. Raises `UsageError`."""
    text = repo_from_remote(text) or _repo_of_web_address(text) or text
    parts = _checked("the repository", text).split("/")
    is_remote = re.match(r"[^/:]*@[^/:]*:", text) is not None
    if is_remote or len(parts) != 2 or not all(part.strip().strip(".") for part in parts):
        raise UsageError(
            f"the repository must be ORG/REPO, not {visible(shown_url(text))}",
            hint="its web address on SourceCraft, or a git remote of it, will do too",
        )
    return text


def _repo_of_web_address(text: str) -> str | None:
    from urllib.parse import unquote

    match = re.fullmatch(_WEB, text) if "sourcecraft" in text.lower() else None
    if match is None:
        return None
    names = [unquote(name, errors="replace") for name in match[1].split("/")[:2]]
    return "/".join(names).removesuffix(".git")


def looks_like_web_address(text: str) -> bool:
    """Tell whether RUN is meant as a web address, valid or not, rather than as a slug."""
    return "://" in text or text.strip().lower().startswith(_WITHOUT_SCHEME)


def given_repo(repo: str | None, run: str = "") -> str:
    """Check a repository. Raises `UsageError` if it is malformed, or None.

    `run` is the first argument of a command that takes one: if it looks like a repository, the
    error says so.
    """
    if repo is None:
        hint = "use --repo ORG/REPO"
        hint += ", or give the web address of the run" if run else ""
        if re.fullmatch(r"[^/]+/[^/]+", run):
            hint = f"to name the repository, use -R {visible(run)}; the first argument is a run"
        raise UsageError(f"no repository is given, and {why_no_repo(os.curdir)}", hint=hint)
    return parse_repo(repo)


def _web_address(text: str, names: Sequence[str | None], explicit_repo: str | None) -> Address:
    repo, run, *own = _read_web_address(text)
    if explicit_repo is not None and explicit_repo != repo:
        raise UsageError(
            f"--repo says {visible(explicit_repo)}, the web address says {visible(repo)}",
            hint="leave out --repo: the web address names the repository",
        )
    more = [name for name in (names if own else _split(names)) if name is not None]
    if len(own) + len(more) > len(_NAMES):
        raise UsageError(
            f"too many names: the web address has {' and '.join(_NAMES[: len(own)])} already",
            hint="names after a web address continue it, up to CUBE",
        )
    return Address(repo, run, *_checked_names([*own, *more]))


def _read_web_address(text: str) -> list[str]:
    """Read `org/repo`, the run and the names, each percent-decoded by itself (RFC 3986, 2.4)."""
    from urllib.parse import unquote

    match = re.fullmatch(_WEB, _checked("the web address", text).strip())
    segments = match[1].rstrip("/").split("/") if match else []
    if not 5 <= len(segments) <= 8 or segments[2:4] not in _OF_A_RUN or not all(segments):
        raise _not_a_run(text)
    try:
        org, repo, _, _, *rest = (unquote(segment, errors="strict") for segment in segments)
    except UnicodeDecodeError as exc:
        raise _not_a_run(text) from exc
    if "/" in org + repo:
        raise _not_a_run(text)
    return [parse_repo(f"{org}/{repo}"), *rest]


def _not_a_run(text: str) -> UsageError:
    return UsageError(
        f"{visible(shown_url(text))} is not the web address of a run, which looks like {WEB_FORM}"
    )


def _checked_names(names: Sequence[str | None]) -> list[str | None]:
    return [
        None if name is None else _checked(what, name)
        for what, name in zip(_NAMES, names, strict=False)
    ]


def _checked(what: str, text: str) -> str:
    if not text:
        raise UsageError(f"{what} is empty")
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise UsageError(f"{what} is not valid text: {visible(text)}") from exc
    return text


def is_glob(name: str) -> bool:
    """Tell whether a name of an address is a glob."""
    return "*" in name or "?" in name


def name_matches(pattern: str | None, name: str) -> bool:
    """Tell whether a name is the pattern, or matches it as a glob; None matches every name.

    `*` and `?` are special and match any character; brackets are ordinary characters.
    """
    if pattern is None or pattern == name:
        return True
    return is_glob(pattern) and name_pattern(pattern).fullmatch(name) is not None
