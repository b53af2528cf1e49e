"""Played seats that report and browsers' streams: ``python -m bench.panel_load MODE ...``.

It runs where the seats are, and prints one JSON object. MODE ``begin``: each seat says once that its
userland runs. MODE ``work``: each seat sends a report every 10 s, and browsers read the panel's
stream. MODE ``look``: one browser notes how old the reports are that it gets; it is a process of its
own, because the others are slow when the machine is busy. The standard input has the session of each MAC address. Each seat and each
browser has an address of its own.
"""

import argparse
import asyncio
import json
import random
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from netboot.feed.report import text
from tests.panel.feeding import a_report

FIRST_SEAT, FIRST_BROWSER = IPv4Address("10.78.0.1"), IPv4Address("10.78.128.1")
LOOKING = IPv4Address("10.78.192.1")  # the browser that looks at reports
REPORT_SECONDS, JITTER = 10.0, 0.2
CONNECT_SECONDS = 5.0
AT_ONCE = 20  # that begin
LINE_BYTES = 64 << 20
GOOD = (b"HTTP/1.0 200", b"HTTP/1.1 200")


@dataclass
class Load:
    """What was sent and seen."""

    server: str
    port: int
    panel: int
    reports: int = 0
    refused: int = 0
    waits: list[float] = field(default_factory=list)  # from connect to the answer
    ages: list[float] = field(default_factory=list)  # from a report's arrival to a browser
    patches: int = 0
    received: int = 0  # bytes of all streams
    counts: bool = False  # False while all begins

    async def ask(self, source: IPv4Address, request: bytes) -> bool:
        """Send a request as a PC does; return whether the answer is good.

        A PC has nothing else to do between connect(2) and send(2), so neither waits for other seats.
        As in the agent, the request comes with the acknowledgement that makes the connection.
        """
        loop = asyncio.get_running_loop()
        with socket.socket() as one:
            one.bind((str(source), 0))
            one.settimeout(CONNECT_SECONDS)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            one.connect((self.server, self.port))
            one.send(request)
            one.setblocking(False)
            answer = await loop.sock_recv(one, 4096)
            return answer.startswith(GOOD)

    async def begin(self, sessions: Mapping[str, str]) -> None:
        """Let each seat say that its userland runs."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def say(index: int, session: str) -> None:
            path = f"/beacon/{session}/userland?uptime=30.0&sent=30.0"
            head = f"POST {path} HTTP/1.0\r\nContent-Length: 0\r\n\r\n"
            async with gate:
                good = await self.ask(FIRST_SEAT + index, head.encode())
            self.reports += good
            self.refused += not good

        await asyncio.gather(*(say(index, each) for index, each in enumerate(sessions.values())))

    async def seat(self, index: int, session: str) -> None:
        """Send reports for good, as the agent does (initramfs/agent/figures.c)."""
        chance = random.Random(index)
        source = FIRST_SEAT + index
        await asyncio.sleep(chance.random() * REPORT_SECONDS)
        while True:
            begin = time.time()
            used, some = chance.randrange(500), chance.random() * 5
            body = text(a_report(begin, used=used, some=some, load=chance.random()))
            head = f"POST /report/{session} HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n"
            try:
                good = await self.ask(source, (head + body).encode())
            except OSError:
                good = False
            if self.counts:
                self.reports += good
                self.refused += not good
                self.waits.append(time.time() - begin)
            share = 1 + JITTER * (chance.random() - 0.5)
            await asyncio.sleep(max(begin + REPORT_SECONDS * share - time.time(), 0))

    async def browser(self, index: int, *, reads: bool) -> None:
        """Read a stream for good; ``reads``: look at its reports."""
        source = (str((LOOKING if reads else FIRST_BROWSER) + index), 0)
        reader, writer = await asyncio.open_connection(
            self.server, self.panel, local_addr=source, limit=LINE_BYTES
        )
        host = f"Host: {self.server}:{self.panel}"
        writer.write(f"GET /api/v1/stream HTTP/1.1\r\n{host}\r\n\r\n".encode())
        seen: dict[str, float] = {}
        if not (await reader.readline()).startswith(GOOD):
            raise RuntimeError("a browser's stream was refused")
        while line := await reader.readline():
            self.received += len(line) * self.counts
            if not line.startswith(b"data: "):
                continue
            now = time.time()
            self.patches += self.counts
            if reads:
                self.look(json.loads(line.removeprefix(b"data: ")), now, seen)
        raise RuntimeError("a browser's stream has ended")

    def look(
        self,
        patch: Mapping[str, Sequence[Mapping[str, object]]],
        now: float,
        seen: dict[str, float],
    ) -> None:
        """Note the ages of the reports of a patch that a browser got at ``now``."""
        for row in patch["seats"]:
            report, mac = row["report"], str(row["mac"])
            if not isinstance(report, dict) or seen.get(mac) == report["when"]:
                continue
            fresh = mac in seen
            seen[mac] = report["when"]
            if self.counts and fresh:
                self.ages.append(now - report["when"])

    async def work(
        self, sessions: Mapping[str, str], browsers: int, warm: float, seconds: float
    ) -> None:
        """Report and read. Figures count after ``warm`` seconds. Without seats: look at reports."""
        seats = (self.seat(index, each) for index, each in enumerate(sessions.values()))
        reads = not sessions
        streams = (self.browser(index, reads=reads) for index in range(browsers))
        tasks = [asyncio.create_task(each) for each in (*seats, *streams)]
        for counts, span in ((False, warm), (True, seconds)):
            self.counts = counts
            done, _ = await asyncio.wait(tasks, timeout=span, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        for task in tasks:
            task.cancel()

    def report(self) -> dict[str, float]:
        """Return counts and seconds."""
        figures: dict[str, float] = {
            "reports": self.reports,
            "refused": self.refused,
            "patches": self.patches,
        }
        figures |= {"received": self.received, "seen": len(self.ages)}
        for name, values in (("wait", sorted(self.waits)), ("age", sorted(self.ages))):
            for share in (0.5, 0.99, 1.0):
                at = min(int(share * len(values)), len(values) - 1)
                figures[f"{name}_{share:g}"] = values[at] if values else float("nan")
        return figures


def main() -> None:
    """Run the command line."""
    options = argparse.ArgumentParser(prog="bench.panel_load", description=__doc__)
    options.add_argument("mode", choices=("begin", "work", "look"))
    options.add_argument("--server", default="10.77.0.1")
    options.add_argument("--port", type=int, default=8080)
    options.add_argument("--panel", type=int, default=8081)
    options.add_argument("--browsers", type=int, default=20)
    options.add_argument("--warm", type=float, default=12.0)
    options.add_argument("--seconds", type=float, default=20.0)
    given = options.parse_args()
    sessions: dict[str, str] = json.load(sys.stdin)
    if given.mode == "look":
        sessions.clear()
    load = Load(given.server, given.port, given.panel)
    if given.mode == "begin":
        asyncio.run(load.begin(sessions))
    else:
        asyncio.run(load.work(sessions, given.browsers, given.warm, given.seconds))
    sys.stdout.write(json.dumps(load.report()) + "\n")


if __name__ == "__main__":
    main()
