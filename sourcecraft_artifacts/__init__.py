"""List and download the CI artifacts of SourceCraft runs."""

from .errors import ApiError, ArtifactsError, ExitCode
from .models import Artifact, Cube, Run, Task, Workflow

__version__ = "0.1.0"

__all__ = [
    "ApiError",
    "Artifact",
    "ArtifactsError",
    "Cube",
    "ExitCode",
    "Run",
    "Task",
    "Workflow",
]
