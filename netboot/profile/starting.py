"""A first profile from five answers: the text that ``netboot init`` writes. Pure."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from netboot.errors import OperatorError

Shown = Literal["ram", "kiosk", "desktop", "thin"]
Place = Literal["memory", "disk"]

FOLDER = "/var/lib/netboot"  # of pages on the disk: the server's own
STEP, LEAST, MOST = 64 << 20, 64 << 20, 4 << 30  # bytes of one PC's swap
SPARE = 4  # a further address for each so many PCs: a card that was changed keeps its old lease


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers, and what this machine has: its address, and bytes for all swap together."""

    router: bool
    interface: str
    pcs: int
    show: Shown
    swap: Place
    address: IPv4Address
    network: IPv4Network
    capacity: int

    def text(self) -> str:
        """Return the profile, with comments. Raises OperatorError if the network is too small."""
        size = min(MOST, max(LEAST, self.capacity // self.pcs // STEP * STEP))
        return "\n".join([*self._network(), *self._root(), *self._swap(size), ""])

    def _network(self) -> list[str]:
        lines = [
            "# The room's profile, written by 'netboot init'. After a change: netboot check",
            "# Each key is explained in docs/reference/profile.md, and in lab.yaml.",
            "",
            "# The network card of this server to which the PCs are connected.",
            f"interface: {self.interface}",
            "",
            "dhcp:",
        ]
        if self.router:
            return [
                *lines,
                "  # The router gives out the addresses, and this server only says what to boot.",
                "  mode: proxy",
            ]
        first, last = address_range(self.address, self.network, self.pcs)
        return [
            *lines,
            "  # This server gives out the addresses. Never run two such servers on one network.",
            "  mode: full",
            f"  # For {self.pcs} PCs, with some to spare.",
            f"  range: {first}-{last}",
            "  # A way to other networks, if there is one.",
            "  # router: ADDRESS",
            "  # dns: [ADDRESS]",
        ]

    def _root(self) -> list[str]:
        if self.show == "ram":
            return [
                "",
                "root:",
                "  # A small system in each PC's memory, to try the room.",
                "  kind: ram",
            ]
        lines = [
            "",
            "root:",
            f"  # Make the image once: sudo netboot image build {self.show}",
            "  kind: image",
            f"  image: {self.show}",
        ]
        if self.show in ("kiosk", "thin"):
            what = (
                "The page of the kiosk" if self.show == "kiosk" else "The server (vnc://, rdp://)"
            )
            lines += ["", "seat:", f"  # {what}.", "  # url: http://10.0.0.1/", "  start: auto"]
        return lines

    def _swap(self, size: int) -> list[str]:
        where = "memory" if self.swap == "memory" else f"disk:{FOLDER}"
        share = "half of its memory" if self.swap == "memory" else "half of what is free there"
        return [
            "",
            "swap:",
            f"  # The place of the PCs' pages. memory: this server's; disk:{FOLDER}: its disk.",
            f"  store: {where}",
            f"  # All PCs together may store that much, {share}.",
            f"  capacity: {max(self.capacity, LEAST) >> 20}MiB",
            f"  # The swap of each of {self.pcs} PCs.",
            f"  size: {size >> 20}MiB",
        ]


def address_range(
    server: IPv4Address, network: IPv4Network, pcs: int
) -> tuple[IPv4Address, IPv4Address]:
    """Return the first and the last address for ``pcs`` PCs, beside the server's own.

    Raises OperatorError if the network has no room for them.
    """
    wanted = pcs + -(-pcs // SPARE)
    low, high = int(network.network_address) + 1, int(network.broadcast_address) - 1
    for first in (high - wanted + 1, int(server) + 1, int(server) - wanted, low):
        last = first + wanted - 1
        if low <= first and last <= high and not first <= int(server) <= last:
            return IPv4Address(first), IPv4Address(last)
    raise OperatorError(
        f"--pcs: {network} has no room for {wanted} addresses beside {server}",
        hint="give the card an address of a larger network, or name fewer PCs",
    )
