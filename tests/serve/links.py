"""Links of a server that are only played: the MAC addresses that the kernel would know."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network


class FakeLinks:
    """``neighbours`` by address, in the network ``on_link``."""

    def __init__(self, neighbours: Mapping[str, str], on_link: str = "10.0.0.0/24") -> None:
        self.neighbours = dict(neighbours)
        self.on_link = IPv4Network(on_link)
        self.probed: list[IPv4Address] = []

    def mac_of(self, address: IPv4Address) -> str | None:
        return self.neighbours.get(str(address))

    def is_on_link(self, address: IPv4Address) -> bool:
        return address in self.on_link

    def probe(self, address: IPv4Address) -> None:
        self.probed.append(address)
