"""Says for `--debug` why the plan does what it does with each artifact."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from ..choices import IfExists
from ..disk.paths import SafePath
from ..logs import get_logger
from .decisions import Action, Step

_log = get_logger(__name__)
_REASONS = {
    Action.KEEP: "it is there as recorded",
    Action.SKIP: "something is there, and --if-exists is skip",
    Action.UNPACK: "its archive is there, and becomes a folder",
    Action.NONE: "it cannot be fetched",
}


def reason_for(step: Step, if_exists: IfExists) -> str:
    """Return the reason for a step in a few words."""
    if step.action in _REASONS:
        return _REASONS[step.action]
    if if_exists is IfExists.OVERWRITE and step.before is not None:
        return "--if-exists is overwrite"
    if step.entry is None:
        return "it is not there"
    if not step.entry.is_of(step.artifact):
        return "the service lists another version than the recorded one"
    return (
        "what is there is not as recorded"
        if step.before is not None
        else "the recorded file is gone"
    )


def log_decisions(
    steps: Iterable[Step], if_exists: IfExists, path_of: Callable[[SafePath], str]
) -> None:
    """Log each decision, except for artifacts that an earlier plan has dealt with."""
    if not _log.isEnabledFor(logging.DEBUG):
        return
    for step in steps:
        if step.action is not Action.NONE or not step.artifact.available:
            why = reason_for(step, if_exists)
            _log.debug("plan: %s %s: %s", step.action, path_of(step.place), why)
