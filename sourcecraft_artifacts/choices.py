"""The values of options with a fixed set of choices."""

from enum import StrEnum


class Layout(StrEnum):
    """Where an artifact lands below the output folder."""

    AUTO = "auto"
    MIRROR = "mirror"
    NESTED = "nested"
    FLAT = "flat"


class IfExists(StrEnum):
    """What happens to a file that exists already."""

    UPDATE = "update"
    SKIP = "skip"
    OVERWRITE = "overwrite"
    ERROR = "error"


class Progress(StrEnum):
    """How progress is shown on stderr."""

    AUTO = "auto"
    BAR = "bar"
    PLAIN = "plain"
    JSON = "json"
    NONE = "none"


class Shell(StrEnum):
    """The shells that have a completion script."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"
