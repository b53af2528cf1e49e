"""The server's own network interfaces: names, indexes, IPv4 addresses."""

import difflib
import fcntl
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from netboot.errors import OperatorError

AUTO = "auto"

# linux/sockios.h, linux/if.h. A struct ifreq is a name of 16 bytes and a union of 24 bytes.
SIOCGIFFLAGS = 0x8913
SIOCGIFADDR = 0x8915
SIOCGIFNETMASK = 0x891B
IFF_UP = 0x1
IFF_BROADCAST = 0x2
IFF_LOOPBACK = 0x8
IFREQ_BYTES = 40


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface that serves clients: its first IPv4 address and its network."""

    name: str
    index: int
    address: IPv4Address
    network: IPv4Network


def find(*names: str) -> list[Interface]:
    """Return the interfaces called ``names``.

    ``auto`` stands for all interfaces that are up, can broadcast and have an IPv4 address. Raises
    OperatorError if there is none; if a name is unknown, the message gives the nearest one.
    """
    indexes = {known: index for index, known in socket.if_nameindex()}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        if AUTO not in names:
            return [_named(probe, name, indexes) for name in dict.fromkeys(names)]
        found = [
            interface
            for known, index in indexes.items()
            if _flags(probe, known) & (IFF_UP | IFF_BROADCAST | IFF_LOOPBACK)
            == IFF_UP | IFF_BROADCAST
            and (interface := _read(probe, known, index))
        ]
    if not found:
        raise OperatorError(
            "no network interface is up with an IPv4 address",
            hint="give one an address: ip addr add 10.0.0.1/24 dev NAME",
        )
    return found


def find_one(name: str) -> Interface:
    """Return the interface called ``name``; for ``auto`` the only one. Raises OperatorError."""
    found = find(name)
    if len(found) > 1:
        names = ", ".join(interface.name for interface in found)
        raise OperatorError(
            f"there are several network interfaces: {names}",
            hint=f"name one: --interface {found[0].name}",
        )
    return found[0]


def _named(probe: socket.socket, name: str, indexes: dict[str, int]) -> Interface:
    if name not in indexes:
        nearest = difflib.get_close_matches(name, indexes, n=1, cutoff=0)
        raise OperatorError(
            f"there is no network interface {name!r}; did you mean {nearest[0]!r}?",
            hint=f"the interfaces are {', '.join(indexes)}",
        )
    if not _flags(probe, name) & IFF_UP:
        raise OperatorError(
            f"network interface '{name}' is down", hint=f"ip link set dev {name} up"
        )
    interface = _read(probe, name, indexes[name])
    if interface is None:
        raise OperatorError(
            f"network interface '{name}' has no IPv4 address",
            hint=f"ip addr add 10.0.0.1/24 dev {name}",
        )
    return interface


def _read(probe: socket.socket, name: str, index: int) -> Interface | None:
    address, mask = (_address(probe, name, request) for request in (SIOCGIFADDR, SIOCGIFNETMASK))
    if address is None or mask is None:
        return None
    return Interface(name, index, address, IPv4Interface(f"{address}/{mask}").network)


def _flags(probe: socket.socket, name: str) -> int:
    answer = _ioctl(probe, name, SIOCGIFFLAGS)
    return 0 if answer is None else int(struct.unpack_from("=H", answer, 16)[0])


def _address(probe: socket.socket, name: str, request: int) -> IPv4Address | None:
    answer = _ioctl(probe, name, request)
    return None if answer is None else IPv4Address(answer[20:24])  # after sin_family, sin_port


def _ioctl(probe: socket.socket, name: str, request: int) -> bytes | None:
    """Return the kernel's answer; None if the interface has no such value, or no longer exists."""
    try:
        return fcntl.ioctl(probe, request, name.encode().ljust(IFREQ_BYTES, b"\0"))
    except OSError:
        return None
