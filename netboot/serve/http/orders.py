"""Orders for seats that run without their disk. A seat asks, and waits for the answer."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

MESSAGE, IDENTIFY = "message", "identify"
# The PC runs on and asks again. A PC of an earlier release does not say that it can show them.
SHOWN = (MESSAGE, IDENTIFY)
WAIT_SECONDS = 60.0  # until a seat asks again; a seat that is off counts as waiting until then
RETURN_SECONDS = 5.0  # a seat that has shown something asks again after a second
MOST_HELD = 4  # orders until then

OFF = "the PC is off, or did not boot from this server"
OLD = "its system is older than this server and can show nothing; boot it again"


@dataclass(slots=True)
class _Seat:
    can: frozenset[str]
    future: asyncio.Future[str] | None = None
    back_by: float = 0.0  # after an order that it has shown
    held: deque[str] = field(default_factory=deque)


class Orders:
    """The seats that wait for an order, by MAC address. ``now`` is a clock in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._seats: dict[str, _Seat] = {}

    async def wait(self, mac: str, can: Collection[str] = ()) -> str:
        """Wait for a seat's order and return it. ``can``: the orders that it can show.

        Return an empty text after ``WAIT_SECONDS`` without an order, or if the seat asks again.
        """
        before = self._seats.pop(mac, None)
        if before is not None and before.future is not None and not before.future.done():
            before.future.set_result("")
        seat = self._seats[mac] = _Seat(frozenset(can) & frozenset(SHOWN))
        if before is not None and before.held:
            seat.held = before.held
            seat.back_by = self._now() + RETURN_SECONDS
            return seat.held.popleft()
        future = seat.future = asyncio.get_running_loop().create_future()
        try:
            return await asyncio.wait_for(future, WAIT_SECONDS)
        except TimeoutError:
            return ""
        finally:
            waits = seat.future is future  # else it has shown something, and is to ask again
            if waits and self._seats.get(mac) is seat:
                del self._seats[mac]

    def release(self) -> None:
        """Wake all waiting seats because the server is stopping."""
        for seat in self._seats.values():
            if seat.future is not None and not seat.future.done():
                seat.future.set_result("")
        self._seats.clear()

    def refusal(self, mac: str, order: str) -> str:
        """Return why a seat cannot get an order now; empty if it can."""
        seat, word = self._seats.get(mac), order.partition(" ")[0]
        if seat is None or (seat.future is None and seat.back_by < self._now()):
            return OFF
        if word in SHOWN and word not in seat.can:
            return OLD
        if len(seat.held) >= MOST_HELD:
            return "it has not shown the orders before this one yet"
        return ""

    def give(self, mac: str, order: str) -> bool:
        """Give a seat its order. Return False if the seat does not wait for one, nor asks soon."""
        if self.refusal(mac, order):
            return False
        seat = self._seats[mac]
        if seat.future is None:
            seat.held.append(order)
            return True
        if not seat.future.done():
            seat.future.set_result(order)
        if order.partition(" ")[0] in SHOWN:
            self._forget()
            seat.future, seat.back_by = None, self._now() + RETURN_SECONDS
        else:
            del self._seats[mac]
        return True

    def _forget(self) -> None:
        """Forget the seats that did not ask again."""
        now = self._now()
        for mac, seat in list(self._seats.items()):
            if seat.future is None and seat.back_by < now:
                del self._seats[mac]
