"""The boot menu: its entries, and the iPXE scripts that show it and start them. Pure.

The script of a usual boot waits for a key for a moment. With that key iPXE asks for the password, if
there is one, and fetches the menu with it: no script holds the password. The choice goes to the
server, which answers with the script of that entry.

Commands: https://ipxe.org/cmd.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from netboot.boot import splash
from netboot.boot.arch import Architecture, Firmware
from netboot.boot.plan import BootPlan
from netboot.profile.menu import IMAGE, USUAL, Menu, id_of
from netboot.profile.processors import AMD64
from netboot.profile.profile import Seat

HOLD_MS = 300  # a key that is held down repeats every 20 to 110 ms, after half a second
REFUSED_SECONDS = 3
LEAVE = "netboot-leave"  # the setting with which scripts give the PC back to its firmware
RESCUE = "netboot.rescue=1"  # to /init
_QUERY = "?entry="


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the menu. ``id`` names it in URLs and orders, ``image`` is its root image."""

    id: str
    title: str
    kind: str
    image: str = ""
    urls: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()

    @property
    def is_own_linux(self) -> bool:
        """True if the PC boots as always, with other settings (``settings``)."""
        return KINDS[self.kind].script is None

    def runs_on(self, arch: Architecture) -> bool:
        """Return True if a PC of this kind can start this entry."""
        return KINDS[self.kind].runs_on(arch)

    def settings(self, seat: Seat) -> Seat:
        """Return the settings of a seat that boots this entry."""
        if self.image:
            root = seat.root.model_copy(update={"kind": "image", "image": self.image})
            return replace(seat, root=root)
        if self.kind == "rescue":
            words = f"{seat.boot.arguments} {RESCUE}".strip()
            return replace(seat, boot=seat.boot.model_copy(update={"arguments": words}))
        return seat


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of entry: the title, and the lines that start it.

    ``script`` gets the entry, the firmware and the server's URL. It is None if the PC's own Linux starts.
    ``runs_on`` says which PCs can start it.
    """

    title: str
    script: Callable[[Entry, Firmware, str], Iterable[str]] | None = None
    runs_on: Callable[[Architecture], bool] = lambda arch: True


def _local(entry: Entry, firmware: Firmware, base_url: str) -> Iterator[str]:
    """Yield the lines for the PC's own disk. UEFI knows better than iPXE how to boot it."""
    if firmware is Firmware.BIOS:
        yield "sanboot --no-describe --drive 0x80 || goto failed"
        return
    yield f"set {LEAVE} 1"
    yield "exit 1"


def _memtest(entry: Entry, firmware: Firmware, base_url: str) -> Iterator[str]:
    suffix = "bin" if firmware is Firmware.BIOS else "efi"
    yield f"kernel {base_url}/boot/memtest86.{suffix} || goto failed"
    yield "boot || goto failed"


def _runs_memtest(arch: Architecture) -> bool:
    """Return True if a PC may have a 64-bit processor of x86, and no UEFI of 32 bits."""
    return AMD64 in arch.processors and (
        arch.firmware is Firmware.BIOS or len(arch.processors) == 1
    )


def _chain(entry: Entry, firmware: Firmware, base_url: str) -> Iterator[str]:
    yield f"chain --autofree {entry.urls[0]} || goto failed"


def _iso(entry: Entry, firmware: Firmware, base_url: str) -> Iterator[str]:
    yield f"sanboot {entry.urls[0]} || goto failed"


def _linux(entry: Entry, firmware: Firmware, base_url: str) -> Iterator[str]:
    """Yield the lines for a kernel. EFI kernels find an initrd by the name given with initrd=."""
    kernel, *initrds = entry.urls
    names = [f"initrd={url.rpartition('/')[2]}" for url in initrds]
    yield f"kernel {' '.join((kernel, *names, *entry.arguments))} || goto failed"
    yield from (f"initrd {url} || goto failed" for url in initrds)
    yield "boot || goto failed"


KINDS = {
    "image": Kind("{}"),
    "rescue": Kind("Rescue shell"),
    "local": Kind("Local disk", _local),
    "memtest": Kind("Memory test (Memtest86+)", _memtest, _runs_memtest),
    "chain": Kind("{}", _chain),
    "iso": Kind("{}", _iso),
    "linux": Kind("{}", _linux),
}


