"""One connection to the workers' loop without a socket, for tests of the order of requests."""

from netboot.pages.nbd.export import Export
from netboot.pages.worker.buffers import BUFFER_BYTES, Area, Buffers
from netboot.pages.worker.exchange import Exchange
from tests.support import scapy_nbd as nbd
from tests.support.two_ways import READ, ArrayFile, output


class Client:
    """A connection to the loop. Each request has a cookie of its own; ``replies`` are by cookie."""

    def __init__(
        self, pages: ArrayFile, allowance: int = 16 << 20, area: Area | None = None
    ) -> None:
        export = Export("a", pages.size_bytes)
        self.area = area or Area("lease", export, pages, allowance=allowance)
        self.exchange = Exchange(self.area)
        self.buffers = Buffers()
        self.replies: dict[int, bytes] = {}
        self._reads: dict[int, int] = {}
        self._sent, self._said = b"", b""
        self._cookie = 0

    def ask(
        self, command: int, offset: int = 0, length: int = 0, data: bytes = b"", flags: int = 0
    ) -> int:
        """Send a request; return its cookie."""
        self._cookie += 1
        self._reads[self._cookie] = length if command == READ else 0
        self._sent += bytes(
            nbd.Request(
                type=command, flags=flags, offset=offset, length=length, cookie=self._cookie
            )
        )
        self._sent += data
        self.turn()
        return self._cookie

    def turn(self) -> None:
        """Do all that can be done now."""
        exchange, buffers = self.exchange, self.buffers
        for _ in range(1000):
            if exchange.waiting:
                exchange.retry(buffers)
            exchange.deliver(buffers)
            if exchange.sink is not None and self._sent:
                taken = min(len(exchange.sink), len(self._sent))
                exchange.sink[:taken] = self._sent[:taken]
                self._sent = self._sent[taken:]
                exchange.sunk(taken)
                buffers.position = buffers.end = 0
            elif exchange.sink is None:
                taken = min(len(self._sent), BUFFER_BYTES)
                buffers.input[:taken] = self._sent[:taken]
                buffers.position, buffers.end = 0, taken
            exchange.answer(buffers)
            moved = buffers.filled or exchange.ready or buffers.position
            moved = moved or not (exchange.hungry or exchange.blocked)
            if exchange.sink is None or buffers.end:
                self._sent = self._sent[buffers.position :]
            buffers.position = buffers.end = 0
            self._hear(output(buffers))
            if exchange.blocked or exchange.closed or (not moved and not self._sent):
                return
            if exchange.hungry and not moved and exchange.sink is None:
                return

    def _hear(self, said: bytes) -> None:
        self._said += said
        while len(self._said) >= 16:
            cookie = int.from_bytes(self._said[8:16], "big")
            end = 16 + (self._reads[cookie] if self._said[4:8] == bytes(4) else 0)
            if len(self._said) < end:
                return
            assert cookie not in self.replies
            self.replies[cookie], self._said = self._said[4:end], self._said[end:]

    def result(self, cookie: int) -> int | None:
        """Return the error of a reply; None before it."""
        reply = self.replies.get(cookie)
        return None if reply is None else int.from_bytes(reply[:4], "big")

    def read(self, offset: int, length: int) -> bytes:
        """Read; the answer must come at once."""
        return self.replies[self.ask(READ, offset, length)][12:]
