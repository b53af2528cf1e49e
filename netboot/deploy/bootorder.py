"""How a PC is told to boot from the network: UEFI's boot variables, or an entry for GRUB. Pure.

UEFI: efibootmgr(8), whose listing is read. BIOS: firmware cannot be told from Linux, so GRUB loads
Debian's ipxe.lkrn, which does what the firmware's PXE would do. Nothing else on a disk is changed.
"""

import re
from dataclasses import dataclass

from netboot.errors import OperatorError

GRUB_FOLDER = "/boot/grub"
GRUB_CUSTOM = f"{GRUB_FOLDER}/custom.cfg"  # read by Debian's 41_custom whenever GRUB starts
GRUB_LOADER = f"{GRUB_FOLDER}/netboot-ipxe.lkrn"
GRUB_ENTRY = "netboot"
BEGIN, END = "# netboot begins: fab classroom.restore removes this", "# netboot ends"
# A name that firmware gives to a network card's entry, where there is no device path to tell.
NETWORK_NAME = re.compile(r"\b(pxe|network|lan|ipv4|ethernet|nic)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Entry:
    """A boot option: ``number`` is four hex digits, ``path`` its device path, if listed."""

    number: str
    name: str
    path: str


@dataclass(frozen=True, slots=True)
class BootVariables:
    """What ``efibootmgr -v`` lists; ``next`` is empty if there is no BootNext."""

    order: tuple[str, ...]
    entries: tuple[Entry, ...]
    next: str = ""


def parse_efibootmgr(text: str) -> BootVariables:
    """Reads the listing of any version (16 to 18). Raises OperatorError if it is none."""
    order = re.search(r"^BootOrder: *([0-9A-F,]*)", text, re.MULTILINE | re.IGNORECASE)
    if order is None:
        raise OperatorError("efibootmgr shows no boot order")
    following = re.search(r"^BootNext: *([0-9A-F]{4})", text, re.MULTILINE | re.IGNORECASE)
    rows = re.findall(r"^Boot([0-9A-F]{4})[* ] ?([^\t\n]*)(?:\t(.*))?$", text, re.MULTILINE)
    return BootVariables(
        order=tuple(filter(None, order[1].upper().split(","))),
        entries=tuple(Entry(number, name.strip(), path.strip()) for number, name, path in rows),
        next=following[1].upper() if following else "",
    )


def network_entry(variables: BootVariables, mac: str) -> Entry:
    """The entry that boots over IPv4 from the card ``mac``. Raises OperatorError."""
    digits = mac.replace(":", "")

    def rank(entry: Entry) -> int:
        path = entry.path.lower()
        if path:
            if path.startswith("bbs(network"):
                return 1
            if "mac(" not in path or "ipv6(" in path or "uri(" in path:
                return 0
            return 1 + (f"mac({digits}" in path) * 2 + ("ipv4(" in path)
        return int(bool(NETWORK_NAME.search(entry.name)) and "ipv6" not in entry.name.lower())

    best = max(variables.entries, key=rank, default=None)
    if best is None or not rank(best):
        raise OperatorError("no boot option for the network: switch PXE on in its firmware")
    if f"mac({digits}" not in best.path.lower() and "mac(" in best.path.lower():
        raise OperatorError(f"its firmware boots from another card only: {best.name}")
    return best


def efi_commands(variables: BootVariables, mac: str, *, once: bool) -> list[str]:
    """What makes it boot from the network the next time, or from now on."""
    number = network_entry(variables, mac).number
    if once:
        return [f"efibootmgr --quiet --bootnext {number}"]
    rest = [other for other in variables.order if other != number]
    return [f"efibootmgr --quiet --bootorder {','.join((number, *rest))}"]


def efi_restore(variables: BootVariables, order: str) -> list[str]:
    """What gives it back the boot ``order`` that it had (empty: it was not changed)."""
    commands = ["efibootmgr --quiet --delete-bootnext"] if variables.next else []
    if order and order != ",".join(variables.order):
        commands.append(f"efibootmgr --quiet --bootorder {order}")
    return commands


def grub_entry(custom: str, *, once: bool) -> str:
    """``custom.cfg`` with our entry, which is the default unless it is for ``once``."""
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
    """``custom.cfg`` as it was before."""
    pattern = rf"^{re.escape(BEGIN)}$.*?^{re.escape(END)}$\n?"
    return re.sub(pattern, "", custom, flags=re.MULTILINE | re.DOTALL)
