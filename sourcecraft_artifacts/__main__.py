"""The way in, for `sourcecraft-artifacts` and `python -m sourcecraft_artifacts` alike."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import NoReturn
else:
    import _signal  # it is there from the start, where signal would first import many modules

_FEW_COLLECTIONS = (100_000, 20, 20)
"""Objects between two searches for cyclic garbage, and searches between two deeper ones.

Searching among what imports and listings make, which lives to the end, costs a tenth.
"""


def main() -> "NoReturn":
    """Run the program, and exit."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        # Until the program can end in order, Ctrl-C ends it without a traceback.
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    import gc

    gc.set_threshold(*_FEW_COLLECTIONS)
    from .cli.app import main as run

    run()


if __name__ == "__main__":
    main()
