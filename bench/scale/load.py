"""Played seats with swap: ``python -m bench.scale.load SERVER CONNECTIONS``.

It runs where the seats are, and each seat has an address of its own. The first line of the standard
input is a JSON object: the session of each MAC address. Each further line is an order, whose figures
come as one line of JSON:

- ``attach NUMBER``: NUMBER more seats ask for their leases and attach, all in the same instant.
- ``full NUMBER ROUNDS SECONDS``: some seats work for SECONDS, and then again while NUMBER more seats
  try to attach at the full server.
- ``lost``: seats that lose their connections attach again, until all are back.

Times are seconds of the monotonic clock, which all processes of a machine share.
"""

import asyncio
import json
import random
import socket
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from statistics import median
from typing import Any

from netboot.boot.plan import swap_export
from netboot.errors import AnswerError
from netboot.pages.nbd.client import PageClient, RefusedError, SwapEntry
from netboot.serve.leases import Granted, parse

FIRST = IPv4Address("10.78.0.1")
HTTP_PORT, NBD_PORT = 8080, 10809
RAM_BYTES = 64 << 20
PAGE = bytes(4096)
PATIENCE_SECONDS = 60.0
# As the agent tries again (initramfs/agent/hold.c).
FIRST_PAUSE, LONGEST_PAUSE, REFUSED_PAUSE = 0.1, 1.0, 10.0
EAGER_PAUSE = 1.0  # of a seat that nobody lets in, ten times as often as an agent
WORKING = 32  # seats that work


@dataclass(slots=True)
class Seat:
    """One seat. ``since``: when it was attached last."""

    server: str
    connections: int
    mac: str
    session: str
    source: str
    entry: SwapEntry | None = None
    held: list[PageClient] = field(default_factory=list)
    since: float = 0.0

    async def ask_lease(self) -> None:
        """Ask for a lease, as a boot does. Raises AnswerError, OSError."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as one:
            one.bind((self.source, 0))
            await loop.sock_connect(one, (self.server, HTTP_PORT))
            path = f"/lease/{self.session}?ram={RAM_BYTES}&fresh=1"
            await loop.sock_sendall(one, f"GET {path} HTTP/1.0\r\n\r\n".encode())
            answer = b""
            while data := await loop.sock_recv(one, 4096):
                answer += data
        granted = parse(answer.rpartition(b"\r\n\r\n")[2].decode())
        if not isinstance(granted, Granted):
            raise AnswerError(str(granted))
        export = swap_export(self.mac)
        self.entry = SwapEntry(self.server, NBD_PORT, export, granted.token, self.source)

    async def attach(self) -> None:
        """Attach all connections as one set, and write a page. Raises AnswerError, OSError."""
        if self.entry is None:
            await self.ask_lease()
        assert self.entry is not None, "asked for"
        self.entry.begin_set()
        try:
            for _ in range(self.connections):
                self.held.append(await self.entry.connect())
            await self.held[0].write(0, PAGE)
        except BaseException:
            self.hang_up()
            raise
        self.since = time.monotonic()

    def hang_up(self) -> None:
        """Close all connections."""
        for each in self.held:
            each.close()
        self.held.clear()

    async def persist(
        self, end: float, errors: Counter[str], refused_pause: float = REFUSED_PAUSE
    ) -> None:
        """Try until it is attached, or until ``end``. Count what went wrong."""
        pause, loop = FIRST_PAUSE, asyncio.get_running_loop()
        while time.monotonic() < end:
            try:
                async with asyncio.timeout_at(loop.time() + end - time.monotonic()):
                    await self.attach()
            except (AnswerError, OSError) as error:
                errors[str(error)[:80] or type(error).__name__] += 1
                if isinstance(error, RefusedError):
                    await asyncio.sleep(refused_pause)
                else:
                    await asyncio.sleep(pause * random.uniform(0.5, 1))
                    pause = min(2 * pause, LONGEST_PAUSE)
            else:
                return

    async def work(self, end: float) -> int:
        """Write and read a page until ``end``; return the number of requests."""
        done = 0
        while time.monotonic() < end:
            await self.held[0].write(0, PAGE)
            await self.held[-1].read(0, len(PAGE))
            done += 2
        return done


@dataclass
class Load:
    """All seats; the first ``begun`` have been told to attach."""

    seats: list[Seat]
    begun: int = 0

    async def attach(self, number: int) -> dict[str, Any]:
        """Let ``number`` more seats attach."""
        begin, errors, chosen = time.monotonic(), Counter[str](), self._next(number)
        await asyncio.gather(*(each.persist(begin + PATIENCE_SECONDS, errors) for each in chosen))
        return _figures(begin, chosen, errors)

    async def full(self, number: int, rounds: int, seconds: float) -> dict[str, Any]:
        """Compare the work of attached seats without and with ``number`` more that are refused."""
        working, errors = [each for each in self.seats if each.held][:WORKING], Counter[str]()
        begin, more, ratios = time.monotonic(), self._next(number), []
        for turn in range(rounds):
            done = {}
            for full in (False, True) if turn % 2 else (True, False):
                end = time.monotonic() + seconds
                trying = more if full else []
                others = (each.persist(end, errors, EAGER_PAUSE) for each in trying)
                requests = asyncio.gather(*(each.work(end) for each in working))
                await asyncio.gather(*others)
                done[full] = sum(await requests)
            ratios.append(done[True] / done[False])
        return {**_figures(begin, more, errors), "beside": median(ratios)}

    def _next(self, number: int) -> list[Seat]:
        chosen = self.seats[self.begun : self.begun + number]
        self.begun += number
        return chosen

    async def lost(self) -> dict[str, Any]:
        """Wait until all seats have lost their connections and are attached again."""
        begin, errors = time.monotonic(), Counter[str]()
        chosen = [each for each in self.seats if each.held]

        async def back(seat: Seat) -> None:
            await seat.held[0].ended()
            seat.hang_up()
            await seat.persist(begin + PATIENCE_SECONDS, errors)

        await asyncio.gather(*map(back, chosen))
        return _figures(begin, chosen, errors)


def _figures(begin: float, chosen: list[Seat], errors: Counter[str]) -> dict[str, Any]:
    times = sorted(each.since for each in chosen if each.held)
    return {
        "begin": begin,
        "asked": len(chosen),
        "attached": len(times),
        "median": times[len(times) // 2] if times else begin,
        "last": times[-1] if times else begin,
        "errors": errors,
    }


async def main() -> None:
    """Run the command line."""
    server, connections = sys.argv[1], int(sys.argv[2])
    sessions: dict[str, str] = json.loads(sys.stdin.readline())
    load = Load(
        [
            Seat(server, connections, mac, session, str(FIRST + number))
            for number, (mac, session) in enumerate(sessions.items())
        ]
    )
    while line := await asyncio.to_thread(sys.stdin.readline):
        match line.split():
            case ["attach", number]:
                answer = await load.attach(int(number))
            case ["full", number, rounds, seconds]:
                answer = await load.full(int(number), int(rounds), float(seconds))
            case _:
                answer = await load.lost()
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
