"""The client: the PC that asks to boot, and the program on it that asks."""

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network

from netboot.boot.arch import Architecture

# The MAC address of `netboot doctor`: locally administered, so no card has it.
PROBE_MAC = "02:6e:65:74:62:6f"
# The MAC addresses of `netboot storm` begin with this; two more bytes are the PC's number.
STORM_MACS = "02:6e:62:73:"
# They ask from these addresses if the server is on their machine. All of 127.0.0.0/8 is on each Linux
# machine, and reaches its other addresses over `lo`; no program is known to use these.
STORM_NETWORK = IPv4Network("127.83.0.0/16")


def played_mac(number: int) -> str:
    """Return the MAC address of a storm's PC ``number``, which is below 65536."""
    return f"{STORM_MACS}{number >> 8:02x}:{number & 255:02x}"


def is_played(mac: str) -> bool:
    """Return True if ``mac`` belongs to a doctor or a storm instead of a real PC.

    Such a client is in no list, and its swap is a single page.
    """
    return mac == PROBE_MAC or mac.startswith(STORM_MACS)


class Stage(Enum):
    """The program that sent the packet."""

    FIRMWARE = "firmware"
    IPXE = "ipxe"


@dataclass(slots=True)  # not frozen: see netboot.serve.dhcp.packet
class Client:
    """A PC that asks to boot.

    ``mac`` is ``aa:bb:cc:dd:ee:ff``; ``nic`` is PCI vendor and device, ``machine`` the UUID, empty
    if it is unknown. ``able`` is False if an iPXE, such as that of an old network card, lacks
    features that our scripts need. ``ours`` is True if an iPXE is known not to be the card's own.
    """

    mac: str
    arch: Architecture
    stage: Stage
    nic: tuple[int, int] | None = None
    able: bool = True
    ours: bool = False
    machine: str = ""
