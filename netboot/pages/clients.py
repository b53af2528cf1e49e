"""The connections that the workers serve, and the limits on their number."""

from collections import Counter
from dataclasses import dataclass, field

from netboot.boot.limits import NBD_CONNECTIONS, NBD_IMAGES, NBD_KEPT
from netboot.host import descriptors
from netboot.pages.claims import Claims, Held
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
# Of the control plane: 2,000 HTTP connections of up to 4, handshakes, TFTP and DHCP. But page files get
# half of its descriptors at the least.
OTHER_DESCRIPTORS = 9600
FILES_OF_AREA = 3  # the page file, and two mappings of it


@dataclass(slots=True)
class Client:
    """One connection."""

    address: str
    attachment: Attachment
    worker: WorkerProcess
    place: Held
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

    ``seats`` is the state of each lease that was attached, by its generation. Both change by the
    methods below alone: what an attachment asks takes no longer if there are more of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seats: dict[str, SeatState] = {}
        self.claims = Claims()
        self._of_lease: dict[str, dict[int, Client]] = {}
        self._readers: Counter[str] = Counter()  # connections to images, without those that end
        self._loads: Counter[int] = Counter()  # connections by the id of the worker
        self._areas: Counter[int] = Counter()  # leases, likewise
        self._mates: dict[str, dict[str, SeatState]] = {}  # by seat, its leases

    def add(self, number: int, client: Client) -> None:
        """Add a connection, the newest one."""
        self[number] = client
        client.place.is_used = True
        self._of_lease.setdefault(client.attachment.lease, {})[number] = client
        self._loads[id(client.worker)] += 1
        if client.attachment.reader:
            self._readers[client.attachment.reader] += 1

    def remove(self, number: int) -> Client | None:
        """Remove a connection, with its place; None if it was removed already."""
        client = self.pop(number, None)
        if client is None:
            return None
        client.place.release()
        mates = self._of_lease[client.attachment.lease]
        del mates[number]
        if not mates:
            del self._of_lease[client.attachment.lease]
        self._loads[id(client.worker)] -= 1
        self._leave(client)
        return client

    def close(self, number: int) -> Client:
        """Note that the worker of a connection was told to close it; return the connection."""
        client = self[number]
        self._leave(client)
        client.ending = True
        return client

    def _leave(self, client: Client) -> None:
        """Count a reader's connection no more."""
        reader = client.attachment.reader
        if reader and not client.ending:
            self._readers[reader] -= 1
            if not self._readers[reader]:
                del self._readers[reader]

    def add_seat(self, lease: str, state: SeatState) -> None:
        """Add the state of a lease."""
        self.seats[lease] = state
        self._areas[id(state.worker)] += 1
        if state.seat:
            self._mates.setdefault(state.seat, {})[lease] = state

    def remove_seat(self, lease: str) -> SeatState | None:
        """Remove the state of a lease that has ended; None if it had none."""
        state = self.seats.pop(lease, None)
        if state is None:
            return None
        self._areas[id(state.worker)] -= 1
        mates = self._mates.get(state.seat, {})
        mates.pop(lease, None)
        if not mates:
            self._mates.pop(state.seat, None)
        return state

    def mate(self, seat: str) -> SeatState | None:
        """Return the state of a lease of this seat."""
        return next(iter(self._mates.get(seat, {}).values()), None)

    def load_of(self, worker: WorkerProcess) -> int:
        """Return the number of connections of a worker."""
        return self._loads[id(worker)]

    def connections_of(self, lease: str) -> dict[int, Client]:
        """Return the connections of a lease by their numbers."""
        return dict(self._of_lease.get(lease, {}))

    def of_lease(self, lease: str) -> int:
        """Return the number of connections of a lease."""
        return len(self._of_lease.get(lease, ()))

    def no_place(self, asked: WireName, ends: Ends, address: str) -> Refused | None:
        """Return the refusal if the server, or ``address``, has no places for an attachment.

        A seat that has its places needs no other ones. ``ends`` are the connections that an
        attachment of ``asked`` ends: they do not count.
        """
        again = ends.again or ""
        if self.claims.of_lease(again, address):
            return None
        needed = 1 if ends.places is None else ends.places
        ended = [*ends.replaced, again]
        own = self.claims.of_address(address)
        own -= sum(self.claims.of_lease(lease, address) for lease in ended)
        own -= self._older_than(asked, ends, address)
        if own + needed > MAX_CONNECTIONS_OF_ADDRESS:
            limit = MAX_CONNECTIONS_OF_ADDRESS
            return Refused(f"this address has {limit} connections, the limit for one")
        taken = self.claims.in_total - sum(self.claims.of_lease(lease) for lease in ended)
        taken -= self._older_than(asked, ends)
        limit = MAX_CONNECTIONS - (0 if ends.again else KEPT_CONNECTIONS)
        if taken + needed > limit:
            return full(f"{taken} of {limit} connections are taken")
        if ends.again is None and ends.places is not None:
            areas = len(self.seats) - sum(lease in self.seats for lease in ends.replaced)
            if areas >= most_areas(descriptors.limit()):
                return full(f"{areas} swap areas, and no more open files")
        return None

    def _older_than(self, asked: WireName, ends: Ends, address: str = "") -> int:
        """Return the connections of older sets, of a lease whose places are counted one by one."""
        if ends.places is not None or ends.again is None:
            return 0
        return sum(
            client.attachment.set_number < (asked.set_number or 0)
            and address in ("", client.address)
            for client in self._of_lease.get(ends.again, {}).values()
        )

    def no_descriptor(self, worker: WorkerProcess, attachment: Attachment) -> Refused | None:
        """Return the refusal if ``worker`` may not open as many files as ``attachment`` needs."""
        limit = descriptors.limit()  # a worker inherits it
        each = len(attachment.pages.descriptors()) + MAPPED_TWICE
        known = self.seats.get(attachment.lease)
        leases = self._areas[id(worker)] + (known is None or known.worker is not worker)
        # A seat that comes back closes those that it had.
        own = self._of_lease.get(attachment.lease, {}).values()
        connections = self._loads[id(worker)] - sum(each.worker is worker for each in own)
        if leases * each + connections + KEPT_DESCRIPTORS <= limit:
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
        if not own:
            return None
        readers = self._readers
        if readers[own] >= MAX_IMAGES_OF_SEAT:
            return Refused(f"this PC has {MAX_IMAGES_OF_SEAT} connections to images, its limit")
        if readers.total() >= MAX_IMAGES and self._most_other(readers, own) is None:
            return Refused(f"{MAX_IMAGES} connections read images, the limit")
        return None

    def to_end(self, attachment: Attachment) -> int | None:
        """Return the connection that ends so that ``attachment`` has a place; None if it has one.

        It is the oldest of the reader of images that has most.
        """
        if not attachment.reader or self._readers.total() < MAX_IMAGES:
            return None
        heaviest = self._most_other(self._readers, attachment.reader)
        return next(
            number
            for number, client in self.items()
            if client.attachment.reader == heaviest and not client.ending
        )

    def _most_other(self, readers: Counter[str], own: str) -> str | None:
        """Return the reader that has most, unless ``own`` gets as many."""
        heaviest, most = readers.most_common(1)[0]
        return heaviest if most > readers[own] + 1 else None

    def _in_set(self, attachment: Attachment) -> int:
        """Return how many connections of its lease ``attachment`` does not fence."""
        return sum(
            client.attachment.set_number >= attachment.set_number
            for client in self._of_lease.get(attachment.lease, {}).values()
        )


def most_areas(files: int) -> int:
    """Return the number of swap areas for a server that may open ``files`` files."""
    return max(files - OTHER_DESCRIPTORS, files // 2) // FILES_OF_AREA


def files_for(areas: int) -> int:
    """Return how many files a server may open for which ``most_areas`` is ``areas``."""
    return min(2 * FILES_OF_AREA * areas, FILES_OF_AREA * areas + OTHER_DESCRIPTORS)


def full(why: str) -> Refused:
    """Return the refusal of a server without room, which the same PC may have a moment later."""
    # As its agent does (REFUSED_PAUSE_MS in initramfs/agent/hold.h).
    return Refused(f"the server is full: {why}; come again in 10 s", is_full=True)
