"""Orders: what a seat that runs without its disk is told to do. It asks, and waits for the answer."""

import asyncio

ORDERS = ("reboot", "poweroff")
WAIT_SECONDS = 60.0  # then a seat asks again: who is switched off is known for it that long


class Orders:
    """The seats that wait for one, by MAC."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[str]] = {}

    async def wait(self, mac: str) -> str:
        """The order for a seat; empty if there was none for ``WAIT_SECONDS``, or if it asks anew."""
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
        """Has nobody wait any longer: the server stops."""
        for mac in list(self._waiting):
            self.give(mac, "")

    def give(self, mac: str, order: str) -> bool:
        """Gives a seat its order; False if it does not wait for one."""
        future = self._waiting.pop(mac, None)
        if future is None or future.done():
            return False
        future.set_result(order)
        return True
