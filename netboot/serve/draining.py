"""Drain this page server, so that its machine can be taken out: ``netboot pages drain``.

From then on it grants no swap, and seats take the next server of their order. Legs of mirrors, and
areas in a pool that another server reaches, move while their PCs run; all other areas leave at the
next boot of their PC. An area in a pool (layout any) moves as after a loss: the server closes its
connections and refuses it for a moment, in which its agent goes to the other server. A leg moves in
this way: the server closes its connections and refuses it. If the other leg has all pages, the
agent drops this one, and asks for a fresh lease: here in vain, then at the next server, where md
copies the pages. If not, the agent dials again, and after ``REFUSED_SECONDS`` it is let in: the
pages are still here. So the PC decides, as with every loss of a server (docs/adr/0006).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from netboot.host.files import PRIVATE
from netboot.host.keeper import Copy, Keeper
from netboot.host.state import StateFile, seal, unseal
from netboot.pages.lease import Lease, LeaseTable
from netboot.profile.profile import Profile
from netboot.serve.leases import Leases

log = logging.getLogger(__name__)

FILE = "drain.json"  # in the state folder
VERSION = 1
SECOND = 1.0
SAVE_SECONDS = 5.0
# For an agent that has its other leg: it hears of the loss at once, and md needs some tries to let go.
# A PC that cannot do without this leg stands still for so long, and up to 2 s until it dials.
REFUSED_SECONDS = 2.5
# For an agent that has another server of the pool: it asks both at once.
REFUSED_IN_POOL_SECONDS = 0.5
BACK_SECONDS = 5.0  # in which an agent is back whose other server is away
LOOK_SECONDS = 0.05
AGAIN_SECONDS = 60.0  # before a leg is asked again that could not go
FEWEST_SERVERS = 3  # with which a leg can go to another one
# Each copy takes a quarter of 1 Gbit/s of the server that it reads and of the one that it writes.
COPIES_OF_SERVER = 2
COPY_BYTES_PER_SECOND = 30_000_000  # at most (initramfs/swap.sh)


class Connections(Protocol):
    """The page server as this module needs it."""

    async def hang_up(self, lease: str) -> None:
        """Close the connections of a lease."""


@dataclass(frozen=True, slots=True)
class Order:
    """That this server is drained: ``since`` when, in seconds since the epoch, and ``by`` whom."""

    since: float
    by: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is. ``left``: areas that PCs use here, or did within their patience.

    ``moves``: of these the legs that go while their PC runs; all others go at its next boot.
    ``moved``: legs that went since this server started. ``copying``: of these, those that are being
    copied now, at the earliest end of their copy. ``stays``: why those that are left do not go while
    their PCs run; empty if they do.
    """

    drained: bool
    since: float = 0.0
    by: str = ""
    left: int = 0
    moves: int = 0
    moved: int = 0
    copying: int = 0
    stays: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self)


