"""The boot order of a PC: UEFI's boot variables, or an entry for GRUB. Pure.

On UEFI, efibootmgr(8) lists and sets them. A BIOS has no interface for Linux: there GRUB loads
Debian's ipxe.lkrn, which does the work of the firmware's PXE. Nothing else on a disk is changed.
"""

import re
from dataclasses import dataclass

from netboot.errors import OperatorError
from netboot.host.text import printable

MOST_NAME = 80  # characters of a boot option's name, which the PC's owner may have written
GRUB_FOLDER = "/boot/grub"
GRUB_CUSTOM = f"{GRUB_FOLDER}/custom.cfg"  # Debian's 41_custom reads it at each start of GRUB
GRUB_LOADER = f"{GRUB_FOLDER}/netboot-ipxe.lkrn"
GRUB_ENTRY = "netboot"
BEGIN, END = "# netboot begins: fab classroom.restore removes this", "# netboot ends"
# Firmware of Phoenix's line (ThinkPads among others) has a vendor's message for a path. This one is
# its "PCI LAN", "PXE BOOT" or "Network Boot", for any card (tests/deploy/data).
NETWORK_MESSAGE = "78a84aaf2b2afc4ea79cf5cc8f3d3803"


@dataclass(frozen=True, slots=True)
class Entry:
    """A boot option. ``number`` is four hex digits, ``path`` the device path, empty if not listed.

    Firmware skips an option that is not ``active``.
    """

    number: str
    name: str
    path: str
    active: bool = True


@dataclass(frozen=True, slots=True)
class BootVariables:
    """The listing of ``efibootmgr -v``. ``next`` is empty if there is no BootNext."""

    order: tuple[str, ...]
    entries: tuple[Entry, ...]
    next: str = ""


def parse_efibootmgr(text: str) -> BootVariables:
    """Parse the listing of any version (16 to 18). Raises OperatorError if it has no order."""
    order = re.search(r"^BootOrder: *([0-9A-F,]*)", text, re.MULTILINE | re.IGNORECASE)
    if order is None:
        raise OperatorError("efibootmgr lists no boot order")
    following = re.search(r"^BootNext: *([0-9A-F]{4})", text, re.MULTILINE | re.IGNORECASE)
    rows = re.findall(r"^Boot([0-9A-F]{4})([* ]) ?([^\t\n]*)(?:\t(.*))?$", text, re.MULTILINE)
    return BootVariables(
        order=tuple(filter(None, order[1].upper().split(","))),
        entries=tuple(
            Entry(number, printable(name.strip(), MOST_NAME), path.strip(), star == "*")
            for number, star, name, path in rows
        ),
        next=following[1].upper() if following else "",
    )


def network_entry(variables: BootVariables, mac: str) -> Entry:
    """Return the entry that boots over IPv4 from the card ``mac``. Raises OperatorError."""
    best = _best(variables, mac)
    if best is None:
        raise OperatorError("no boot option for the network; enable PXE in the firmware setup")
    if _digits(mac) not in best.path.lower() and "mac(" in best.path.lower():
        raise OperatorError(f"the firmware boots from another card only: {best.name}")
    return best


def _digits(mac: str) -> str:
    return f"mac({mac.replace(':', '')}"


def _best(variables: BootVariables, mac: str) -> Entry | None:
    def rank(entry: Entry) -> int:
        path = entry.path.lower()
        if not entry.active or "ipv6(" in path or "uri(" in path:
            return 0
        if path.startswith("bbs(network") or NETWORK_MESSAGE in path:
            return 1
        return 1 + (_digits(mac) in path) * 2 + ("ipv4(" in path) if "mac(" in path else 0

    # Of two equal entries, take the one that the firmware itself would try.
    best = max(
        variables.entries, key=lambda e: (rank(e), e.number in variables.order), default=None
    )
    return best if best is not None and rank(best) else None


def efi_commands(variables: BootVariables, mac: str, *, once: bool) -> list[str]:
    """Return the commands that make the PC boot from the network, ``once`` or from now on."""
    number = network_entry(variables, mac).number
    if once:
        return [f"efibootmgr --quiet --bootnext {number}"]
    rest = [other for other in variables.order if other != number]
    return [f"efibootmgr --quiet --bootorder {','.join((number, *rest))}"]


def efi_restore(variables: BootVariables, mac: str, order: str) -> list[str]:
    """Return the commands that restore the boot ``order``; it is empty if we did not change it.

    A BootNext that is not the network's is not ours, but a firmware update's for example: it stays.
    """
    best = _best(variables, mac)
    ours = best is not None and best.number == variables.next
    commands = ["efibootmgr --quiet --delete-bootnext"] if ours else []
    if order and order != ",".join(variables.order):
        commands.append(f"efibootmgr --quiet --bootorder {order}")
    return commands


def grub_entry(custom: str, *, once: bool) -> str:
    """Return ``custom.cfg`` with our entry, as the default unless it is for ``once``."""
    lines = [
        BEGIN,
        f"menuentry 'Boot from the network (netboot)' --id {GRUB_ENTRY} {{",
        f"    linux16 $prefix/{GRUB_LOADER.rpartition('/')[2]}",
        "}",
        *([] if once else [f"set default={GRUB_ENTRY}"]),
        END,
    ]
    kept = without_entry(custom)
    return (
        f"{kept}{'' if not kept or kept.endswith(chr(10)) else chr(10)}" + "\n".join(lines) + "\n"
    )


def without_entry(custom: str) -> str:
    """Return ``custom.cfg`` without our entry."""
    begin, end = rf"^{re.escape(BEGIN)}$", rf"^{re.escape(END)}$"
    # Not over another begin: after one without an end, which somebody removed, stand others' lines.
    pattern = rf"{begin}(?:(?!{begin}).)*?{end}\n?"
    return re.sub(pattern, "", custom, flags=re.MULTILINE | re.DOTALL)
