"""All servers of a panel: read their feeds, and give each order to the servers that know its seats."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack

from netboot.errors import AnswerError
from netboot.panel.follow import Follower
from netboot.panel.records import Order

MOST_SEATS = 2000  # of one order; a server takes 2,500
EVERYWHERE = frozenset(("end-lease",))  # orders for each server that knows the seat


class Servers:
    """The feeds of all servers, and the way of orders to them."""

    def __init__(
        self, followers: Iterable[Follower], servers_of: Callable[[str], list[str]]
    ) -> None:
        """``servers_of``: the links of the connected servers that know a seat, its own first."""
        self._followers = {each.source.link: each for each in followers}
        self._servers_of = servers_of

    async def run(self) -> None:
        """Read all feeds for ever."""
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            for follower in self._followers.values():
                await stack.enter_async_context(follower)
                tasks.create_task(follower.run(), name=f"follow {follower.source.link}")

    async def send(self, order: Order) -> dict[str, str]:
        """Give an order to the server of each seat. Return for each seat "" or why it was refused."""
        parts: dict[str, list[str]] = {}
        results = {}
        for mac in dict.fromkeys(order.seats):
            links = self._servers_of(mac)
            if not links:
                results[mac] = "no connected server knows this seat"
            for link in links if order.order in EVERYWHERE else links[:1]:
                parts.setdefault(link, []).append(mac)
        answers = await asyncio.gather(
            *(
                self._part(self._followers[link], order, macs[begin : begin + MOST_SEATS])
                for link, macs in parts.items()
                for begin in range(0, len(macs), MOST_SEATS)
            )
        )
        for answer in answers:
            for mac, reason in answer.items():
                results[mac] = results.get(mac) or reason
        return {mac: results[mac] for mac in dict.fromkeys(order.seats)}

    async def _part(self, follower: Follower, order: Order, macs: list[str]) -> dict[str, str]:
        words = {"text": order.text, "image": order.image, "loader": order.loader}
        body = {"order": order.order, "seats": macs, "by": order.by}
        try:
            told = await follower.give(body | {name: text for name, text in words.items() if text})
        except AnswerError as error:
            return dict.fromkeys(macs, f"server {follower.server} did not take the order: {error}")
        missing = f"server {follower.server} gave no answer for this seat"
        return {mac: told.get(mac, missing) for mac in macs}
