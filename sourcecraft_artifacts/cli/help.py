"""The help pages: usage, sections of options, examples."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import typer
from typer.core import TyperCommand

from .boundary import errors_of_command

PROGRAM = "sourcecraft-artifacts"
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""Typer's settings for the program and for groups of commands."""

# The sections in the order in which a page shows them. An option names its section in typer's
# `rich_help_panel`; typer itself shows sections only with rich, which is slow to import.
WHICH = "Which runs and artifacts"
PLACE = "Where it goes"
EXISTING = "When it is there already"
HOW = "How to fetch"
SUCCESS = "What counts as success"
SHOWN = "What is shown"
CONNECTION = "Connection"
OTHER = "Other options"
SECTIONS = (WHICH, PLACE, EXISTING, HOW, SUCCESS, SHOWN, CONNECTION, OTHER)

_NAMES_WIDTH = 30
"""Columns for the names of options; longer names stand on a line of their own."""
_CONTINUED = "    "


def examples(*commands: str) -> str:
    """Return the examples of a help page, each a command line without the program's name."""
    return "\n".join(f"{PROGRAM} {command}" for command in commands)


def plain_typer(**settings: Any) -> typer.Typer:
    """Return a typer without its own completion, markup and tracebacks."""
    return typer.Typer(
        add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, **settings
    )


def command(name: str, *lines: str, **settings: Any) -> Callable[[Callable[..., None]], Any]:
    """Turn a function into a command, as typer does; `lines` are its examples."""

    def build(function: Callable[..., None]) -> Any:
        alone = plain_typer()
        alone.command(name, cls=Command, epilog=examples(*lines), **settings)(function)
        return typer.main.get_command(alone)

    return build


class Command(TyperCommand):
    """A command whose help page shows options in sections and keeps examples whole.

    Its usage shows which arguments depend on others: `RUN [WORKFLOW [TASK [CUBE]]]`.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command; what it raises becomes an error that says what happened."""
        with errors_of_command(ctx):
            return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the usage, word by word."""
        return usage_pieces(super().collect_usage_pieces(ctx))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then each section of options, all in the same columns."""
        arguments: list[tuple[str, str]] = []
        sections: dict[str, list[tuple[str, str]]] = {name: [] for name in SECTIONS}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            if param.param_type_name == "argument":
                name, text = record
                arguments.append((name.partition(" <")[0], text))  # typer 0.29 adds `<str>`
            else:
                name = getattr(param, "rich_help_panel", None) or OTHER
                sections[name].append(record)
        tables = {"Arguments": arguments, **sections}
        widths = [len(name) for records in tables.values() for name, _ in records]
        width = max((width for width in widths if width <= _NAMES_WIDTH), default=_NAMES_WIDTH)
        for title, records in tables.items():
            if records:
                with formatter.section(title):
                    padded = [(name.ljust(width), text) for name, text in records]
                    formatter.write_dl(padded, col_max=width)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples."""
        if self.epilog:
            write_examples(self.epilog.splitlines(), formatter)


def write_examples(commands: Sequence[str], formatter: Any) -> None:
    """Write examples, one per line; a backslash continues a line that is too wide."""
    with formatter.section("Examples"):
        indent = " " * formatter.current_indent
        for command in commands:
            for line in folded_command(command, formatter.width - len(indent)):
                formatter.write(f"{indent}{line}\n")


def folded_command(command: str, width: int) -> Iterator[str]:
    r"""Fold a command line between words; a `\` ends each line that goes on in the next."""
    lines = textwrap.wrap(
        command,
        max(width, 1) - len(" \\"),
        subsequent_indent=_CONTINUED,
        break_long_words=False,
        break_on_hyphens=False,
    )
    if len(command) <= width:
        lines = [command]
    yield from (f"{line} \\" for line in lines[:-1])
    yield lines[-1]


def usage_pieces(pieces: Sequence[str]) -> list[str]:
    """Write arguments without braces, and nest each optional one in the one before it."""
    options, *arguments = pieces
    needed = [word.strip("{}") for word in arguments if not word.startswith("[")]
    optional = [word for word in arguments if word.startswith("[")]
    nested = " ".join(word[:-1] for word in optional) + "]" * len(optional)
    return [options, *needed, *([nested] if nested else [])]
