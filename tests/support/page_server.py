"""A page server in a thread of its own, for tests whose clients block."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from netboot.pages.exports import Exports
from netboot.pages.server import PageEvent, PageServer

PATIENCE_SECONDS = 60.0


class Running:
    """A running server and its events."""

    def __init__(self, server: PageServer, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self.address = server.addresses[0]
        self.events: list[PageEvent] = []
        self._loop = loop
        self._told = threading.Condition()

    def tell(self, event: PageEvent) -> None:
        with self._told:
            self.events.append(event)
            self._told.notify_all()

    def event(self, kind: str, count: int = 1) -> PageEvent:
        """Wait for the ``count``-th event of a kind and return it."""

        def found() -> list[PageEvent]:
            return [event for event in self.events if event.kind == kind]

        with self._told:
            assert self._told.wait_for(lambda: len(found()) >= count, PATIENCE_SECONDS), self.events
            return found()[count - 1]

    def hang_up(self, lease: str) -> None:
        """Close the connections of a lease."""
        closing = self.server.hang_up(lease)
        asyncio.run_coroutine_threadsafe(closing, self._loop).result(PATIENCE_SECONDS)

    def ask(self, question: Callable[[], Any]) -> Any:
        """Call ``question`` in the server's thread; return its result."""

        async def answer() -> Any:
            return question()

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result(PATIENCE_SECONDS)


@contextmanager
def running(exports: Exports, host: str = "127.0.0.1", **options: Any) -> Iterator[Running]:
    """Serve ``exports`` on a free port of ``host`` until the end of the block."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        listen = [(host, 0)]
        holder: list[Running] = []
        server = PageServer(
            exports, listen=listen, on_event=lambda event: holder[0].tell(event), **options
        )
        runner.run(server.start())
        holder.append(Running(server, loop))
        thread = threading.Thread(target=loop.run_forever, name="page server")
        thread.start()
        try:
            yield holder[0]
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            runner.run(server.stop())
