"""The commands of `auth`: store and remove a token, and say where it comes from."""

import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

from ..errors import ApiError, AuthError, NotFound, UsageError
from ..text import visible
from .help import CONTEXT, OTHER, Command, examples, plain_typer
from .options import ApiUrl, CaBundle, Repo, option
from .session import Session
from .streams import write_lines

_LONGEST = 1 << 16  # bytes of stdin; a token is much shorter
_PATIENCE = 10.0  # seconds that the API may be silent while a person waits

Check = Annotated[
    bool,
    option("--check", section=OTHER, help="Also ask the API for a page of runs with the token."),
]
NoCheck = Annotated[
    bool, option("--no-check", section=OTHER, help="Store the token without asking the API first.")
]
WithToken = Annotated[
    bool, option("--with-token", section=OTHER, help="Read the token from stdin.")
]

_auth = plain_typer(
    name="auth",
    help="Store, remove and explain the token.",
    no_args_is_help=True,
    context_settings=CONTEXT,
)


@_auth.command(
    "login",
    cls=Command,
    epilog=examples("auth login", "auth login --with-token < token.txt"),
)
def login_command(
    ctx: typer.Context,
    with_token: WithToken = False,
    no_check: NoCheck = False,
    repo: Repo = None,
    api_url: ApiUrl = None,
    ca_bundle: CaBundle = None,
) -> None:
    """Store a token in the config file, for the API's host alone.

    If a repository is known, the token is checked with the API first, and is not stored if the
    API refuses it.
    """
    from ..service.access import api_host
    from .config import config_path, save_token

    session = Session(ctx, api_url, ca_bundle)
    host = api_host(session.api_url)
    known = None if no_check else _repo_to_ask_for(session, repo)
    token = _asked_token(host, from_stdin=with_token)
    if not no_check:
        _try_before_storing(session, known, token)
    save_token(host, token)
    session.tell(f"stored the token for {host} in {config_path()}")
    _tell_of_variable(session, "while the variable %s is set, its token is used instead")


@_auth.command("logout", cls=Command)
def logout_command(ctx: typer.Context, api_url: ApiUrl = None) -> None:
    """Remove the stored token of the API's host."""
    from ..service.access import api_host
    from .config import config_path, remove_token

    session = Session(ctx, api_url)
    host = api_host(session.api_url)
    if remove_token(host):
        session.tell(f"removed the token for {host} from {config_path()}")
    else:
        session.tell(f"there is no stored token for {host}")
    _tell_of_variable(session, "the variable %s still holds a token")


@_auth.command(
    "status", cls=Command, short_help="Say where the token comes from, and show it masked."
)
def status_command(
    ctx: typer.Context,
    check: Check = False,
    repo: Repo = None,
    api_url: ApiUrl = None,
    ca_bundle: CaBundle = None,
) -> None:
    """Say where the token comes from, and show it masked; exit status 4 without one.

    With --check the API is asked for a page of runs; if it refuses, the exit status is 4 too.
    """
    from ..service.access import api_host, masked

    session = Session(ctx, api_url, ca_bundle)
    token = session.token
    write_lines([f"API    {session.api_url}"])
    if token is None:
        write_lines(["token  none"])
        raise AuthError(
            f"there is no token for {api_host(session.api_url)}",
            hint="log in with `sourcecraft-artifacts auth login`, or set SOURCECRAFT_TOKEN",
        )
    write_lines([f"token  {masked(token.value)}, from {token.source}"])
    if check:
        known = session.repo(repo)
        _ask_with(session, known, token.value)
        write_lines([f"check  accepted: the runs of {visible(known)} can be read"])


def _try_before_storing(session: Session, repo: str | None, token: str) -> None:
    """Ask the API with a token and report the result. Raises `AuthError` if it refuses."""
    if repo is None:
        session.tell("the token was not checked: no repository is known (--repo ORG/REPO)")
        return
    try:
        _ask_with(session, repo, token)
    except AuthError as error:
        raise AuthError(
            f"{error.message}: the token was not stored",
            hint="copy the token again; it must be valid, and allowed to read"
            f" {visible(repo)} (--no-check stores it without asking the API)",
        ) from error
    except (ApiError, NotFound) as error:
        session.warn([f"the token could not be checked: {error.message}"])
    else:
        session.tell(f"the API accepts the token: the runs of {repo} can be read")


def _repo_to_ask_for(session: Session, repo: str | None) -> str | None:
    try:
        return session.known_repo(repo)
    except OSError:  # the current folder has been deleted
        return None


def _ask_with(session: Session, repo: str, token: str) -> None:
    """Ask the API for one page of runs. Raises `AuthError`, `NotFound` and `ApiError`."""
    from ..service.responses import MorePages

    patience = {"timeout": _PATIENCE, "deadline": 2 * _PATIENCE}
    with session.client(token, retries=1, **patience) as client, suppress(MorePages):
        next(client.runs(repo, page_size=1, most_pages=1), None)


def _asked_token(host: str, *, from_stdin: bool) -> str:
    """Read a token from stdin, or from the terminal without echo. Raises `UsageError`."""
    from ..service.access import clean_token

    if from_stdin:
        text = sys.stdin.buffer.read(_LONGEST).decode("utf-8", "replace") if sys.stdin else ""
        return clean_token(text)
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask for the token",
            hint="pipe it in: sourcecraft-artifacts auth login --with-token < FILE",
        )
    from getpass import getpass

    try:
        return clean_token(getpass(f"Token for {host}: ", stream=sys.stderr))
    except EOFError:
        print(file=sys.stderr)  # the prompt has a line of its own
        raise UsageError(
            "no token was given", hint="paste it, and end it with Enter; it is not shown"
        ) from None


def _tell_of_variable(session: Session, remark: str) -> None:
    from .config import TOKEN_VARIABLE

    if os.environ.get(TOKEN_VARIABLE, "").strip():
        session.tell("note: " + remark % TOKEN_VARIABLE)


auth_command = typer.main.get_command(_auth)
