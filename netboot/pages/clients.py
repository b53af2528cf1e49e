"""The connections that the workers serve, and the limits on their number."""

import resource
from collections import Counter
from dataclasses import dataclass, field

from netboot.boot.limits import NBD_CONNECTIONS, NBD_IMAGES, NBD_KEPT
from netboot.pages.exports import Attachment
from netboot.pages.lease import Ends
from netboot.pages.nbd.export import Refused
from netboot.pages.nbd.name import WireName
from netboot.pages.process import WorkerProcess
from netboot.pages.worker.exchange import Counters

MAX_CONNECTIONS = NBD_CONNECTIONS.in_total or 0
MAX_CONNECTIONS_OF_ADDRESS = NBD_CONNECTIONS.per_address or 0
KEPT_CONNECTIONS = NBD_KEPT.in_total or 0
MAX_IMAGES = NBD_IMAGES.in_total or 0
MAX_IMAGES_OF_SEAT = NBD_IMAGES.per_address or 0
MAPPED_TWICE = 2  # Python's mmap has a descriptor of its own, and a page file has two mappings
KEPT_DESCRIPTORS = 24  # a worker's own, and those of a handover


@dataclass(slots=True)
class Client:
    """One connection."""

    address: str
    attachment: Attachment
    worker: WorkerProcess
    heard: float = 0.0  # when its kernel answered, as far as anybody asked
    ending: bool = False  # its worker was told to close it


@dataclass(slots=True)
class SeatState:
    """State of an attached lease. It outlives the connections."""

    seat: str
    worker: WorkerProcess
    spread: bool = False  # other workers may have clients of it, too
    address: str = ""  # of its last connection
    left: float = float("-inf")  # when one last ended without a word, by time.monotonic()
    counters: Counters = field(default_factory=Counters)
    written: bool = False


class Clients(dict[int, Client]):
    """All connections, by the numbers that their workers know. The oldest comes first.

    ``seats`` is the state of each lease that was attached, by its generation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seats: dict[str, SeatState] = {}

    def of_lease(self, lease: str) -> int:
        """Return the number of connections of a lease."""
        return sum(client.attachment.lease == lease for client in self.values())

    def no_place(self, asked: WireName, ends: Ends, address: str) -> Refused | None:
        """Return the refusal if the server, or ``address``, has too many connections already.

        ``ends`` are those that an attachment of ``asked`` ends: they do not count.
        """
        counted = [each.address for each in self.values() if not _ended(each, ends, asked)]
        limit = MAX_CONNECTIONS - (0 if ends.again else KEPT_CONNECTIONS)
        if len(counted) >= limit:
            return Refused(f"the server has {len(counted)} connections, its limit")
        if counted.count(address) >= MAX_CONNECTIONS_OF_ADDRESS:
            limit = MAX_CONNECTIONS_OF_ADDRESS
            return Refused(f"this address has {limit} connections, the limit for one")
        return None

    def no_descriptor(self, worker: WorkerProcess, attachment: Attachment) -> Refused | None:
        """Return the refusal if ``worker`` may not open as many files as ``attachment`` needs."""
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)  # a worker inherits it
        each = len(attachment.pages.descriptors()) + MAPPED_TWICE
        leases = {attachment.lease}
        leases |= {lease for lease, seat in self.seats.items() if seat.worker is worker}
        connections = sum(
            # A seat that comes back closes those that it had.
            each.worker is worker and each.attachment.lease != attachment.lease
            for each in self.values()
        )
        if len(leases) * each + connections + KEPT_DESCRIPTORS <= limit:
            return None
        reason = f"the server may open {limit} files, which all are in use: raise that limit"
        return Refused(reason, is_ours=True)

    def surplus(self, attachment: Attachment) -> Refused | None:
        """Return the refusal if an area, or the reader of an image, has too many connections."""
        most = attachment.connections
        if attachment.seat and self._in_set(attachment) >= most:
            return Refused(
                f"{attachment.export.name} has {most} connections, the most for one area"
            )
        own = attachment.reader
        readers = self._readers()
        if own and readers[own] >= MAX_IMAGES_OF_SEAT:
            return Refused(f"this PC has {MAX_IMAGES_OF_SEAT} connections to images, its limit")
        if own and readers.total() >= MAX_IMAGES and self._most_other(readers, own) is None:
            return Refused(f"{MAX_IMAGES} connections read images, the limit")
        return None

    def to_end(self, attachment: Attachment) -> int | None:
        """Return the connection that ends so that ``attachment`` has a place; None if it has one.

        It is the oldest of the reader of images that has most.
        """
        readers = self._readers()
        if not attachment.reader or readers.total() < MAX_IMAGES:
            return None
        heaviest = self._most_other(readers, attachment.reader)
        return next(
            number
            for number, client in self.items()
            if client.attachment.reader == heaviest and not client.ending
        )

    def _readers(self) -> Counter[str]:
        return Counter(
            each.attachment.reader
            for each in self.values()
            if each.attachment.reader and not each.ending
        )

    def _most_other(self, readers: Counter[str], own: str) -> str | None:
        """Return the reader that has most, unless ``own`` gets as many."""
        heaviest, most = readers.most_common(1)[0]
        return heaviest if most > readers[own] + 1 else None

    def _in_set(self, attachment: Attachment) -> int:
        """Return how many connections of its lease ``attachment`` does not fence."""
        return sum(
            client.attachment.lease == attachment.lease
            and client.attachment.set_number >= attachment.set_number
            for client in self.values()
        )


def _ended(client: Client, ends: Ends, asked: WireName) -> bool:
    """Return whether an attachment of ``asked`` ends the connection of ``client``."""
    lease, number = client.attachment.lease, client.attachment.set_number
    return lease in ends.replaced or (lease == ends.again and number < (asked.set_number or 0))
