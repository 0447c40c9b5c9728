"""The way in, for `sourcecraft-artifacts` and `python -m sourcecraft_artifacts` alike."""

import signal
from typing import NoReturn


def main() -> NoReturn:
    """Run the program, and exit."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until the program can end in order, Ctrl-C ends it without a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .cli import main as run

    run()


if __name__ == "__main__":
    main()
