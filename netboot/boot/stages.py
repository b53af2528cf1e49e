"""Every stage that an event of a seat can have: its meaning, and a remedy. Pure.

The program, the initramfs and the swap agent write these names as literals. A test holds the literals
and this table against each other, and docs/reference/events.md is generated from it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EventStage:
    """The name that ``BootEvent.stage`` has, and what it tells; ``remedy`` is empty if none is needed."""

    name: str
    meaning: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class StageGroup:
    """Stages of one source; ``source`` is a sentence that tells who reports them."""

    title: str
    source: str
    stages: tuple[EventStage, ...]


BOOT = StageGroup(
    "From power-on to the kernel",
    "The boot server reports these stages: it saw a request of the PC and answered it.",
    (
        EventStage(
            "dhcp",
            "The PC sent a DHCP packet to port 67, or the server answered one. "
            "The message names both, or the reason why there is no answer.",
            "If the PC asks again and again, read the reason in the message.",
        ),
        EventStage(
            "pxe",
            "The PC asked port 4011 for its boot file, or the server answered.",
        ),
        EventStage(
            "loader",
            "The PC fetched its last boot loader and did not come back. It gets the next one.",
            "If no loader works, set `boot.loader` for this PC.",
        ),
        EventStage(
            "tftp",
            "The PC fetched a file by TFTP: name, size, time. Or the transfer ended early. Or the file was "
            "refused, and the message gives the reason.",
            "If transfers end early, look for packet loss: cable, switch, network card. If a file is "
            "missing, remove the boot file from the router, or run `netboot build`.",
        ),
        EventStage(
            "http",
            "The PC fetched a file by HTTP: name, size, time, rate. Or it closed the connection. Or the "
            "file was refused, and the message gives the reason.",
        ),
        EventStage(
            "secure",
            "A PC with Secure Boot runs the image that this server has signed, and gets the words of its "
            "seat, signed too.",
        ),
        EventStage(
            "wait",
            "The PC waits for its turn to download: seconds, and the number of PCs before it.",
            "If the wire is faster than `http.rate` says, raise it.",
        ),
        EventStage(
            "menu",
            "The boot menu is open on the PC's screen. Or the PC starts an entry of it, which a person chose "
            "there or in a panel. Or the password was wrong.",
        ),
        EventStage(
            "initramfs",
            "The images lack a driver or firmware for the PC's network card. "
            "Or its last boot failed, and this one gets all drivers.",
            "Use another network card or a newer `boot.kernel`. For firmware, run `netboot build` "
            "where the named package is available.",
        ),
        EventStage(
            "lease",
            "The server granted swap to the PC, refused it, or took a further area back.",
            "If swap is refused, the message gives the reason: for example, raise `swap.capacity`.",
        ),
        EventStage(
            "order",
            "The PC fetched an order: reboot, poweroff, message or identify.",
        ),
        EventStage(
            "ordered",
            "A person gave an order for the PC in a panel: which one, and who. Or it was refused, and the "
            "message gives the reason.",
        ),
        EventStage(
            "twin",
            "A PC with another UUID asked with this PC's MAC address; or one with another card, if a UUID "
            "is missing. The message has both UUIDs and the cards' PCI numbers, as far as they are known.",
            "A network adapter was moved from one PC to another. If both PCs run, give one of them "
            "another adapter.",
        ),
        EventStage(
            "identity",
            "Another machine asked for what is this PC's, and was refused: its address, and the MAC "
            "address that the kernel knows for it. Or another machine has taken the IP address of this "
            "PC while its swap was in use.",
            "If it was this PC, its MAC address is changed on the way (a wireless bridge), or it is "
            "behind a router that is not in `dhcp.networks`.",
        ),
        EventStage(
            "silent",
            "The PC was served and does not go on: the step that is missing, since when, and the "
            "likeliest cause. It is told once, and the PC's next step ends it.",
            "Act on the cause. If many PCs are silent at the same step, run `netboot doctor`.",
        ),
        EventStage(
            "missing",
            "The PC asked for a boot file that the server does not have.",
            "Run `netboot build`, and restart the server if `boot.architectures` has changed.",
        ),
        EventStage(
            "storm",
            "A played PC of `netboot storm` reports that it has its swap. "
            "`netboot status` does not show played PCs.",
        ),
    ),
)

PAGES = StageGroup(
    "Pages",
    "The page server reports these stages.",
    (
        EventStage("pages:attach", "The PC opened a connection to its swap or its root image."),
        EventStage("pages:first-write", "The PC wrote the first page to its swap."),
        EventStage(
            "pages:detach",
            "A connection ended, and the message gives the reason.",
            "If the PC is still on, look for `agent:reattached`.",
        ),
        EventStage(
            "pages:flapping",
            "The PC's swap is lost and attached again and again: how often in a minute, and the last "
            "reason. `netboot status` shows this instead of the last round.",
            "Act on the reason. If the store is full, make room; if all PCs flap, look at the "
            "network and at the server's load.",
        ),
        EventStage(
            "pages:away",
            "All connections to the PC's swap have ended, and none came back for 20 s.",
            "If the PC is on, its link or the server's address has changed: look at both.",
        ),
        EventStage(
            "pages:refused",
            "The page server refused a connection, and the message gives the reason.",
            "Boot the PC again if its token is of an older boot, or its pages are lost. If the server "
            "has no room, no files or no memory left, give it more.",
        ),
        EventStage(
            "pages:in-use",
            "Another PC asked for this PC's swap while it is in use, and was refused. "
            "The message has both addresses.",
            "Find the other PC: it has the same MAC address (a USB adapter that is used for two PCs, "
            "or a cloned card), or somebody tries to take the swap away.",
        ),
        EventStage(
            "pages:moved",
            "A new boot of this PC has replaced its swap from another IP address, and the PC at the old "
            "one says nothing. The message has both addresses.",
            "If the PC was not switched off before, another machine has its MAC address: find it.",
        ),
        EventStage(
            "pages:delayed",
            "The store has no room for the PC's pages, so its requests wait.",
            "Free memory or disk space on the server, or set a smaller `swap.overcommit`.",
        ),
        EventStage(
            "pages:stalled",
            "The place where the server keeps the PC's pages does not answer: a disk, a file server, or "
            "a Ceph cluster. The PC waits, and loses nothing. The message says for how long; the stage "
            "comes again each minute.",
            "On the page server, look at `ceph -s`, or at the disk.",
        ),
        EventStage("pages:answers", "The place where the PC's pages are answers again."),
        EventStage(
            "pages:damaged",
            "Somebody has made a file of this PC on the server shorter: that of its swap, or the one in "
            "which it keeps files. Programs that need the lost pages end. The PC then gets fresh swap; the "
            "files that it keeps are refused until the server starts again.",
            "Leave the files of the store alone while PCs use them; `netboot status` names the PCs. Restore "
            "a file of the folder `persist` from its backup, and restart the server.",
        ),
        EventStage(
            "pages:worker-died",
            "A page worker ended, and the server starts another. Its PCs attach again. "
            "This one belongs to no seat: only the server's log has it.",
            "If it happens again, report it with the log: it is a fault of netboot.",
        ),
    ),
)

LINUX = StageGroup(
    "From the kernel to userland",
    "The PC reports these stages. It sends its first reports when it has an address, with the time "
    "at which they were made. So they can stand below later lines.",
    (
        EventStage("kernel", "Linux starts on the PC. The server computes the time."),
        EventStage("init:start", "The initramfs runs: RAM of the PC, version of Linux."),
        EventStage("init:hardware", "The network port was found, and has a driver."),
        EventStage("init:drivers", "The drivers for swap are loaded."),
        EventStage("init:zswap", "Compression in RAM is set up, or off and why."),
        EventStage("init:network", "The network port has a link and an address."),
        EventStage(
            "init:words",
            "A PC that a signed image started has the words of its seat, and their signature is right. Or "
            "it asks again.",
            "If the PC asks again, check that the server runs and that HTTP reaches it.",
        ),
        EventStage(
            "init:clock",
            "The PC's clock was wrong by more than a minute, and shows the server's time now.",
            "If it is so at each boot, the battery of the PC's clock is empty.",
        ),
        EventStage(
            "init:lease",
            "The PC has the server's answer about its swap, or it asks again.",
            "If the PC asks again, check that the server runs and that HTTP reaches it.",
        ),
        EventStage(
            "init:swap",
            "No swap is asked for, swap is on already, or the PC tries to attach it again.",
            "If the PC tries again, check that `swap.port` of the page server is reachable.",
        ),
        EventStage("swap", "Swap is on, and /proc/swaps shows it: device, size, connections."),
        EventStage(
            "init:rescue",
            "A shell is on the PC's screen, because a person chose it in the boot menu or in a panel.",
        ),
        EventStage(
            "init:root",
            "The root file system is mounted and userland starts, or the PC tries again.",
            "If the PC tries again, check the page server and `root.image`.",
        ),
        EventStage("userland", "Programs run: RAM for them, and swap."),
        EventStage("screen:start", "The screen runs: the kind that comes next, such as kiosk."),
        EventStage(
            "screen:shown",
            "The first page, the desktop or the login window is on the screen: the title, or login.",
        ),
        EventStage(
            "screen:certificate",
            "The PC does not trust the certificate of its RDP server: the SHA-256 that it found, for"
            " `seat.fingerprint`.",
        ),
        EventStage(
            "overlay:full",
            "A PC with a root image has used 90 % of the space for its changes: percent. When all is used, "
            "programs go on, but save nothing more.",
            "Delete files on the PC, or set a larger `root.changes` and boot it again. With more swap the "
            "default is larger.",
        ),
        EventStage("overlay:free", "Less than 85 % of that space is used again."),
        EventStage("home:ready", "The homes of the PC's users are where `seat.home` says."),
        EventStage(
            "home:ram",
            "A user's home is in the PC's memory, and not where `seat.home` says: files are lost when the "
            "PC is off. The message gives the cause, and the screen says so for a minute.",
            "Remove the cause and boot the PC again: a full area (`netboot persist list`), an NFS server "
            "that is off, an export that does not let this PC in, a folder with another owner.",
        ),
        EventStage(
            "home:away",
            "The NFS server of the homes does not answer. Programs that use files there wait.",
            "Bring the NFS server back: programs go on by themselves.",
        ),
        EventStage("home:back", "The NFS server of the homes answers again."),
        EventStage(
            "off",
            "The PC is shut down, by its user or by an order: poweroff, reboot, halt or kexec. Busybox does "
            "not tell which.",
        ),
    ),
)

FAILURES = StageGroup(
    "Failures",
    "The PC reports these stages, except for `failed:loader`, `failed:memory`, `failed:secure` and "
    "`failed:version` (the boot server). After a failure in the initramfs the PC opens a rescue shell or reboots, as `boot.on_failure` says.",
    (
        EventStage(
            "failed:loader",
            "GRUB could not start the kernel that it loaded.",
            "With Secure Boot, use a kernel that is signed.",
        ),
        EventStage(
            "failed:memory",
            "The PC has less RAM than a boot needs: both in MiB, by the tables of its firmware. "
            "Its screen says so for 30 s, then the PC tries to boot.",
            "Add RAM. A PC whose network card is known needs 80 MiB, another one 128 MiB.",
        ),
        EventStage(
            "failed:version",
            "The root image that the profile names has no version that this PC can boot; the message tells "
            "why. The PC's screen says so, and it asks again every 30 s.",
            "Build or update the image (`netboot image`); the server needs no restart.",
        ),
        EventStage(
            "failed:secure",
            "A PC runs a signed image that is not the one that this server has now, so it got no words.",
            "Boot the PC again. If that does not help, somebody else serves it an older image: look for "
            "another TFTP or DHCP server.",
        ),
        EventStage(
            "failed:start",
            "The initramfs stopped before it looked for hardware.",
            "Boot again. If it fails again, report it: it is a fault of netboot.",
        ),
        EventStage(
            "failed:hardware",
            "Linux has no driver for a network card of this PC, or the port does not start.",
            "Use another network card or a newer `boot.kernel`. Data centre cards are left out.",
        ),
        EventStage(
            "failed:drivers",
            "The driver of network block devices or of mirrors does not load.",
            "Use Debian's kernel, or one with the modules nbd and raid1.",
        ),
        EventStage(
            "failed:zswap",
            "The initramfs stopped while it set up compression.",
            "Set `swap.zswap.enabled` to no for this PC, and report it.",
        ),
        EventStage(
            "failed:network",
            "The port has no link for 20 s, or the PC has no address.",
            "Check the cable, the switch port and the DHCP server.",
        ),
        EventStage(
            "failed:words",
            "A PC that a signed image started got no words of its seat, or words that this server has not "
            "signed. It cannot report so itself: its screen has the reason.",
            "Boot the PC again. If that does not help, look for another server that answers it.",
        ),
        EventStage(
            "failed:images",
            "The initramfs differs from what was built.",
            "Boot again. If one PC fails always, test its RAM (memtest86+) and its cable. "
            "If all PCs fail, run `netboot build` and restart the server.",
        ),
        EventStage(
            "failed:lease",
            "The server refused swap, or did not answer within `swap.patience`.",
            "Read the reason. Raise `swap.capacity` or `swap.overcommit`, or set a smaller `swap.size`.",
        ),
        EventStage(
            "failed:swap",
            "Swap could not be attached. In a PC that ran: it was not attached for longer "
            "than `swap.patience`, and pages are lost. The message gives the cause.",
            "Check the page server. A PC that ran gets fresh swap when the server is back.",
        ),
        EventStage(
            "failed:root",
            "The root file system could not be mounted, or the server gave no files of this PC. In a PC "
            "that ran: its server is away.",
            "Check `root.image` with `netboot check`, and the page server.",
        ),
        EventStage(
            "failed:keep",
            "The files that a PC keeps could not be mounted. In a PC that ran: their server is away.",
            "Check the page server. The message gives the cause.",
        ),
        EventStage(
            "failed:load",
            "The lab's memory load found wrong pages, or ended early.",
            "Wrong pages are a fault of netboot: report it with the logs.",
        ),
    ),
)

AGENT = StageGroup(
    "The swap agent",
    "The swap agent on the PC reports these stages, for as long as the PC is on.",
    (
        EventStage("agent:attached", "The agent holds the swap device."),
        EventStage(
            "agent:lost",
            "A server was lost: its address, and why. Programs wait when they need a swapped page. "
            "If the swap is lost again as soon as it is back, that is told once more, and then no more.",
            "Bring the server back within `swap.patience`.",
        ),
        EventStage(
            "agent:reattached",
            "The same swap is back: the seconds it was away, and how often it was lost.",
        ),
        EventStage(
            "agent:refused",
            "A server or the kernel refused the agent, and the message gives the reason.",
            "Act on the reason. The agent tries again every 10 s.",
        ),
        EventStage(
            "agent:renewed",
            "The PC has fresh swap in place of a lost one. Pages on the lost one are gone.",
        ),
        EventStage(
            "agent:degraded",
            "A mirror goes on with one server.",
            "Repair or replace the other server.",
        ),
        EventStage("agent:resynced", "Both servers of a mirror have all pages again."),
        EventStage("agent:grown", "A further area of swap was added: size, free swap before."),
        EventStage("agent:returned", "A further area of swap was given back."),
    ),
)

ADDRESS = StageGroup(
    "Address of the PC",
    "A process of the swap agent's program reports these stages, for as long as the PC is on. It asks "
    "the DHCP server to lend the PC its address on.",
    (
        EventStage(
            "address:held",
            "The address is lent to the PC: by which DHCP server, and for how long. This is told once, "
            "and again after trouble.",
        ),
        EventStage(
            "address:unanswered",
            "The DHCP server does not answer. The PC goes on asking.",
            "Bring the DHCP server back before the time in the message is over.",
        ),
        EventStage(
            "address:expired",
            "No DHCP server lent the address on in time. One may lend it to another machine. "
            "The PC keeps it in use.",
            "Bring the DHCP server back. If it has lent the address to another machine, boot the PC again.",
        ),
        EventStage(
            "address:refused",
            "A DHCP server says that the address is not for this PC, or offers another one. "
            "The PC keeps it in use.",
            "Look for a second DHCP server, or for a change of its addresses. Boot the PC again when "
            "its work is done.",
        ),
        EventStage(
            "address:conflict",
            "Another machine has the PC's address: the message has its MAC address. Both lose "
            "connections in turn, swap too.",
            "Find the machine. A fixed address must not be one that the DHCP server lends.",
        ),
    ),
)

LAB = StageGroup(
    "The lab",
    "Only PCs with the lab's own initrd report these stages (`netboot lab --load`, `make demo`).",
    (
        EventStage("agent:examined", "The agent got every signal, and still holds the swap."),
        EventStage("load:start", "The memory load begins: factor of the RAM, size."),
        EventStage("load:writing", "Pages are being written: percent."),
        EventStage("load:written", "All pages are written."),
        EventStage("load:verifying", "Pages are being read and compared: percent."),
        EventStage("load:round", "All pages of one round are right."),
        EventStage("load:stall", "One page took unusually long: seconds."),
        EventStage("load:verified", "All rounds are done, and all pages are right."),
    ),
)

GROUPS = (BOOT, PAGES, LINUX, FAILURES, AGENT, ADDRESS, LAB)

BY_NAME = {stage.name: stage for group in GROUPS for stage in group.stages}

# What the server itself saw or computed. Nobody else may say so; a played PC reports ``storm``.
OF_SERVER = frozenset(stage.name for group in (BOOT, PAGES) for stage in group.stages) - {
    "storm"
} | {"kernel", "failed:loader", "failed:memory", "failed:secure", "failed:version"}
PAGES_PREFIX = "pages:"


def is_for_seats(stage: str) -> bool:
    """Return True if a seat may report ``stage``. Those of other releases need no row here."""
    return stage not in OF_SERVER and not stage.startswith(PAGES_PREFIX)
