"""Another image, loader or entry of the menu at the next boot of a seat: kept until that boot is over.

The PC may run now, and reads its image on. So the session of a boot decides whether the order is for it.
A boot has begun when the PC has its script, and it has succeeded with the first request of its Linux.
An entry without a Linux of ours has succeeded when it begins, and so has each choice at the PC itself:
such an order is for the scripts of one boot, however often its iPXE asks.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from netboot.boot.menu import Entry
from netboot.host.files import PRIVATE
from netboot.host.keeper import Copy, Keeper
from netboot.host.state import StateFile, seal, unseal
from netboot.profile.profile import Seat

FILE = "next-boot.json"  # in the state folder
VERSION = 1
APART_SECONDS = 30.0  # of two boots
MOST_TRIES = 3  # boots without a request of Linux, after which the profile counts again


@dataclass(frozen=True, slots=True)
class Order:
    """The ``image``, the ``loader`` and the menu's ``entry`` of a boot; an empty one is the profile's.

    ``session``: a digest of that of the boot, empty before it. ``tries``: boots that have begun so, and
    ``began``: when the last one did. ``once``: it is over with the first boot that has begun.
    """

    image: str = ""
    loader: str = ""
    entry: str = ""
    once: bool = False
    session: str = ""
    tries: int = 0
    began: float = 0.0

    def of(self, seat: Seat, entries: Mapping[str, Entry]) -> Seat:
        """Return the settings of a seat in this boot; ``entries`` are those of the menu."""
        if self.entry in entries:
            seat = entries[self.entry].settings(seat)
        if self.image:
            root = seat.root.model_copy(update={"kind": "image", "image": self.image})
            seat = replace(seat, root=root)
        if self.loader:
            boot = seat.boot.model_copy(update={"loader": self.loader})
            seat = replace(seat, boot=boot)
        return seat


class NextBoots:
    """The orders by MAC address, kept in the folder ``state`` if there is one.

    ``tell`` is called with a seat and a sentence if an order ends without its boot.
    """

    def __init__(self, state: Path | None = None) -> None:
        self.tell: Callable[[str, str], None] = lambda mac, text: None
        self.entries: Mapping[str, Entry] = {}  # of the menu, by id
        self._next: dict[str, Order] = {}
        self._runs: dict[str, Order] = {}  # of boots whose Linux has asked
        copies = []
        if state is not None:
            file = StateFile(state / FILE, mode=PRIVATE)
            found = file.read(_parse)
            self._next, self._runs = ({}, {}) if found is None else found[0]
            copies.append(Copy(file, self._text))
        self.keeper = Keeper("orders for the next boot", copies)

    def order(
        self,
        mac: str,
        *,
        image: str | None = None,
        loader: str | None = None,
        entry: str | None = None,
        once: bool = False,
    ) -> None:
        """Order an image, a loader or an entry for the next boot; an empty one takes an order back.

        An image and an entry replace each other. ``once``: see ``Order``.
        """
        before = self._next.get(mac, Order())
        order = Order(
            (before.image if entry is None else "") if image is None else image,
            before.loader if loader is None else loader,
            (before.entry if image is None else "") if entry is None else entry,
            once if entry else False,
        )
        if order == Order():
            self._next.pop(mac, None)
        else:
            self._next[mac] = order
        self.keeper.changed()

    def choose(self, mac: str, entry: str, now: float) -> None:
        """Note what was chosen at the PC itself, for this boot alone; empty: the profile's."""
        order = self._next.get(mac)
        is_same = order is not None and order.once and order.entry == entry
        if order is not None and is_same and not _is_over(order, now):
            return  # iPXE has asked twice
        self.order(mac, image="", loader="", entry=entry, once=True)

    def entry(self, mac: str) -> Entry | None:
        """Return the entry of the menu that a seat is to boot; None if there is none."""
        order = self._next.get(mac)
        return None if order is None else self.entries.get(order.entry)

    def expire(self, mac: str, now: float) -> None:
        """Forget an order that is not for the boot which a seat begins now, or was tried too often.

        To be called before the answers of that boot are made: all of them must follow the same order.
        """
        order = self._next.get(mac)
        if order is None or not _is_over(order, now):
            return
        if order.once:
            del self._next[mac]
        elif order.tries >= MOST_TRIES:
            del self._next[mac]
            self.tell(
                mac, f"no Linux after {MOST_TRIES} boots as ordered; the profile counts again"
            )
        self.keeper.changed()

    def before(self, seat: Seat) -> Seat:
        """Return the settings of a seat that is to boot."""
        order = self._next.get(seat.mac)
        return seat if order is None else order.of(seat, self.entries)

    def during(self, seat: Seat, session: str) -> Seat:
        """Return the settings of a seat in the boot of a session."""
        for orders in (self._next, self._runs):
            order = orders.get(seat.mac)
            if order is not None and session and order.session == _digest(session):
                return order.of(seat, self.entries)
        return seat

    def began(self, mac: str, session: str, now: float) -> None:
        """Note that a boot begins. It may be told several times: firmware repeats its questions."""
        order = self._next.get(mac)
        if order is None:
            if self._runs.pop(mac, None) is not None:
                self.keeper.changed()
            return
        again = not order.session or _is_over(order, now)
        tries, began = (order.tries + 1, now) if again else (order.tries, order.began)
        self._next[mac] = replace(order, session=_digest(session), tries=tries, began=began)
        self.keeper.changed()

    def runs(self, mac: str, session: str) -> None:
        """Note that the Linux of a boot has asked: the order is carried out."""
        order = self._next.get(mac)
        if order is not None and order.session == _digest(session):
            self._runs[mac] = self._next.pop(mac)
            self.keeper.changed()

    def loader_failed(self, mac: str) -> None:
        """Note that the loader did not start: the next one is the profile's."""
        order = self._next.get(mac)
        if order is not None and order.loader:
            self.order(mac, loader="")
            self.tell(mac, f"the ordered loader '{order.loader}' did not start")

    def _text(self) -> str:
        rows = {
            name: {mac: asdict(order) for mac, order in orders.items()}
            for name, orders in (("next", self._next), ("runs", self._runs))
        }
        return seal({"version": VERSION, **rows})


def _is_over(order: Order, now: float) -> bool:
    """Return True if the boot of an order is another one than a boot that begins now."""
    return bool(order.session) and not 0 <= now - order.began < APART_SECONDS


def _digest(session: str) -> str:
    """Return what names a session in a file, and opens nothing."""
    return hashlib.blake2b(session.encode(), digest_size=16).hexdigest()


def _parse(data: bytes) -> tuple[dict[str, Order], dict[str, Order]]:
    """Return the orders in the content of a state file. Raises ValueError."""
    rows = unseal(data, VERSION)
    try:
        following, running = (
            {
                str(mac): Order(
                    str(row["image"]),
                    str(row["loader"]),
                    str(row.get("entry", "")),  # 0.2.0 had none
                    bool(row.get("once", False)),
                    str(row["session"]),
                    int(row["tries"]),
                    float(row["began"]),
                )
                for mac, row in rows[name].items()
            }
            for name in ("next", "runs")
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"damaged: {error!r}") from None
    return following, running
