"""The entry point of `sourcecraft-artifacts` and of `python -m sourcecraft_artifacts`."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import NoReturn
else:
    import _signal  # always loaded, while importing signal would load many modules

_FEW_COLLECTIONS = (100_000, 20, 20)
"""The thresholds of the cyclic garbage collector (`gc.set_threshold`).

With the defaults it searches the objects of imports and listings, which live to the end, again and
again: a tenth of the time.
"""


def main() -> "NoReturn":
    """Run the program and exit."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        # Until the program handles signals, Ctrl-C ends it without a traceback.
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    import gc

    gc.set_threshold(*_FEW_COLLECTIONS)
    from .cli.app import main as run

    run()


if __name__ == "__main__":
    main()
