"""Calls in threads: deadlines, several at once, and without threads."""

from __future__ import annotations

import os
import signal
import sys
import threading

import pytest

from sourcecraft_artifacts import threads


def test_within_returns_and_raises_what_the_call_does() -> None:
    """The result or error of the call is that of `within`."""
    assert threads.within(60, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        threads.within(60, lambda: 1 // 0)


def test_within_does_not_wait_longer() -> None:
    """A call that hangs is left in its thread, which holds up nothing."""
    hang = threading.Event()
    try:
        with pytest.raises(threads.DeadlinePassed):
            threads.within(0.01, hang.wait)
        left = [thread for thread in threading.enumerate() if thread.name == "exchange"]
        assert all(thread.daemon for thread in left)
    finally:
        hang.set()


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends the process there")
def test_a_signal_ends_the_wait() -> None:
    """An exception of a signal handler ends the wait."""
    hang = threading.Event()

    def interrupt() -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        return hang.wait()

    # SIGINT is ignored if the tests run as a background job of a shell.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            threads.within(60, interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
        hang.set()


@pytest.mark.parametrize("allowed", [0, 1, 4])
def test_in_as_many_threads_as_there_are(monkeypatch: pytest.MonkeyPatch, allowed: int) -> None:
    """Each thing has its result, in order, with any number of threads."""
    start, left = threading.Thread.start, [allowed]

    def limited(thread: threading.Thread) -> None:
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    assert list(threads.in_threads(str, range(20), 4)) == [str(at) for at in range(20)]


def test_a_call_without_a_thread_has_no_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a thread the call is made here."""

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    assert threads.within(0.1, lambda: 7) == 7
