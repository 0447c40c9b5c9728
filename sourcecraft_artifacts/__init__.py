"""List and download the CI artifacts of SourceCraft runs.

Importing this package is cheap: the names below are loaded when they are first used, and
neither typer nor rich is ever imported by them.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .api import Client as Client
    from .download import DownloadResult as DownloadResult
    from .download import Reporter as Reporter
    from .download import Request as Request
    from .download import download as download
    from .errors import ArtifactsError as ArtifactsError
    from .errors import ExitCode as ExitCode
    from .models import Artifact as Artifact
    from .models import Cube as Cube
    from .models import Run as Run
    from .models import Task as Task
    from .models import Workflow as Workflow

_HOMES = {
    "Artifact": "models",
    "ArtifactsError": "errors",
    "Client": "api",
    "Cube": "models",
    "DownloadResult": "download",
    "ExitCode": "errors",
    "Reporter": "download",
    "Request": "download",
    "Run": "models",
    "Task": "models",
    "Workflow": "models",
    "download": "download",
}

__all__ = sorted([*_HOMES, "__version__"])  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