class Draining:
    """Drains the leases of ``table``, if that is ordered. The order is kept in the folder ``state``.

    ``now`` is in seconds since the epoch.
    """

    def __init__(
        self,
        profile: Profile,
        table: LeaseTable,
        leases: Leases,
        pages: Connections,
        state: Path,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._profile, self._table, self._leases = profile, table, leases
        self._pages, self._now, self._sleep = pages, now, sleep
        file = StateFile(state / FILE, mode=PRIVATE)
        found = file.read(_parse)
        self._order = None if found is None else found[0]
        self.keeper = Keeper("the order to drain", [Copy(file, self._text)])
        self._moved = 0
        self._copies: list[float] = []  # the earliest end of each
        self._asked: dict[str, float] = {}  # generations that could not go, and when that was
        self._follow()
        if self._leases.drained:
            log.warning(
                "this server is drained: it takes no new swap; netboot pages undrain ends that"
            )

    def obstacle(self) -> str:
        """Return why this server cannot be drained; empty if it can."""
        if len(self._profile.swap.servers) < 2:
            return "swap.servers names no other server, which could take the pages"
        return ""

    async def drain(self, by: str) -> bool:
        """Begin to drain. Return whether the order is saved, for the next server."""
        if self._order is None:
            self._order = Order(self._now(), by)
            log.warning("drained by %s: this server takes no new swap", by)
        return await self._changed()

    async def undrain(self, by: str) -> bool:
        """Take swap again. Return whether that is saved."""
        if self._order is not None:
            self._order = None
            log.warning("no longer drained, by %s: this server takes swap again", by)
        return await self._changed()

    def _follow(self) -> None:
        # The profile may have changed: PCs must not be without any server.
        self._leases.drained = self._order is not None and not self.obstacle()

    async def _changed(self) -> bool:
        self._follow()
        return await self.keeper.saved(self.keeper.changed(), SAVE_SECONDS)

    def progress(self) -> Progress:
        """Return how far it is."""
        order, left = self._order, self._left()
        if order is None:
            return Progress(drained=False, left=len(left), moved=self._moved)
        self._copies = [end for end in self._copies if end > self._now()]
        stays = self._stays() if left else ""
        moves = 0 if stays else len(left)
        return Progress(
            True, order.since, order.by, len(left), moves, self._moved, len(self._copies), stays
        )

    def _left(self) -> dict[str, tuple[Lease, bool]]:
        # In a pool the pages of a seat that is not connected here wait for it at each server.
        patience = BACK_SECONDS if self._is_pool else self._profile.swap.patience
        return self._table.with_pages(self._now(), patience)

    @property
    def _is_pool(self) -> bool:
        return self._profile.swap.layout == "any"

    def _stays(self) -> str:
        """Return why no leg can go while its PC runs; empty if it can."""
        swap = self._profile.swap
        if self._is_pool:
            return ""
        if swap.layout != "mirror":
            return f"with layout {swap.layout} a page is on one server only"
        if len(swap.servers) < FEWEST_SERVERS:
            return f"a mirror over {len(swap.servers)} servers has no further one for its copies"
        return ""

    async def run(self) -> None:
        """Move legs, one after the other, for as long as the order stands."""
        while True:
            await self._sleep(SECOND)
            lease = self._next()
            if lease is not None:
                await self._move(lease)

    def _next(self) -> Lease | None:
        """Return a leg that can go now; None if there is none, or if enough are being copied."""
        if self._order is None or self._stays():
            return None
        now, left = self._now(), self._left()
        self._copies = [end for end in self._copies if end > now]
        self._asked = {each: when for each, when in self._asked.items() if each in left}
        if len(self._copies) >= COPIES_OF_SERVER * (len(self._profile.swap.servers) - 1):
            return None
        waiting = [
            lease
            for generation, (lease, in_use) in left.items()
            if in_use and now - self._asked.get(generation, float("-inf")) >= AGAIN_SECONDS
        ]
        return min(waiting, key=lambda lease: self._asked.get(lease.generation, 0.0), default=None)

    async def _move(self, lease: Lease) -> None:
        """Have the agent of a leg go to another server; let it in again if it cannot."""
        generation = lease.generation
        refused = REFUSED_IN_POOL_SECONDS if self._is_pool else REFUSED_SECONDS
        looks = round(refused / LOOK_SECONDS)
        self._table.withhold(generation, on=True)
        try:
            await self._pages.hang_up(generation)
            for _ in range(looks):
                await self._sleep(LOOK_SECONDS)
                if generation not in self._table.generations():
                    break
        finally:
            self._table.withhold(generation, on=False)
        now = self._now()
        if self._is_pool:
            # An agent whose other server is away comes back by the next look.
            self._asked[generation] = now
            await self._sleep(SECOND)
            if self._left().get(generation, (lease, False))[1]:
                return
        elif generation in self._table.generations():
            self._asked[generation] = now
            return
        else:
            self._copies.append(now + lease.size_bytes / COPY_BYTES_PER_SECOND)
        self._moved += 1
        log.info("drained: %s of %s has moved to another server", lease.export, lease.seat)

    def _text(self) -> str:
        order = self._order
        return seal({"version": VERSION, "drained": None if order is None else asdict(order)})


def _parse(data: bytes) -> Order | None:
    """Return the order in the content of a state file. Raises ValueError."""
    row = unseal(data, VERSION)["drained"]
    try:
        return None if row is None else Order(float(row["since"]), str(row["by"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"damaged: {error!r}") from None
