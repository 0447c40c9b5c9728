"""The loop: many sockets, timers, and blocking calls in threads."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from selectors import EVENT_READ

import pytest

from sourcecraft_artifacts.http.waits import Call, Gate, Outcome, Ready, Stalled, Steps
from sourcecraft_artifacts.transfer.loop import Loop

FOR_EVER = float("inf")


@pytest.fixture
def calls() -> list[Call]:
    """Collect the calls that are to be made in threads."""
    return []


@pytest.fixture
def loop(calls: list[Call]) -> Iterator[Loop]:
    """Make a loop that is run round by round."""
    loop = Loop(calls.append)
    yield loop
    loop.close()


class Ends:
    """Runs steps, and records how they ended."""

    def __init__(self, loop: Loop, *steps: Steps[None]) -> None:
        self.loop = loop
        self.ends: list[Exception | None] = []
        self.tasks = [loop.begin(one, self.ends.append) for one in steps]
        for task in self.tasks:
            task.resume()

    def run(self, rounds: int = 1000) -> list[Exception | None]:
        """Run until all have ended."""
        for _ in range(rounds):
            if len(self.ends) == len(self.tasks):
                break
            self.loop._round()
        return self.ends


def reading(sock: socket.socket, deadline: float = FOR_EVER) -> Steps[None]:
    """Wait for a byte."""
    yield Ready(sock, EVENT_READ, deadline)
    assert sock.recv(1) == b"x"


def test_a_thousand_sockets(loop: Loop) -> None:
    """Each socket is served, in any order."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2200:
        pytest.skip("this machine has too few descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2200), hard))
    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(1000)]
        for pair in pairs:
            for one in pair:
                stack.enter_context(one)
        ends = Ends(loop, *(reading(ours) for ours, _ in pairs))
        for _, theirs in reversed(pairs):
            theirs.send(b"x")
        assert ends.run() == [None] * 1000
        for ours, _ in pairs:
            loop.forget(ours)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_number_that_is_used_again(loop: Loop) -> None:
    """A new socket with the number of a closed one is waited for like any other."""
    for _ in range(3):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ends = Ends(loop, reading(ours))
            theirs.send(b"x")
            assert ends.run() == [None]


def test_what_is_late_fails(loop: Loop) -> None:
    """A wait for a socket that passes its deadline fails as stalled, and the others go on."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ends = Ends(loop, reading(ours, loop.time() + 0.01))
        loop.later(0.02, loop.expire)
        (end,) = ends.run()
        assert isinstance(end, Stalled)
        loop.forget(ours)


def test_a_program_that_stood_still_is_not_late(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After SIGSTOP or a sleep of the machine nothing counts as stalled."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ends = Ends(loop, reading(ours, loop.time() + 30))
        real = time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: real() + 1000)
        loop.later(0.0, loop.expire)
        loop._round()
        assert ends.ends == []
        theirs.send(b"x")
        assert ends.run() == [None]
        loop.forget(ours)


def test_timers_come_in_their_order(loop: Loop) -> None:
    """Timers fire by their time, then by their age; a cancelled one does not fire."""
    came: list[int] = []
    for number, seconds in ((3, 0.02), (1, 0.0), (2, 0.0)):
        loop.later(seconds, lambda number=number: came.append(number))  # type: ignore[misc]
    loop.later(0.01, lambda: came.append(4)).cancel()
    while len(came) < 3:
        loop._round()
    assert came == [1, 2, 3]


def test_one_call_for_all_who_wait(loop: Loop, calls: list[Call]) -> None:
    """A call is made once, and everybody who waits gets its result, also later."""
    call = Call(lambda: 7)
    got: list[int] = []

    def waiting() -> Steps[None]:
        got.append((yield Outcome(call)))

    ends = Ends(loop, waiting(), waiting())
    assert calls == [call]
    call.result = call.function()
    loop.post(lambda: loop.finish(call))
    assert ends.run() == [None, None]
    assert Ends(loop, waiting()).run() == [None]
    assert got == [7, 7, 7]


def test_a_call_that_hangs_is_not_waited_for(loop: Loop, calls: list[Call]) -> None:
    """A wait for a call that hangs ends at its deadline."""

    def waiting() -> Steps[None]:
        yield Outcome(Call(lambda: None), loop.time() + 0.01)

    (end,) = Ends(loop, waiting()).run()
    assert isinstance(end, Stalled)


def test_what_is_closed_is_not_resumed(loop: Loop) -> None:
    """A closed task is not resumed, whatever it waited for."""
    gate, over = Gate(), []

    def waiting() -> Steps[None]:
        try:
            yield gate
        finally:
            over.append(True)

    ends = Ends(loop, waiting())
    ends.tasks[0].close()
    gate.waiting.popleft()()
    assert (over, ends.ends) == ([True], [])


def test_a_socket_that_nobody_waits_for_wakes_nobody(loop: Loop) -> None:
    """Bytes for a task that is not reading do not keep the loop busy."""
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def busy() -> Steps[None]:
            yield Ready(ours, EVENT_READ, FOR_EVER)
            yield 0.1

        ends = Ends(loop, busy())
        theirs.send(b"xxx")
        assert ends.run(rounds=10) == [None]
        loop.forget(ours)
