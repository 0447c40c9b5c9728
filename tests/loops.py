"""Single exchanges with a storage for tests: the loop runs until the response has come."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

from sourcecraft_artifacts.http.blocks import SIZE, Blocks
from sourcecraft_artifacts.http.response import Response
from sourcecraft_artifacts.http.storage import Connections, Storage
from sourcecraft_artifacts.http.waits import Call, Steps
from sourcecraft_artifacts.transfer.loop import Loop

T = TypeVar("T")


class Net:
    """A loop and its connections; `most` is how many may be open."""

    def __init__(self, *, most: int = 4, **settings: Any) -> None:
        self.storage = Storage(**{"stall_timeout": 5, **settings})
        self.loop = Loop(self._elsewhere)
        self.blocks = Blocks(8, self.loop.post)
        loop = self.loop
        self.net = Connections(self.storage, self.blocks, loop.time, loop.forget, most)
        self.given_up = False
        self._look()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.net.close()
        self.loop.close()

    def run(self, steps: Steps[T]) -> T:
        """Run steps to their end in this thread; return their result, or raise their error."""
        got: list[T] = []
        ends: list[Exception | None] = []

        def all_steps() -> Steps[None]:
            got.append((yield from steps))

        task = self.loop.begin(all_steps(), ends.append)
        task.resume()
        while not ends:
            self.loop._round()
            if self.given_up:
                task.close()
                raise InterruptedError
        if ends[0] is not None:
            raise ends[0]
        return got[0]

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Response:
        """Return the response to a GET, with its body unread."""
        return self.run(self.net.get(url, headers or {}))

    def read(self, answer: Response) -> bytes:
        """Read the rest of a body, and release its connection."""
        body = bytearray()

        def steps() -> Steps[None]:
            try:
                more = True
                while more:
                    if answer.connection.high:
                        high = answer.connection.high
                        block = answer.connection.take_block()
                        body.extend(block[:high])
                        self.blocks.give(block)
                    more = bool((yield from self.net.more(answer)))
            finally:
                self.net.release(answer)

        self.run(steps())
        return bytes(body)

    def fetch(self, url: str, **headers: str) -> bytes:
        """Return the whole body of a URL."""
        return self.read(self.get(url, headers))

    def finish(self, answer: Response) -> str:
        """Discard an unwanted body, and return its beginning."""
        self.run(self.net.finish(answer))
        return answer.text()

    def pause(self, seconds: float) -> None:
        """Run the loop for a time."""

        def steps() -> Steps[None]:
            yield seconds

        self.run(steps())

    def _look(self) -> None:
        self.loop.expire()
        self.loop.later(min(0.5, self.storage.stall_timeout / 4), self._look)

    def _elsewhere(self, call: Call) -> None:
        def run() -> None:
            try:
                call.result = call.function()
            except Exception as error:
                call.error = error
            self.loop.post(lambda: self.loop.finish(call))

        threading.Thread(target=run, daemon=True).start()


__all__ = ["SIZE", "Callable", "Net"]
