"""Client: who is asking, read from one packet."""

from dataclasses import dataclass
from enum import Enum

from netboot.arch import Architecture


class Stage(Enum):
    """Which program sent the packet."""

    FIRMWARE = "firmware"
    IPXE = "ipxe"


@dataclass(frozen=True, slots=True)
class Client:
    """A PC that asks to boot. ``mac`` is ``aa:bb:cc:dd:ee:ff``; ``nic`` PCI vendor and device."""

    mac: str
    arch: Architecture
    stage: Stage
    uuid: str | None = None
    nic: tuple[int, int] | None = None
