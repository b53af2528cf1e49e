"""The client: which PC asks to boot, and with which program."""

from dataclasses import dataclass
from enum import Enum

from netboot.boot.arch import Architecture

# What `netboot doctor` boots as: locally administered, so no card has it.
PROBE_MAC = "02:6e:65:74:62:6f"
# And the PCs of `netboot storm`: two more bytes are their number.
STORM_MACS = "02:6e:62:73:"


def played_mac(number: int) -> str:
    """The MAC address of a PC of a storm; numbers are below 65536."""
    return f"{STORM_MACS}{number >> 8:02x}:{number & 255:02x}"


def is_played(mac: str) -> bool:
    """Whether that is no PC, but a doctor's or a storm's: it is in no list, and its swap is a page."""
    return mac == PROBE_MAC or mac.startswith(STORM_MACS)


class Stage(Enum):
    """Which program sent the packet."""

    FIRMWARE = "firmware"
    IPXE = "ipxe"


@dataclass(frozen=True, slots=True)
class Client:
    """A PC that asks to boot. ``mac`` is ``aa:bb:cc:dd:ee:ff``; ``nic`` PCI vendor and device.

    ``able`` is false of an iPXE that says itself that it cannot do what our scripts ask for: that of
    an old network card, say. ``ours`` is true of an iPXE that is known to be no card's.
    """

    mac: str
    arch: Architecture
    stage: Stage
    nic: tuple[int, int] | None = None
    able: bool = True
    ours: bool = False