def entries_of(menu: Menu, images: Iterable[str]) -> dict[str, Entry]:
    """Return the entries of a menu by their ids, in its order. ``images``: names of root images."""
    found = []
    for kind in menu.entries:
        if kind == "images":
            found += [Entry(f"{IMAGE}{name}", name, "image", name) for name in sorted(images)]
        else:
            found.append(Entry(kind, KINDS[kind].title, kind))
    found += [
        Entry(id_of(name), name, other.kind, urls=other.urls, arguments=other.arguments)
        for name, other in menu.others.items()
    ]
    return {entry.id: entry for entry in found}


def path(mac: str, script: str, entry: str = "") -> str:
    """Return the path of the menu, or of the script of one of its entries."""
    return f"menu/{mac}/{script}" + (f"{_QUERY}{entry}" if entry else "")


def key_line(menu: Menu) -> str:
    """Return the line that waits for the key and goes to the lines of ``door``.

    iPXE drops the keys that come during a download, so only this wait sees one.
    """
    milliseconds = menu.wait * 1000 or HOLD_MS
    verb = "press" if menu.wait else "hold"
    words = f"netboot: {verb} {menu.key} for the boot menu"
    return f"prompt --key {menu.key} --timeout {milliseconds} {words} && goto menu ||"


def door(menu: Menu, plan: BootPlan, base_url: str) -> Iterator[str]:
    """Yield the lines that ask for the password and fetch the menu, for the end of a script."""
    yield ":menu"
    if menu.password is not None:
        yield "echo netboot: the boot menu needs its password; leave the user name empty"
        yield "login || goto retry"
    where = path(plan.client.mac, _script(plan))
    yield f"chain --replace --autofree {_url(menu, base_url)}/{where} ||"
    yield "echo netboot: no boot menu: wrong password, or too many attempts"
    yield f"sleep {REFUSED_SECONDS} ||"
    yield "goto retry"


def render(menu: Menu, entries: Iterable[Entry], plan: BootPlan, base_url: str) -> str:
    """Return the script that shows the menu, and boots as usual after its time."""
    script = _script(plan)
    chosen = path(plan.client.mac, script, "${entry}")
    return "\n".join(
        (
            "#!ipxe",
            # Each key ends the menu's time, and the one that opened it may still be held down.
            ":held",
            f"prompt --timeout {HOLD_MS} netboot: release the key && goto held ||",
            ":menu",
            f"menu netboot: {plan.seat.hostname}",
            f"item {USUAL} Boot as usual",
            *(f"item {entry.id} {shown(entry.title)}" for entry in entries),
            f"choose --timeout {menu.timeout * 1000} --default {USUAL} entry || set entry {USUAL}",
            f"iseq ${{entry}} {USUAL} && goto usual ||",
            f"chain --replace --autofree {_url(menu, base_url)}/{chosen} ||",
            "echo netboot: the server refused this entry",
            f"sleep {REFUSED_SECONDS} ||",
            "goto menu",
            *_usual(f"{base_url}/{plan.script_path}"),
        )
    )


def render_entry(entry: Entry, plan: BootPlan, base_url: str) -> str:
    """Return the script that starts an entry. If it does not start, the PC boots as usual."""
    script = KINDS[entry.kind].script
    assert script is not None, "the PC's own Linux starts"
    title = shown(entry.title)
    usual = path(plan.client.mac, _script(plan), USUAL)
    return "\n".join(
        (
            "#!ipxe",
            f"echo netboot: {plan.seat.hostname} starts {title}",
            *script(entry, plan.client.arch.firmware, base_url),
            ":failed",
            f"echo netboot: {title} did not start; booting as usual in {REFUSED_SECONDS} s",
            f"sleep {REFUSED_SECONDS} ||",
            "imgfree",
            *_usual(f"{base_url}/{usual}"),
        )
    )


def _usual(url: str) -> tuple[str, ...]:
    return (
        ":usual",
        f"chain --replace --autofree {url} ||",
        f"sleep {REFUSED_SECONDS} ||",
        "goto usual",
        "",
    )


def _script(plan: BootPlan) -> str:
    return plan.script_path.rpartition("/")[2]


def _url(menu: Menu, base_url: str) -> str:
    """Return the server's URL, with the typed password if there is one. iPXE shows no password."""
    if menu.password is None:
        return base_url
    return base_url.replace("://", "://netboot:${password:uristring}@", 1)


def shown(title: str) -> str:
    """Return a title as iPXE prints it: it knows no quotes, so what it would read is replaced."""
    words = re.sub(r"[^ !-\"%-:<-Z\[-_a-z~]", "?", splash.plain(title)).split()
    return " ".join("+" if word == "&&" else word for word in words)
