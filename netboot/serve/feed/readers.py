"""The readers of a feed: each has a queue of its own, and a slow one is dropped."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from netboot.boot.limits import FEED_READERS, FEED_WAITING

MOST_BYTES = FEED_WAITING.per_address or 0
PIECE_BYTES = 64 << 10  # that a reader gets at a time


class Reader:
    """One reader. ``drop`` ends its connection."""

    def __init__(self, drop: Callable[[], None]) -> None:
        self._drop = drop
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._news = asyncio.Event()
        self.is_dropped = False

    def put(self, chunk: bytes) -> None:
        """Append lines to the queue. Readers share them. A queue that is full ends the reader."""
        if self.is_dropped:
            return
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._size > MOST_BYTES:
            self.end()
            self._drop()
        self._news.set()

    def end(self) -> None:
        """End the reader; it comes back by the number of its last event."""
        self.is_dropped = True
        self._chunks.clear()
        self._news.set()

    async def take(self) -> bytes:
        """Return the next lines. Empty if the reader has ended."""
        while not (self._chunks or self.is_dropped):
            self._news.clear()
            await self._news.wait()
        found: list[bytes] = []
        size = 0
        while self._chunks and size < PIECE_BYTES:
            found.append(self._chunks.popleft())
            size += len(found[-1])
        self._size -= size
        return b"".join(found)


class Readers:
    """All readers of a feed, ``most`` at a time."""

    def __init__(self, most: int = FEED_READERS.in_total or 0) -> None:
        self._most = most
        self._readers: set[Reader] = set()

    def __len__(self) -> int:
        """Return the number of readers."""
        return len(self._readers)

    @property
    def is_full(self) -> bool:
        """True if there is no place for a further one."""
        return len(self._readers) >= self._most

    def add(self, reader: Reader) -> None:
        """Add a reader."""
        self._readers.add(reader)

    def discard(self, reader: Reader) -> None:
        """Forget a reader."""
        self._readers.discard(reader)

    def put(self, chunk: bytes) -> None:
        """Give lines to each reader."""
        for reader in self._readers:
            reader.put(chunk)

    def end(self) -> None:
        """End all readers."""
        for reader in self._readers:
            reader.end()


def chunks(lines: Iterator[bytes], most: int = PIECE_BYTES // 4) -> Iterator[bytes]:
    """Yield lines in chunks that take about a millisecond each to make."""
    held: list[bytes] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= most:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)
