"""The program's own description: its commands and their options."""

from __future__ import annotations

from typing import Any

from sourcecraft_artifacts.cli.app import program


def leaves(group: Any = None, path: str = "") -> dict[str, Any]:
    """Return the commands by their full names."""
    found: dict[str, Any] = {}
    for name, command in (group or program()).commands.items():
        if hasattr(command, "commands"):
            found |= leaves(command, f"{path}{name} ")
        else:
            found[f"{path}{name}"] = command
    return found


def options(command: Any) -> list[Any]:
    """Return the options of a command."""
    return [param for param in command.params if param.param_type_name == "option"]
