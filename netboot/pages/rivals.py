"""In use means in use: an attachment ends the connections of another client only if they are dead.

ADR 14 (docs/adr/0014-in-use-means-in-use.md) has the reasons.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from netboot.pages import liveness
from netboot.pages.clients import Clients
from netboot.pages.exports import Exports
from netboot.pages.nbd.export import Refused
from netboot.pages.nbd.name import WireName
from netboot.pages.telling import Teller

# A connection without an answer for so long is dead. Our agent gives up a silent server after 3 s
# (swap.timeout). The newcomer's agent waits 10 s for an answer (STEP_MS in stream.c).
PROBE_SECONDS = 5.0
PROBE_PAUSE_SECONDS = 0.2
# An agent whose connections ended without a word attaches again at once, in 3 s if its server is busy.
# So long no other boot of its seat replaces its lease: another PC that has its address too resets them.
RETURN_SECONDS = 4.0
MOVED_SECONDS = 60.0
CLOCK_SECONDS = 0.02  # error of the times that the kernel tells, in ticks of up to 10 ms
IN_USE = Refused("another PC with this address is running")


class Rivals:
    """The clients whose connections an attachment would end. ``keep`` watches over a task."""

    def __init__(
        self,
        clients: Clients,
        exports: Exports,
        teller: Teller,
        keep: Callable[[asyncio.Task[Any]], None],
    ) -> None:
        self._clients = clients
        self._exports = exports
        self._teller = teller
        self._keep = keep
        self._probes: dict[frozenset[int], asyncio.Task[set[int]]] = {}

    async def refusal(self, asked: WireName, export: str, address: str) -> Refused | None:
        """Wait until all rivals of an attachment are known to be dead; return the refusal if not.

        Takes up to ``PROBE_SECONDS``, or ``RETURN_SECONDS``. At the end a warning tells of swap that
        moves.
        """
        silent: set[int] = set()
        while True:
            rivals = self._of(asked, address) - silent
            if rivals:
                live = await self._probe(frozenset(rivals))
                if live:
                    return self._in_use(live, export, address)
                silent |= rivals
            elif self._returns(asked):
                await asyncio.sleep(PROBE_PAUSE_SECONDS)
            else:
                self._tell_moved(asked, export, address)
                return None

    def _of(self, asked: WireName, address: str) -> set[int]:
        """Return the connections of others that an attachment from ``address`` would end.

        They are those of the leases that it replaces, and those of the same lease from another
        address. At its own address an agent may replace its connections: it has the lease's secret.
        """
        ends = self._exports.ends(asked)
        rivals = {number for each in ends.replaced for number in self._clients.connections_of(each)}
        if ends.again is not None:
            mates = self._clients.connections_of(ends.again).items()
            rivals |= {number for number, client in mates if client.address != address}
        return rivals

    async def _probe(self, clients: frozenset[int]) -> set[int]:
        """Return those of ``clients`` that answer. All who ask about the same share one probe."""
        task = self._probes.get(clients)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._answering(set(clients)))
            self._probes[clients] = task
            task.add_done_callback(lambda _: self._probes.pop(clients, None))
            self._keep(task)
        return await asyncio.shield(task)

    async def _answering(self, clients: set[int]) -> set[int]:
        begin = time.monotonic()
        live: set[int] = set()
        while clients and not live and time.monotonic() < begin + PROBE_SECONDS:
            await self._order_probe(clients, liveness.URGENT)
            await asyncio.sleep(PROBE_PAUSE_SECONDS)
            clients &= self._clients.keys()
            after = begin + CLOCK_SECONDS
            live = {number for number in clients if self._clients[number].heard > after}
        if live:
            await self._order_probe(clients, liveness.USUAL)
        return live

    async def _order_probe(self, clients: Iterable[int], keepalive: Sequence[int]) -> None:
        asked = (self._clients[number] for number in clients if number in self._clients)
        for lease, worker in {each.attachment.lease: each.worker for each in asked}.items():
            await worker.send({"do": "probe", "lease": lease, "keepalive": keepalive})

    def _in_use(self, live: Collection[int], export: str, address: str) -> Refused:
        clients = [self._clients[number] for number in live if number in self._clients]
        seat = next((client.attachment.seat for client in clients), "")
        running = sorted({client.address for client in clients})
        text = f"{export}: {address} was refused: {IN_USE.reason} at {', '.join(running)}"
        self._teller.complain("in-use", seat, text, address=address, running=running, export=export)
        return IN_USE

    def _returns(self, asked: WireName) -> bool:
        """Return True if a PC whose lease ``asked`` replaces may attach again in this moment."""
        begin, replaced = time.monotonic() - RETURN_SECONDS, self._exports.ends(asked).replaced
        seats = (self._clients.seats[lease] for lease in replaced if lease in self._clients.seats)
        return any(seat.left > begin for seat in seats)

    def _tell_moved(self, asked: WireName, export: str, address: str) -> None:
        """Warn if ``address`` replaces swap that was in use a moment ago, and had no orderly end."""
        begin = time.monotonic() - MOVED_SECONDS
        for lease in self._exports.ends(asked).replaced:
            seat = self._clients.seats.get(lease)
            if seat is None:
                continue
            silent = self._clients.of_lease(lease) > 0
            if not silent and (seat.address == address or seat.left <= begin):
                continue
            cause = "the PC has another IP address now"
            if seat.address == address:
                cause = "the PC lost its power or its cable"
            text = (
                f"{export}: taken over by {address} from {seat.address}, which is silent: {cause}, "
                "or another machine has its MAC address"
            )
            self._teller.complain("moved", seat.seat, text, address=address, export=export)
