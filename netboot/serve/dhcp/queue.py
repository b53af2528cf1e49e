"""The queue of DHCP messages: PCs that are known come first, and a flood costs little. Pure.

One PC can send 6000 DISCOVERs of made-up PCs in a second, twice what this server answers. Without a
queue of our own they fill the kernel's, and most packets of real PCs are lost there.
"""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from netboot.boot.limits import DHCP_FLOOD, DHCP_MESSAGES, DHCP_WAITING

T = TypeVar("T")

LONG, SHORT = 1000, 500  # messages that wait: a flood has as many, and is over below the second
MAC_AT, MAC_END = 28, 34  # chaddr of RFC 2131, section 2


def mac_of(data: bytes) -> str:
    """Return the MAC address that a message names, without parsing the rest of it."""
    return data[MAC_AT:MAC_END].hex(":")


class Queue(Generic[T]):
    """Messages that wait. ``is_known(mac)`` is True for a PC of the profile, or one that booted.

    ``now`` is seconds of one clock. Known PCs never wait for others. Others are answered as fast as
    they can be, unless a long queue has not been empty for ``DHCP_FLOOD.seconds``. From then on only
    few of them are, and those that came long ago are dropped: their PCs have asked again.
    """

    def __init__(self, is_known: Callable[[str], bool]) -> None:
        self._is_known = is_known
        self._strangers: deque[tuple[float, T]] = deque(maxlen=DHCP_WAITING.in_total)
        self._begin = float("-inf")  # of the second that is counted
        self._counts: dict[str, int] = {}  # messages of known PCs in it
        self._served = 0  # strangers in it
        self._flooded = False
        self._since = float("-inf")  # the time since which the queue is not empty

    def put(self, data: bytes, item: T, now: float) -> bool:
        """Take a message. Return True if it is to be answered at once, before all that wait."""
        self._count(now)
        mac = mac_of(data)
        if not self._is_known(mac):
            if not self._strangers:
                self._since = now
            self._strangers.append((now, item))
            return False
        count = self._counts[mac] = self._counts.get(mac, 0) + 1
        return count <= (DHCP_MESSAGES.per_address or 0)

    def take(self, most: int, now: float) -> list[T]:
        """Return at most ``most`` messages of others, the oldest first."""
        self._count(now)
        patience = DHCP_FLOOD.seconds or 0.0
        if len(self._strangers) >= LONG and now - self._since > patience:
            self._flooded = True
        if self._flooded:
            while self._strangers and now - self._strangers[0][0] > patience:
                self._strangers.popleft()
            self._flooded = len(self._strangers) >= SHORT
        if self._flooded:
            most = min(most, max(0, (DHCP_FLOOD.in_total or 0) - self._served))
        taken = [self._strangers.popleft()[1] for _ in range(min(most, len(self._strangers)))]
        self._served += len(taken)
        return taken

    def __len__(self) -> int:
        """Return the number of messages that wait."""
        return len(self._strangers)

    def _count(self, now: float) -> None:
        if now - self._begin >= (DHCP_MESSAGES.seconds or 0.0):
            self._begin, self._served = now, 0
            self._counts.clear()
