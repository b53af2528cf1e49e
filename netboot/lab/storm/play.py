"""``netboot storm``: play a room of PCs from packets, against a running server.

This is safe on a LAN in use: the PCs have MAC addresses of a range that no card has, and ask only
the given server. They give back addresses and swap at their end, also after Ctrl-C.
"""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import repeat
from urllib.parse import urlsplit

from netboot.boot.arch import Architecture, Firmware
from netboot.boot.client import PROBE_MAC, played_mac
from netboot.boot.ipxe import Chain, read
from netboot.errors import AnswerError, NobodyError, ProtocolError
from netboot.host.interfaces import Interface
from netboot.lab.storm.pc import Pc
from netboot.lab.storm.report import Report
from netboot.serve.dhcp.client import Asking
from netboot.serve.dhcp.packet import ANY, MessageType
from netboot.serve.dhcp.question import Asker
from netboot.serve.http.client import http_read
from netboot.serve.tftp.client import fetch

SCOUT_WAITS = (1.0, 1.0, 2.0)
MAX_HELD = 60  # PCs of one address that stay attached, with two connections: see pc.ATTACH_SECONDS
END_SECONDS = 30.0  # for all PCs to give back addresses and swap
ENDING_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Storm:
    """A storm: ``clients`` PCs on ``interface``, which start evenly spread over ``over`` seconds.

    After ``limit`` seconds it ends, and PCs that are not done have failed. ``card`` is PCI vendor
    and device of their network cards. ``sources`` are the addresses of this machine from which they
    ask, one for each; without any, they share one. Without ``dhcp`` they ask for no address and know
    their files, as PCs do whose DHCP server is another one (dhcp.mode none).
    """

    interface: Interface
    server: IPv4Address
    clients: int
    arch: Architecture
    card: tuple[int, int]
    over: float
    limit: float
    sources: Sequence[IPv4Address] = ()
    dhcp: bool = True


async def play(storm: Storm, tell: Callable[[int], None] = lambda ended: None) -> Report:
    """Play the storm and return the report. ``tell`` gets the number of PCs that have ended.

    Raises OperatorError if no server answers.
    """
    with contextlib.closing(Asking(storm.interface)) as asking:
        askers = [
            Asker(played_mac(number), storm.arch, nic=storm.card) for number in range(storm.clients)
        ]
        try:
            base, files = await _scout(storm, asking)
        except (AnswerError, ProtocolError) as error:
            raise NobodyError(
                f"no netboot server answers at {storm.server} on {storm.interface.name}: {error}",
                hint="is 'netboot serve' running there? --server and --interface choose another"
                + ("; with dhcp.mode none: add --no-dhcp" if storm.dhcp else ""),
            ) from None
        here, hold = storm.interface.address, bool(storm.sources) or storm.clients <= MAX_HELD
        sources = map(str, storm.sources) if storm.sources else repeat("")
        pcs = [
            Pc(asker, asking, storm.server, here, source=source, hold=hold, files=files)
            for asker, source in zip(askers, sources, strict=False)
        ]
        before, own = await _server_cpu(base), time.process_time()
        try:
            await _switch_on(pcs, storm, tell)
            own, after = time.process_time() - own, await _server_cpu(base)
        finally:
            await _switch_off(pcs)
    spent = None if before is None or after is None else after - before
    return Report([pc.outcome for pc in pcs], spent, own)


async def _switch_on(pcs: list[Pc], storm: Storm, tell: Callable[[int], None]) -> None:
    begin, ended = time.monotonic(), 0

    async def run(number: int, pc: Pc) -> None:
        nonlocal ended
        due = storm.over * number / len(pcs)
        await asyncio.sleep(begin + due - time.monotonic())
        outcome, on = pc.outcome, time.monotonic()
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + storm.limit - due):
                await pc.boot()
        except (AnswerError, ProtocolError) as error:
            outcome.failure = str(error)
        except TimeoutError:
            outcome.failure = f"not done after the storm's {storm.limit:g} s"
        now = time.monotonic()
        outcome.taken, outcome.ended = now - on, now - begin
        ended += 1
        tell(ended)

    async with asyncio.TaskGroup() as group:
        for number, pc in enumerate(pcs):
            group.create_task(run(number, pc))


async def _switch_off(pcs: Sequence[Pc]) -> None:
    gate = asyncio.Semaphore(ENDING_AT_ONCE)

    async def end(pc: Pc) -> None:
        async with gate:
            await pc.end()

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_SECONDS):
            await asyncio.gather(*map(end, pcs))


async def _scout(storm: Storm, asking: Asking) -> tuple[str, tuple[str, str] | None]:
    """Return the server's HTTP address, ``http://HOST:PORT``, from its first script.

    Return also the loader and the script that PCs ask for without DHCP, otherwise None.
    """
    if not storm.dhcp:
        name = f"{storm.arch.name}.ipxe"
        base = _base_of(await fetch(storm.server, name))
        by_http = storm.arch.firmware is Firmware.UEFI_HTTP
        return base, (f"{base}/boot/{storm.arch.loader}" if by_http else storm.arch.loader, name)
    scout = Asker(PROBE_MAC, storm.arch).chained()
    question = scout.discover(secrets.randbits(32))
    offer = await asking.ask(question, storm.server, [MessageType.DHCPOFFER], SCOUT_WAITS)
    if offer.yiaddr != ANY:  # free the offered address: a PC of the storm may need it
        asking.tell(scout.release(secrets.randbits(32), offer.yiaddr, storm.server))
    return _base_of(await fetch(storm.server, offer.file.decode("ascii", "replace"))), None


def _base_of(script: bytes) -> str:
    """Return the HTTP address in a server's first script. Raises AnswerError if there is none."""
    first = read(script.decode("ascii", "replace"), PROBE_MAC)
    if not isinstance(first, Chain):
        raise AnswerError("its first script names no boot script")
    return f"http://{urlsplit(first.url).netloc}"


async def _server_cpu(base: str) -> float | None:
    """Return the CPU seconds of all the server's processes so far; None if it does not say."""
    try:
        return float(json.loads(await http_read(f"{base}/status"))["cpu_seconds"])
    except (AnswerError, ValueError, KeyError, TypeError):
        return None
