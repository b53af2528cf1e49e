"""Server-sent events: each browser gets the changes of the room, once a second.

One patch is made for all browsers, as bytes. Each browser has a queue of them. A browser that
reads nothing while its queue fills is told to load the room again, and its stream ends. So a slow browser
costs neither memory nor time. A browser that comes back sends the number of its last patch
(``Last-Event-ID``), and gets one patch with all later changes.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from netboot.boot.limits import PANEL_STREAM_QUEUE, PANEL_STREAMS
from netboot.panel.login.lockout import network
from netboot.panel.ports import Room
from netboot.panel.records import Patch
from netboot.panel.web.answers import encode

# Seconds between two patches, at least. A server tells its rows each second: a patch of them must not
# wait for the rest of a second that began with the one before.
INTERVAL = 0.8
GATHER = 0.05  # seconds after a change in which others join its patch
BEAT = 15.0  # seconds without a patch, after which a comment shows that the stream is alive
RETRY = b"retry: 2000\n\n"  # milliseconds after which a browser comes back
HEARTBEAT = b": alive\n\n"
MOST, MOST_OF_ADDRESS = PANEL_STREAMS.in_total or 0, PANEL_STREAMS.per_address or 0
QUEUE = PANEL_STREAM_QUEUE.per_address or 0


def patch_text(patch: Patch) -> bytes:
    """Return a patch as an event; a plan that did not change is left out."""
    data = encode(patch)
    if patch.plan is None:
        data = data.replace(b',"plan":null}', b"}")  # the last key
    return b"event: patch\nid: %d\ndata: %b\n\n" % (patch.number, data)


def reload_text(number: int) -> bytes:
    """Return the event that tells a browser to load the room again."""
    return b'event: reload\nid: %d\ndata: {"number":%d}\n\n' % (number, number)


class Browser:
    """One open stream. ``at``: the number of the last patch that is in its queue."""

    def __init__(self, address: str, at: int) -> None:
        self.address = address
        self.at = at
        self.ended = False
        self._queue: list[bytes] = []
        self._arrived = asyncio.Event()

    def put(self, text: bytes, number: int) -> None:
        """Queue an event. The browser must not be full."""
        self.at = number
        self._queue.append(text)
        self._arrived.set()

    @property
    def is_full(self) -> bool:
        """True if nothing more may wait for this browser."""
        return len(self._queue) >= QUEUE

    def end(self, text: bytes = b"") -> None:
        """Drop what waits, and end the stream after ``text``."""
        self._queue = [text] if text else []
        self.ended = True
        self._arrived.set()

    async def take(self, beat: float) -> bytes | None:
        """Return all that waits, or a heartbeat after ``beat`` seconds; None at the end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(beat):
                await self._arrived.wait()
        self._arrived.clear()
        if not self._queue:
            return None if self.ended else HEARTBEAT
        texts, self._queue = self._queue, []
        if self.ended:
            self._arrived.set()
        return b"".join(texts)


def _nothing() -> None:
    pass


class Hub:
    """All open streams, and the task that feeds them. ``start`` needs a running loop."""

    def __init__(self, room: Room, *, interval: float = INTERVAL, beat: float = BEAT) -> None:
        self._room = room
        self._interval = interval
        self.beat = beat
        self._browsers: set[Browser] = set()
        self._of: Counter[str] = Counter()
        self._changed: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] = _nothing

    def start(self) -> None:
        """Begin to feed the streams."""
        self._changed = asyncio.Event()
        self._unsubscribe = self._room.subscribe(self._changed.set)
        self._task = asyncio.create_task(self._feed(self._changed), name="panel streams")

    def close(self) -> None:
        """End all streams. Browsers come back by themselves."""
        self._unsubscribe()
        self._unsubscribe = _nothing
        for browser in self._browsers:
            browser.end()
        if self._task is not None:
            self._task.cancel()

    def __len__(self) -> int:
        """Return the number of open streams."""
        return len(self._browsers)

    def refusal(self, address: str) -> str:
        """Return the reason why an address gets no further stream; empty if it gets one."""
        if self._of[network(address)] >= MOST_OF_ADDRESS:
            return f"{MOST_OF_ADDRESS} streams of {address} are open, the most there can be"
        if len(self._browsers) >= MOST and self._rival(address) is None:
            return f"{MOST} streams are open, the most there can be"
        return ""

    def _rival(self, address: str) -> Browser | None:
        """Return a stream of the address with the most, if that has more than this one."""
        most, count = self._of.most_common(1)[0]
        if count <= self._of[network(address)] + 1:
            return None
        theirs = (each for each in self._browsers if network(each.address) == most)
        return next((each for each in theirs if not each.ended), None)

    def join(self, address: str, after: int | None) -> Browser:
        """Open a stream; it begins with what changed after that number, None: with the next change.

        Over the limit, the address with the most streams loses one.
        """
        if len(self._browsers) >= MOST:
            rival = self._rival(address)
            if rival is not None:
                rival.end()
        browser = Browser(address, self._room.number)
        patch = Patch(browser.at) if after is None else self._room.changes(after)
        if patch is None:
            browser.end(reload_text(browser.at))
        elif patch.number != after and after is not None:
            browser.put(patch_text(patch), patch.number)
        self._browsers.add(browser)
        self._of[network(address)] += 1
        return browser

    def leave(self, browser: Browser) -> None:
        """Forget a stream."""
        self._browsers.discard(browser)
        key = network(browser.address)
        self._of[key] -= 1
        if self._of[key] <= 0:
            del self._of[key]

    async def _feed(self, changed: asyncio.Event) -> None:
        while True:
            await changed.wait()
            await asyncio.sleep(GATHER)
            changed.clear()
            self.send()
            await asyncio.sleep(max(self._interval - GATHER, 0))

    def send(self) -> None:
        """Queue what each browser lacks. A browser that is full must load the room again."""
        number = self._room.number
        texts: dict[int, bytes] = {}  # nearly all lack the same
        for browser in self._browsers:
            if browser.ended or browser.at == number:
                continue
            if browser.is_full:
                browser.end(reload_text(number))
                continue
            if browser.at not in texts:
                patch = self._room.changes(browser.at)
                texts[browser.at] = b"" if patch is None else patch_text(patch)
            text = texts[browser.at]
            if text:
                browser.put(text, number)
            else:
                browser.end(reload_text(number))


class StreamResponse(Response):
    """The answer with the events. ``may_stay`` is called before each one, because a session may end."""

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, browser: Browser, may_stay: Callable[[], bool]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self.headers["X-Accel-Buffering"] = "no"  # nginx gathers answers otherwise
        self._hub = hub
        self._browser = browser
        self._may_stay = may_stay

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the browser leaves or the session ends."""
        left = asyncio.create_task(_left(receive, self._browser))
        try:
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            async for text in self._texts():
                await send({"type": "http.response.body", "body": text, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            left.cancel()
            self._hub.leave(self._browser)

    async def _texts(self) -> AsyncIterator[bytes]:
        yield RETRY
        while self._may_stay():
            text = await self._browser.take(self._hub.beat)
            if text is None:
                return
            yield text


async def _left(receive: Receive, browser: Browser) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    browser.end()
