"""The room's played PCs: boot, write and read back pages, come back, until standard input ends.

``python -m tests.attack.load.seats OVER ADDRESS=PID...``: one PC in the network namespace of each
process, switched on within OVER seconds. Each is a PC of ``netboot storm``, but has an address and
a MAC address of its own. Prints a row for each PC in JSON.
"""

import asyncio
import contextlib
import json
import os
import secrets
import select
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Address

from netboot.boot import arch
from netboot.errors import AnswerError, NetbootError
from netboot.host.interfaces import find_one
from netboot.lab.storm.pc import PAGE, Pc
from netboot.serve.dhcp.client import Asking
from netboot.serve.dhcp.question import Asker
from tests.attack.machines import enter
from tests.attack.wire import SERVER

CARD = (0x8086, 0x100E)
PAGES, PAUSE = 64, 0.02  # of each PC; seconds between two pages
PATIENCE, RETRY = 30.0, 0.1  # for the swap to come back
BOOT_SECONDS = 60.0


@dataclass(slots=True)
class Fate:
    """What a PC went through. Times in seconds; ``failure`` is empty if nothing went wrong."""

    address: str
    boot: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)  # of the boot
    pages: list[float] = field(default_factory=list)  # of each request
    back: float = 0.0  # the longest time from a lost connection to the next page
    lost: int = 0  # connections
    failure: str = ""


class Seat(Pc):
    """A played PC that uses its swap."""

    async def swap(self, fate: Fate, over: threading.Event) -> None:
        """Write pages and read them back. Raises AnswerError if the swap does not come back."""
        kept: dict[int, bytes] = {}
        while not over.is_set():
            number = secrets.randbelow(PAGES)
            page = secrets.token_bytes(64) * (len(PAGE) // 64)
            if number in kept:
                found = await self._sure(fate, number, None)
                if found != kept[number]:
                    raise AnswerError(f"page {number} came back changed")
            await self._sure(fate, number, page)
            kept[number] = page
            await asyncio.sleep(PAUSE)

    async def _sure(self, fate: Fate, number: int, page: bytes | None) -> bytes:
        """Write a page, or read one; as often as needed, as Linux does."""
        begin, broken = time.monotonic(), False
        while True:
            try:
                async with asyncio.timeout(PATIENCE):
                    if not self._connections:
                        await self._connect(2)
                    if page is None:
                        found = await self._connections[-1].read(number * len(PAGE), len(PAGE))
                    else:
                        await self._connections[0].write(number * len(PAGE), page)
                        found = page
                taken = time.monotonic() - begin
                if broken:
                    fate.back = max(fate.back, taken)
                else:
                    fate.pages.append(taken)
                return found
            except (OSError, EOFError, AnswerError) as error:
                self._hang_up()
                fate.lost += not broken
                broken = True
                if time.monotonic() - begin > PATIENCE:
                    raise AnswerError(f"no swap for {PATIENCE:g} s: {error}") from None
                await asyncio.sleep(RETRY)


async def live(fate: Fate, mac: str, over: threading.Event) -> None:
    """Boot, and use swap until it is over."""
    interface = find_one("eth0")
    with contextlib.closing(Asking(interface)) as asking:
        asker = Asker(mac, arch.parse("bios"), nic=CARD)
        pc = Seat(asker, asking, IPv4Address(SERVER), interface.address)
        begin = time.monotonic()
        try:
            async with asyncio.timeout(BOOT_SECONDS):
                await pc.boot()
            fate.boot = time.monotonic() - begin
            await pc.swap(fate, over)
        except (NetbootError, OSError, EOFError) as error:
            fate.failure = f"{pc.outcome.stage}: {error}"
        finally:
            fate.stages = pc.outcome.seconds
            pc._hang_up()


def mac_of(address: str) -> str:
    """Return the MAC address of a played PC."""
    return f"52:54:99:00:01:{int(address.rpartition('.')[2]):02x}"


def main() -> None:
    over, threads, fates = threading.Event(), [], []
    spread, places = float(sys.argv[1]), [word.split("=") for word in sys.argv[2:]]

    def run(number: int, fate: Fate, pid: str) -> None:
        enter(int(pid))
        time.sleep(spread * number / len(places))
        asyncio.run(live(fate, mac_of(fate.address), over))

    for number, (address, pid) in enumerate(places):
        fates.append(Fate(address))
        threads.append(threading.Thread(target=run, args=(number, fates[-1], pid)))
        threads[-1].start()
    select.select([sys.stdin], [], [])
    over.set()
    for thread in threads:
        thread.join(PATIENCE + BOOT_SECONDS)
    sys.stdout.write(json.dumps([asdict(fate) for fate in fates]))
    sys.stdout.flush()
    os._exit(0)  # a thread that hangs has told its fate


if __name__ == "__main__":
    main()
