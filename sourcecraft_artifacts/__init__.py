"""List and download the CI artifacts of SourceCraft runs.

As a library: a `Client` for the API, the records that it returns, `list_artifacts` and
`download` with a `Request`, a reporter and a `Report`, and the errors. Names are imported when
they are first used, so that importing the package takes almost no time.

    from sourcecraft_artifacts import Address, Client, Request, download

    with Client(token="…") as client:
        address = Address("org/repo", "12", "ci", "build", "linux")
        report = download(client, Request(address, directory="out"))
    for file in report.files:
        print(file.path, file.outcome, file.sha256)
"""

# Importing typing would take longer than all the rest; type checkers know this name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from .choices import IfExists as IfExists
    from .choices import Layout as Layout
    from .downloads.download import download as download
    from .downloads.request import Request as Request
    from .errors import ApiError as ApiError
    from .errors import ArtifactsError as ArtifactsError
    from .errors import AuthError as AuthError
    from .errors import ExitCode as ExitCode
    from .errors import LocalError as LocalError
    from .errors import NotFound as NotFound
    from .errors import NothingMatched as NothingMatched
    from .errors import Refused as Refused
    from .errors import TransferError as TransferError
    from .errors import UsageError as UsageError
    from .models import Artifact as Artifact
    from .models import ArtifactDates as ArtifactDates
    from .models import Cube as Cube
    from .models import CubeAddress as CubeAddress
    from .models import Run as Run
    from .models import Task as Task
    from .models import Workflow as Workflow
    from .results import FileResult as FileResult
    from .results import Outcome as Outcome
    from .results import Report as Report
    from .results import UnlistedCube as UnlistedCube
    from .select import Selection as Selection
    from .service.address import Address as Address
    from .service.address import parse_address as parse_address
    from .service.api import Client as Client
    from .service.listing import Listing as Listing
    from .service.listing import list_artifacts as list_artifacts
    from .service.responses import MorePages as MorePages
    from .service.runs import RunFilter as RunFilter
    from .service.runs import latest_run as latest_run
    from .transfer.reporter import Activity as Activity
    from .transfer.reporter import NullReporter as NullReporter
    from .transfer.reporter import Reporter as Reporter

__version__ = "0.1.0"

_HOMES = {
    "service.address": "Address parse_address",
    "service.api": "Client",
    "choices": "IfExists Layout",
    "downloads.download": "download",
    "transfer.reporter": "Activity NullReporter Reporter",
    "errors": "ApiError ArtifactsError AuthError ExitCode LocalError NothingMatched NotFound"
    " Refused TransferError UsageError",
    "service.listing": "Listing list_artifacts",
    "service.responses": "MorePages",
    "service.runs": "RunFilter latest_run",
    "models": "Artifact ArtifactDates Cube CubeAddress Run Task Workflow",
    "downloads.request": "Request",
    "results": "FileResult Outcome Report UnlistedCube",
    "select": "Selection",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = sorted(_HOME)


def __dir__() -> "list[str]":
    """List the public names too, before they are imported, so that help() shows them."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    """Import a public name from its module (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
