"""The loop that waits for all sockets, timers and other threads at once, in one thread."""

from __future__ import annotations

import heapq
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

from ..http.waits import Call, Gate, Outcome, Ready, Stalled, Steps, Wait

_STANDSTILL = 1.0
"""If a wait takes this many seconds longer than planned, the program was stopped meanwhile
(SIGSTOP, a sleeping machine): nothing could arrive, so that time counts towards no timeout."""


class Timer:
    """A call that is due at a time; `cancel` withdraws it."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None] | None) -> None:
        self.call = call

    def cancel(self) -> None:
        """Do not make the call."""
        self.call = None


class _Watch:
    """A registered socket, the events to wait for, and the task that waits."""

    __slots__ = ("events", "sock", "task")

    def __init__(self, sock: socket.socket, events: int) -> None:
        self.sock = sock
        self.events = events
        self.task: Task | None = None


class Task:
    """A running generator. `done` gets the exception that it ended with, or None."""

    __slots__ = ("_loop", "_steps", "deadline", "done", "over", "watch")

    def __init__(self, loop: Loop, steps: Steps[None], done: Callable[[Exception | None], None]):
        self._loop = loop
        self._steps = steps
        self.done: Callable[[Exception | None], None] | None = done
        self.over = False
        self.watch: _Watch | None = None
        """The socket that it waits for."""
        self.deadline = float("inf")

    def resume(self, value: Any = None, error: Exception | None = None) -> None:
        """Run it up to the next wait, with the value that it has waited for, or an error."""
        if self.over:
            return
        try:
            wait = self._steps.send(value) if error is None else self._steps.throw(error)
        except StopIteration:
            self._end(None)
        except Exception as failure:
            self._end(failure)
        else:
            self._loop.wait(self, wait)

    def close(self) -> None:
        """Close it; `done` is not called."""
        if not self.over:
            self.over, self.done = True, None
            self._loop.leave(self)
            self._steps.close()

    def _end(self, error: Exception | None) -> None:
        # `done` mostly refers to the task: if kept, both would live until a garbage collection.
        done, self.done, self.over = self.done, None, True
        if done is not None:
            done(error)


class Loop:
    """Runs steps, timers and what other threads post, until it is stopped.

    All methods but `post` are for its own thread, or for before it runs. `elsewhere(call)` gives a
    blocking call to another thread, which posts `finish` when the call has returned.
    """

    def __init__(self, elsewhere: Callable[[Call], None]) -> None:
        self._elsewhere = elsewhere
        self._selector = selectors.DefaultSelector()
        self._watched: dict[int, _Watch] = {}
        """The registered sockets, by descriptor."""
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._posts: deque[Callable[[], None]] = deque()
        self._bell, self._ringer = socket.socketpair()
        self._bell.setblocking(False)
        self._ringer.setblocking(False)
        self._rung = False
        self._running = True
        self._real = time.monotonic()
        self._time = self._real
        self.after_round: Callable[[], None] = lambda: None
        """Called after all events of a round."""
        self._selector.register(self._bell, selectors.EVENT_READ)

    def time(self) -> float:
        """Return monotonic seconds, without time in which the program was stopped."""
        return self._time

    def post(self, call: Callable[[], None]) -> None:
        """Make the loop call a function; callable from any thread."""
        self._posts.append(call)
        if not self._rung:
            self._rung = True
            with suppress(OSError):  # the socket is full, or the loop has ended
                self._ringer.send(b"x")

    def fail(self, error: BaseException) -> None:
        """Make `run` raise an error; callable from any thread."""

        def raise_it() -> None:
            raise error

        self.post(raise_it)

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call a function after this time, in seconds."""
        timer = Timer(call)
        heapq.heappush(self._timers, (self._time + seconds, next(self._order), timer))
        return timer

    def begin(self, steps: Steps[None], done: Callable[[Exception | None], None]) -> Task:
        """Return a task for a generator; `resume` starts it."""
        return Task(self, steps, done)

    def stop(self) -> None:
        """End the loop after this round."""
        self._running = False

    def run(self) -> None:
        """Run until it is stopped."""
        while self._running:
            self._round()

    def close(self) -> None:
        """Close its selector and its wake-up socket after it has stopped."""
        self._selector.close()
        self._bell.close()
        self._ringer.close()

    def expire(self) -> None:
        """Throw `Stalled` into tasks that have waited for a socket past their deadline."""
        for watch in list(self._watched.values()):
            task = watch.task
            if task is not None and task.deadline < self._time:
                self.leave(task)
                task.resume(error=Stalled())

    def finish(self, call: Call) -> None:
        """Pass the result of a call to the tasks that wait for it."""
        call.done = True
        if call.unwanted is not None:
            call.unwanted()
        waiting, call.waiting = call.waiting, []
        for go_on in waiting:
            go_on()

    # Waits.

    def wait(self, task: Task, wait: Wait) -> None:
        """Resume a task when its wait is over."""
        if type(wait) is Ready:
            self._watch(task, wait)
        elif type(wait) is Outcome:
            self._await(task, wait)
        elif type(wait) is Gate:
            wait.waiting.append(task.resume)
        else:
            self.later(wait, task.resume)  # type: ignore[arg-type]

    def leave(self, task: Task) -> None:
        """Stop a task's wait for a socket."""
        watch, task.watch = task.watch, None
        if watch is not None:
            watch.task = None

    def forget(self, sock: socket.socket) -> None:
        """Stop watching a socket; call it before the socket is closed."""
        watch = self._watched.get(sock.fileno())
        if watch is not None and watch.sock is sock:
            self._unwatch(sock.fileno())

    def _unwatch(self, descriptor: int) -> None:
        del self._watched[descriptor]
        with suppress(KeyError, OSError, ValueError):
            self._selector.unregister(descriptor)

    def _watch(self, task: Task, wait: Ready) -> None:
        """Wait for a socket. It stays registered: the same task mostly waits for it again."""
        sock, events, task.deadline = wait
        descriptor = sock.fileno()
        watch = self._watched.get(descriptor)
        if watch is not None and watch.sock is not sock:  # it was closed, its number reused
            self._unwatch(descriptor)
            watch = None
        if watch is None:
            watch = self._watched[descriptor] = _Watch(sock, events)
            self._selector.register(descriptor, events)
        elif watch.events != events:
            watch.events = events
            self._selector.modify(descriptor, events)
        watch.task, task.watch = task, watch

    def _await(self, task: Task, wait: Outcome) -> None:
        call = wait.call

        def arrived() -> None:
            timer.cancel()
            task.resume(call.result, call.error)

        def late() -> None:
            call.waiting.remove(arrived)
            task.resume(error=Stalled())

        timer = Timer(None)
        if wait.deadline != float("inf"):
            timer = self.later(wait.deadline - self._time, late)
        call.waiting.append(arrived)
        if call.done:
            self.later(0.0, lambda: self.finish(call))
        elif not call.begun:
            call.begun = True
            self._elsewhere(call)

    # One round.

    def _round(self) -> None:
        patience = self._patience()
        events = self._selector.select(patience)
        now = time.monotonic()
        self._time += min(now - self._real, patience + _STANDSTILL)
        self._real = now
        for key, _ in events:
            if key.fd == self._bell.fileno():
                self._bell.recv(4096)
            else:
                self._come(key.fd)
        due = []
        while self._timers and self._timers[0][0] <= self._time:
            due.append(heapq.heappop(self._timers)[2])
        for timer in due:
            if timer.call is not None:
                timer.call()
        self._rung = False
        for _ in range(len(self._posts)):
            self._posts.popleft()()
        self.after_round()

    def _patience(self) -> float:
        if self._posts:
            return 0.0
        return min(max(self._timers[0][0] - self._time, 0.0), 1.0) if self._timers else 1.0

    def _come(self, descriptor: int) -> None:
        watch = self._watched.get(descriptor)
        if watch is None:
            return
        task = watch.task
        if task is None:  # nobody waits for it now
            self._unwatch(descriptor)
        else:
            watch.task = task.watch = None
            task.resume()
