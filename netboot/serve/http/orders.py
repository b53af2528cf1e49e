"""Orders for seats that run without their disk. A seat asks, and waits for the answer."""

import asyncio

ORDERS = ("reboot", "poweroff")
WAIT_SECONDS = 60.0  # until a seat asks again; a seat that is off counts as waiting until then


class Orders:
    """The seats that wait for an order, by MAC address."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[str]] = {}

    async def wait(self, mac: str) -> str:
        """Wait for a seat's order and return it.

        Return an empty text after ``WAIT_SECONDS`` without an order, or if the seat asks again.
        """
        future = asyncio.get_running_loop().create_future()
        self.give(mac, "")
        self._waiting[mac] = future
        try:
            return await asyncio.wait_for(future, WAIT_SECONDS)
        except TimeoutError:
            return ""
        finally:
            if self._waiting.get(mac) is future:
                del self._waiting[mac]

    def release(self) -> None:
        """Wake all waiting seats because the server is stopping."""
        for mac in list(self._waiting):
            self.give(mac, "")

    def give(self, mac: str, order: str) -> bool:
        """Give a seat its order. Return False if the seat does not wait for one."""
        future = self._waiting.pop(mac, None)
        if future is None or future.done():
            return False
        future.set_result(order)
        return True
