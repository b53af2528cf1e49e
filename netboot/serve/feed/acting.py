"""Orders of a panel: read, and carried out for each seat."""

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, get_args

from netboot.boot import ticket
from netboot.boot.client import is_played
from netboot.feed.protocol import MAX_NAME, MAX_TEXT, OrderName
from netboot.host import wake
from netboot.profile import reading
from netboot.profile.fields import IMAGE_NAME
from netboot.profile.sections import LOADERS
from netboot.serve.http.orders import MESSAGE, Orders
from netboot.serve.room import Room

NAMES: tuple[OrderName, ...] = get_args(OrderName)
KEYS = ("order", "seats", "by", "text", "image", "loader")
MAX_SEATS = 2500  # as many fit into the largest order
AT_ONCE = 20  # seats between two visits to the event loop
WAVE, PAUSE_SECONDS = 16, 2.0  # PCs that start at once: a whole room may trip its fuse
STAGE = "ordered"
ENTRY = "entry"  # of the boot menu, at the next boot


@dataclass(frozen=True, slots=True)
class Order:
    """An order for some seats. ``by``: the name of the person who gave it. ``text``: of a message,
    or the id of an entry of the boot menu.

    ``image``, ``loader`` and entries are for the next boot; an empty one takes an earlier order back.
    """

    kind: OrderName
    seats: tuple[str, ...]
    by: str
    text: str = ""
    image: str = ""
    loader: str = ""


def parse_order(body: bytes) -> Order | str:
    """Return the order in JSON, or the mistake in it."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        return "order: expected JSON"
    if not isinstance(given, dict) or not all(isinstance(key, str) for key in given):
        return "order: expected an object"
    unknown = sorted(given.keys() - set(KEYS))
    if unknown:
        return f"order: unknown key {reading.quoted(unknown[0])}"
    kind, seats = given.get("order"), given.get("seats")
    if kind not in NAMES:
        return f"order: expected {reading.any_of(dict.fromkeys(NAMES))}"
    if not isinstance(seats, list) or not 0 < len(seats) <= MAX_SEATS:
        return f"seats: expected 1 to {MAX_SEATS} MAC addresses"
    if not all(isinstance(mac, str) and ticket.is_mac(mac) for mac in seats):
        return "seats: expected MAC addresses such as 52:54:00:12:34:56"
    texts = {name: given.get(name, "") for name in ("by", "text", "image", "loader")}
    mistake = _mistake(kind, texts)
    return mistake or Order(kind, tuple(dict.fromkeys(seats)), **texts)


def _mistake(kind: str, texts: dict[str, Any]) -> str:
    """Return the mistake in the texts of an order, empty if there is none."""
    for name, text in texts.items():
        most = MAX_TEXT if name == "text" else MAX_NAME
        if not isinstance(text, str) or len(text) > most or not text.isprintable():
            return f"{name}: expected at most {most} printable characters"
    if not texts["by"]:
        return "by: expected the name of the person who gives the order"
    if kind == MESSAGE and not texts["text"].strip():
        return "text: expected a message"
    if texts["image"] and not re.fullmatch(IMAGE_NAME, texts["image"]):
        return "image: expected the name of a root image"
    if texts["loader"] not in ("", *LOADERS):
        return f"loader: expected {reading.any_of(dict.fromkeys(LOADERS))}"
    return ""


class Acting:
    """Carries out orders in ``room``. ``links``: our addresses with the broadcast address of each."""

    def __init__(
        self,
        room: Room,
        orders: Orders,
        links: Callable[[], Sequence[tuple[IPv4Address, IPv4Address]]],
    ) -> None:
        self._room = room
        self._orders = orders
        self._links = links
        self._waking: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Wake no more PCs."""
        for task in self._waking:
            task.cancel()

    async def carry_out(self, order: Order) -> dict[str, str]:
        """Carry out an order. Return by seat why it was refused; an empty text if it was not.

        Each one is an event of its seat, with the person who gave it.
        """
        answer: dict[str, str] = {}
        for number, mac in enumerate(order.seats):
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            refusal = self._refusal(mac) or self._carried_out(mac, order)
            answer[mac] = refusal
            if is_played(mac) or not self._is_known(mac):
                continue
            entry = order.text if order.kind == ENTRY else ""
            what = " ".join(filter(None, (order.kind, order.image or order.loader or entry)))
            told = f"{what} by {order.by}" + (f", refused: {refusal}" if refusal else "")
            self._room.record(mac, STAGE, told, order=order.kind, by=order.by, refused=refusal)
        if order.kind == "wake":
            self._wake([mac for mac, refusal in answer.items() if not refusal])
        return answer

    def _is_known(self, mac: str) -> bool:
        return self._room.profile.names(mac) or mac in self._room.journal

    def _refusal(self, mac: str) -> str:
        return "" if self._is_known(mac) and not is_played(mac) else "no such seat"

    def _carried_out(self, mac: str, order: Order) -> str:
        """Carry out an order for one seat. Return why not, an empty text if it is done."""
        match order.kind:
            case "wake":
                return "" if self._links() else "this server has no network now"
            case "end-lease":
                return self._room.leases.end_all(mac)
            case "image":
                return self._order_image(mac, order.image)
            case "loader":
                self._room.next_boots.order(mac, loader=order.loader)
                return ""
            case "entry":
                return self._order_entry(mac, order.text)
            case _:
                text = f"{order.kind} {order.text.strip()}" if order.kind == MESSAGE else order.kind
                refusal = self._orders.refusal(mac, text)
                if not refusal:
                    self._orders.give(mac, text)
                return refusal

    def _order_image(self, mac: str, image: str) -> str:
        processors = self._room.profile.boot.architectures
        obstacle = self._room.shelf.obstacle(image, processors) if image else ""
        if not obstacle:
            self._room.next_boots.order(mac, image=image)
        return obstacle

    def _order_entry(self, mac: str, text: str) -> str:
        """Order an entry of the menu. Without a Linux of ours it is over when it begins."""
        entry = self._room.next_boots.entries.get(text)
        if text and entry is None:
            known = ", ".join(self._room.next_boots.entries) or "none"
            return f"the boot menu has no entry '{text}'; it has: {known}"
        is_once = entry is not None and not entry.is_own_linux
        self._room.next_boots.order(mac, entry=text, once=is_once)
        return ""

    def _wake(self, seats: Sequence[str]) -> None:
        async def send() -> None:
            for begin in range(0, len(seats), WAVE):
                if begin:
                    await asyncio.sleep(PAUSE_SECONDS)
                for source, broadcast in self._links():
                    self._send(source, broadcast, seats[begin : begin + WAVE])

        task = asyncio.get_running_loop().create_task(send())
        self._waking.add(task)
        task.add_done_callback(self._waking.discard)

    def _send(self, source: IPv4Address, broadcast: IPv4Address, seats: Sequence[str]) -> None:
        try:
            with wake.open_socket(source) as sock:
                for mac in seats:
                    wake.send(sock, mac, str(broadcast))
        except OSError as error:
            self._room.warn(str(source), f"wake: {source}: {error.strerror}")
