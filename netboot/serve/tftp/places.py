"""Places: the transfers in the hands of workers, and how many of them one machine may have.

A full table ends an unproven transfer for a newcomer, and never an acknowledged one (boot/limits.py).
"""

import resource
import time
from collections import Counter
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from netboot.boot import limits
from netboot.serve.tftp.crew import Worker

KEPT_BACK = 64  # descriptors of a worker that are no transfer's
# Their sockets and files must fit into the descriptors of one worker, which takes all that it may.
_, _DESCRIPTORS = resource.getrlimit(resource.RLIMIT_NOFILE)
MAX_TRANSFERS = limits.TFTP_TRANSFERS.in_total or 0
if _DESCRIPTORS != resource.RLIM_INFINITY:
    MAX_TRANSFERS = min(MAX_TRANSFERS, max(1, (_DESCRIPTORS - KEPT_BACK) // 2))
SHARE_OF_ADDRESS = limits.TFTP_TRANSFERS.per_address or 0
# An acknowledgement takes a round trip. A transfer this old would have it.
UNPROVEN_GRACE_SECONDS = 0.2

Peer = tuple[str, int]
Key = tuple[IPv4Address, Peer]  # the address that was asked, and the client


@dataclass(slots=True)
class Pending:
    """A transfer in the hands of a worker. ``began`` is of time.monotonic()."""

    key: Key
    holder: str  # the machine that it counts for
    worker: Worker
    filename: str
    size: int
    began: float
    counted: bool = True  # False if its worker was told to end it

    @property
    def client(self) -> str:
        """The address of the client."""
        return self.key[1][0]


@dataclass(slots=True)
class Places:
    """The transfers that have a place, by number, and the count of each machine."""

    transfers: dict[int, Pending] = field(default_factory=dict)
    _of_holder: Counter[str] = field(default_factory=Counter)
    _unproven: dict[str, dict[int, Pending]] = field(default_factory=dict)  # the oldest first

    def count(self, holder: str) -> tuple[int, int]:
        """Return the number of all transfers, and of those of ``holder``."""
        return self._of_holder.total(), self._of_holder[holder]

    def states(self) -> dict[str, int]:
        """Return how many transfers there are that the client acknowledged nothing of, and others."""
        unanswered = sum(map(len, self._unproven.values()))
        return {"unanswered": unanswered, "sending": len(self.transfers) - unanswered}

    def has_room(self, holder: str) -> bool:
        """Return True if one more transfer of ``holder`` fits, after ending an unproven one."""
        total, own = self.count(holder)
        small = own < SHARE_OF_ADDRESS
        if total < (MAX_TRANSFERS if small else MAX_TRANSFERS // 2):
            return True
        return self._end_one(None if small else holder)

    def workers_of(self, key: Key) -> list[Worker]:
        """Return the workers with a transfer of this client."""
        return [pending.worker for pending in self.transfers.values() if pending.key == key]

    def take(self, number: int, pending: Pending) -> None:
        """Give a transfer, which is unproven, a place."""
        self.transfers[number] = pending
        self._of_holder[pending.holder] += 1
        self._unproven.setdefault(pending.holder, {})[number] = pending

    def heard(self, number: int) -> None:
        """Note that a client acknowledged its transfer, which we may have wanted to end."""
        pending = self.transfers.get(number)
        if pending is None:
            return
        self._forget_unproven(number)
        if not pending.counted:
            pending.counted = True
            self._count(pending.holder, +1)

    def free(self, number: int) -> Pending:
        """Free the place of a transfer that has ended. Return the transfer."""
        self._forget_unproven(number)
        pending = self.transfers.pop(number)
        if pending.counted:
            self._count(pending.holder, -1)
        return pending

    def _end_one(self, holder: str | None) -> bool:
        """End the oldest unproven transfer of ``holder``. Return False if there is none to end.

        For None, take the holder that has most of them. Leave young ones alone, unless another
        holder has more than its share.
        """
        if holder is None and self._unproven:
            most = max(self._unproven, key=lambda each: len(self._unproven[each]))
        else:
            most = holder or ""
        found = self._unproven.get(most)
        if not found:
            return False
        number, oldest = next(iter(found.items()))
        is_greedy = holder is None and len(found) > SHARE_OF_ADDRESS
        is_old = time.monotonic() - oldest.began >= UNPROVEN_GRACE_SECONDS
        if not (is_old or is_greedy) or not oldest.worker.drop(number):
            return False
        self._forget_unproven(number)
        oldest.counted = False
        self._count(most, -1)
        return True

    def _count(self, holder: str, change: int) -> None:
        self._of_holder[holder] += change
        if self._of_holder[holder] <= 0:
            del self._of_holder[holder]

    def _forget_unproven(self, number: int) -> None:
        holder = self.transfers[number].holder
        found = self._unproven.get(holder, {})
        found.pop(number, None)
        if not found:
            self._unproven.pop(holder, None)
