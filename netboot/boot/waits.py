"""Waits: the steps of a boot that must have a next one, and what a PC lacks that does not go on. Pure.

The tables have a row for each wait (netboot.boot.silence).
"""

from dataclasses import dataclass
from enum import Enum, auto


class Step(Enum):
    """The last step that a PC was seen to take."""

    ASKED = auto()  # DHCP
    LEFT = auto()  # asked DHCP, which is left to another server (dhcp.mode none)
    OFFERED = auto()
    REQUESTED = auto()  # full mode: the acknowledgement follows
    ADDRESSED = auto()
    ADDRESSED_HTTP = auto()
    BOOT_SERVER = auto()  # has its answer from port 4011
    FETCHING = auto()
    BROKEN = auto()  # the transfer of its last request by TFTP broke off
    LOADER = auto()
    CHAIN = auto()  # the first script, by TFTP
    TURN = auto()
    SCRIPT = auto()
    IMAGES = auto()
    LINUX = auto()
    ROOT = auto()
    USERLAND = auto()
    LEASE = auto()
    AWAY = auto()  # all connections of its swap have ended
    OFF = auto()  # it said that it is shut down


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait that ``begin`` begins and the PC's next step ends.

    ``missing`` completes "for N s: ...", ``cause`` is the likeliest one with its remedy. ``alarm`` is
    False if a PC that was only switched off looks the same.
    """

    begin: Step
    seconds: float
    missing: str
    cause: str
    stage: str = "silent"
    alarm: bool = True


DOCTOR = "run 'netboot doctor' on the server"
# The oldest iPXE waits 16 s for an IPv6 router, and EDK2 4 s for further offers. Both are awaited.
WAITS = (
    Wait(
        Step.OFFERED,
        20.0,
        "was offered a boot file and accepts no address",
        "the offer did not reach it (DHCP snooping of the switch, a firewall), it took another "
        "server's, or in proxy mode no DHCP server gives it an address",
    ),
    Wait(
        Step.LEFT,
        30.0,
        "has asked for an address and a boot file, and has fetched none",
        "does the LAN's DHCP server name our boot files (netboot dhcp-snippet)? Or it boots from its "
        "disk or from another server",
    ),
    Wait(
        Step.ADDRESSED,
        20.0,
        "was offered a boot file and has asked for nothing",
        f"are UDP 69 and, for UEFI, 4011 open? {DOCTOR}; or it boots from its disk or from another server",
    ),
    Wait(
        Step.ADDRESSED_HTTP,
        20.0,
        "was offered a boot file by HTTP and has asked for nothing",
        f"is the HTTP port open? {DOCTOR}",
    ),
    Wait(
        Step.BOOT_SERVER,
        20.0,
        "has its answer of port 4011 and has asked for no file",
        f"is UDP 69 open? {DOCTOR}",
    ),
    Wait(
        Step.BROKEN,
        20.0,
        "has only a part of a boot file and has not asked for it again",
        "it was switched off, or packets are lost: look at its link and cable, at a smaller MTU on the "
        "way, and at a firewall",
    ),
    Wait(
        Step.LOADER,
        30.0,
        "has its boot loader, which has not asked for an address or a script",
        "its network card does not fit the loader (boot.loader), Secure Boot refused it, or "
        "spanning tree keeps the switch port closed",
    ),
    Wait(
        Step.CHAIN,
        20.0,
        "has its first script and has not fetched the next one by HTTP",
        f"is the HTTP port open? {DOCTOR}",
    ),
    Wait(
        Step.TURN,
        20.0,
        "did not come when it was its turn to download",
        "it was switched off, or lost its link",
    ),
    Wait(
        Step.SCRIPT,
        20.0,
        "has its boot script and has fetched no kernel",
        "look at its screen: too little RAM, a processor without an image here, or no link",
    ),
    # The first report comes when the PC has an address: unpacking, drivers, and 20 s for a link.
    Wait(
        Step.IMAGES,
        60.0,
        "has its boot files and has reported nothing",
        "too little RAM (80 MB, 128 MB with all drivers), or a network card without a driver; "
        "boot.arguments: '' shows the kernel's messages",
    ),
    Wait(
        Step.LINUX,
        90.0,
        "runs Linux and has not reported userland",
        "look at its screen; its link is lost, or it hangs",
    ),
    # systemd starts the root image's services before it reports, on slow PCs for minutes.
    Wait(
        Step.ROOT,
        240.0,
        "has its root file system and has not reported userland",
        "the root image waits for a service, or does not reach multi-user.target",
    ),
)
SWAP_WAITS = (
    Wait(
        Step.LEASE,
        30.0,
        "was granted swap and has not attached it",
        f"is the pages port (TCP 10809) open? {DOCTOR}",
    ),
    # After a fault a PC dials again each second, and at last every 5 s.
    Wait(
        Step.AWAY,
        20.0,
        "has no connection to its swap any more",
        "it was switched off, or cannot reach this server",
        stage="pages:away",
        alarm=False,
    ),
)

BY_STEP = {wait.begin: wait for wait in (*WAITS, *SWAP_WAITS)}
