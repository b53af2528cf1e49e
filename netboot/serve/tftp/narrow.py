"""Narrow: the addresses that full blocks do not reach, so that they get small ones. Pure.

Many boot ROMs put no IP fragments together. If the MTU is smaller somewhere on the way, and no ICMP
message says so, such a ROM never gets a full block. It sends its request again, and gives up.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from netboot.boot.limits import TFTP_NARROW


@dataclass(slots=True)
class Narrow:
    """The narrow addresses. ``now`` is a clock in seconds."""

    now: Callable[[], float]
    _until: dict[str, float] = field(default_factory=dict, repr=False)

    def add(self, address: str) -> bool:
        """Note that an address did not get a full block. Return True if that is new."""
        is_new = address not in self
        self._until.pop(address, None)
        self._until[address] = self.now() + (TFTP_NARROW.seconds or 0.0)
        if len(self._until) > (TFTP_NARROW.in_total or 0):
            del self._until[next(iter(self._until))]
        return is_new

    def __contains__(self, address: str) -> bool:
        """Return True if the address is to get small blocks."""
        return self.now() < self._until.get(address, float("-inf"))
