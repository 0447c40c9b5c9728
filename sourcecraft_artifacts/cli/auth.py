"""The commands below `auth`: their arguments, and what they show."""

from __future__ import annotations

import typer

from ..errors import AuthError
from . import options as opt
from .boundary import guarded
from .help import Command, examples
from .session import Session

auth = typer.Typer(
    help="Store, remove and explain the token.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings=opt.CONTEXT,
)


@auth.command(
    "login",
    cls=Command,
    epilog=examples("auth login", "auth login --with-token < token.txt"),
)
@guarded
def login_command(
    ctx: typer.Context, with_token: opt.WithToken = False, api_url: opt.ApiUrl = None
) -> None:
    """Store a token in the config file, for the API's host alone."""
    from .login import ask_token, store

    session = Session(ctx, api_url)
    store(session.api_url, ask_token(session.api_url, from_stdin=with_token), session.notice)


@auth.command("logout", cls=Command)
@guarded
def logout_command(ctx: typer.Context, api_url: opt.ApiUrl = None) -> None:
    """Remove the stored token of the API's host."""
    from .login import remove

    session = Session(ctx, api_url)
    remove(session.api_url, session.notice)


@auth.command(
    "status", cls=Command, short_help="Say where the token comes from, and show it masked."
)
@guarded
def status_command(ctx: typer.Context, api_url: opt.ApiUrl = None) -> None:
    """Say where the token comes from, and show it masked; exit status 4 without one."""
    from ..service.config import api_host, masked

    session = Session(ctx, api_url)
    token = session.token
    session.write([f"API    {session.api_url}"])
    if token is None:
        session.write(["token  none"])
        raise AuthError(
            f"there is no token for {api_host(session.api_url)}",
            hint="log in with `sourcecraft-artifacts auth login`, or set SOURCECRAFT_TOKEN",
        )
    session.write([f"token  {masked(token.value)}, from {token.source}"])
