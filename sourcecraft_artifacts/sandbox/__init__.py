"""A local stand-in for the service, to try the tool and rehearse scripts with no account."""

from .command import run_sandbox
from .server import Sandbox

__all__ = ["Sandbox", "run_sandbox"]
