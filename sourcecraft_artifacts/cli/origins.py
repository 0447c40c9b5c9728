"""Tells where a value comes from (option, variable or config file), and finds unknown names."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ..errors import UsageError
from ..text import nearest

PREFIX = "SOURCECRAFT_ARTIFACTS_"
OTHER_VARIABLES = ("SOURCECRAFT_TOKEN", "SOURCECRAFT_API_URL")
"""Variables without the prefix, which a user may write with it by mistake."""


def naming_the_variable(error: UsageError, ctx: Any) -> UsageError:
    """Name the variable instead of the option, if the option's value came from a variable."""
    message = error.message
    for param in ctx.command.params if ctx is not None else ():
        variable = _variable(param, ctx)
        if variable is not None:
            option = re.escape(max(param.opts, key=len))
            message = re.sub(rf"(?<![\w-]){option}(?![\w-])", f"the variable {variable}", message)
    return UsageError(message, hint=error.hint)


def _variable(param: Any, ctx: Any) -> str | None:
    """Return the variable that an option's value came from, or None."""
    source = ctx.get_parameter_source(param.name)
    if source is None or source.name != "ENVIRONMENT":
        return None
    return next((name for name in _variables(param) if os.environ.get(name)), None)


def _variables(param: Any) -> list[str]:
    names = param.envvar or []
    return [names] if isinstance(names, str) else list(names)


def unknown_variables(ctx: Any, environ: Mapping[str, str]) -> Iterator[str]:
    """Return a line for each variable with the prefix that belongs to no option of the program."""
    others = {name for name in environ if name.startswith(PREFIX)} - _known_variables(ctx.command)
    known = _known_variables(ctx.find_root().command) if others else set()
    for name in sorted(others - known):
        likely = nearest_of(name, {*known, *OTHER_VARIABLES})
        yield f"the variable {name} belongs to no option; did you mean {likely}?"


def _known_variables(command: Any) -> set[str]:
    known = {name for param in command.params for name in _variables(param)}
    for one in getattr(command, "commands", {}).values():
        known |= _known_variables(one)
    return known


def nearest_of(name: str, names: Collection[str]) -> str:
    """Return the one of `names` that is most like `name`, not counting their common prefix."""
    short = {re.sub("^SOURCECRAFT_(ARTIFACTS_)?", "", one): one for one in sorted(names)}
    return short[nearest(name.removeprefix(PREFIX), short)[0]]
