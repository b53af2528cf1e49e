"""iPXE scripts: written from a BootPlan, and read again as a PC understands them. Pure.

A round-trip test checks the writer (``render...``) and the reader (``read``) against each other.

Commands: https://ipxe.org/cmd.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from netboot.boot import menu, splash, ticket
from netboot.boot.admission import Turn
from netboot.boot.memory import OWN_MODULES, Shortage
from netboot.boot.plan import BootPlan, Images, has_own_files
from netboot.errors import AnswerError
from netboot.profile.menu import Menu
from netboot.profile.processors import AMD64, I386

OWN_USER_CLASS = b"netboot"  # by which an iPXE of ours can be recognised
OWN_MAC = "${netX/mac}"  # netX is the card that iPXE opened last: it boots from that one
AUTOEXEC_FILE = "autoexec.ipxe"  # iPXE looks for it beside itself, and goes on without it
# The kind of this iPXE as the name of its architecture (boot/arch.py): a BIOS names no processor.
OWN_KIND = (
    "set kind uefi-x64",
    "iseq ${platform} efi || set kind bios",
    "iseq ${buildarch} arm64 && set kind uefi-arm64 ||",
    "iseq ${platform}-${buildarch} efi-i386 && set kind uefi-ia32 ||",
)
OWN_SCRIPT = f"boot/{OWN_MAC}/${{kind}}.ipxe"
# Debian's shim, with which iPXE has the firmware trust Debian's kernel: here it is no loader.
KERNEL_SHIM = "kernel-shim.efi"
OWN_RAM = f"?modules={OWN_MODULES}"
USER = "netboot"  # HTTP wants a name beside a password
RETRY_SECONDS = 3
# A script that a menu's entry replaced returns here: it gave the PC back to its firmware.
_LEAVE = f"isset ${{{menu.LEAVE}}} && exit 1 ||"
UNFIT_SECONDS = 60
SMALL_SECONDS = 30
OBSTACLE_SECONDS = 30
# Without a byte for so long, the other of two boot servers is asked. TCP alone would try for minutes.
SILENT_MS = 5000
OTHER_SECONDS = (
    1  # before that: two servers with scripts and without files would be asked in a loop
)

_IN_PATH = re.compile("^(http://)([^/@]+)/boot/([0-9a-f]{64})/")
_IN_PASSWORD = re.compile(f"^(http://){USER}:([0-9a-f]{{64}})@([^/@]+){ticket.OF_PASSWORD}")


def render_chain(script: str, base_url: str, other: str = "") -> str:
    """Return the script sent over TFTP: fetch ``script`` over HTTP, and keep trying.

    ``other`` is the URL of another boot server, which is asked if this one gives no script; empty if
    there is none.

    It is the same for all PCs. iPXE names its own MAC address, which the server compares with what
    the kernel knows. So a PC that is taken for another one is told why. iPXE also tells its RAM.
    """
    return "\n".join(("#!ipxe", *_fetch(f"boot/{OWN_MAC}/{script}", base_url, other), ""))


def render_any(base_url: str, other: str = "") -> str:
    """Return the script that ``render_chain`` makes, for an iPXE of any kind: it finds out its own."""
    return "\n".join(("#!ipxe", *OWN_KIND, *_fetch(OWN_SCRIPT, base_url, other), ""))


def _fetch(path: str, base_url: str, other: str, how: str = "") -> tuple[str, ...]:
    """Return the lines that fetch and run a script, and try until there is one."""
    return (
        ":retry",
        *(
            line
            for url in filter(None, (base_url, other))
            for line in (
                f"chain {how}{_patience(other)}--autofree {url}/{path}{OWN_RAM} ||",
                *(() if how else (_LEAVE,)),
            )
        ),
        f"echo netboot: no script from {base_url}, next try in {RETRY_SECONDS} s",
        f"sleep {RETRY_SECONDS}",
        "goto retry",
    )


def _patience(other: str) -> str:
    """Return the option of a download that another server can take over, with a blank behind it."""
    return f"--timeout {SILENT_MS} " if other else ""


def render_wait(plan: BootPlan, base_url: str, turn: Turn, other: str = "") -> str:
    """Return the script for a seat that has to wait before it may download."""
    pcs = "1 PC is" if turn.before == 1 else f"{turn.before} PCs are"
    message = f"waits for its turn to download, about {turn.wait} s: {pcs} before it"
    return "\n".join(
        (
            "#!ipxe",
            f"echo netboot: {plan.seat.hostname} {message}",
            *splash.lines(plan.seat, "turn", turn.wait),
            # Ctrl-C ends the sleep, not the boot.
            f"sleep {turn.wait} ||",
            *_fetch(plan.script_path, base_url, other, "--replace "),
            "",
        )
    )


def render_obstacle(plan: BootPlan, base_url: str, obstacle: str, other: str = "") -> str:
    """Return the script for a seat that cannot boot now: it shows the line, and asks again."""
    return "\n".join(
        (
            "#!ipxe",
            f"echo netboot: {plan.seat.hostname} cannot boot: {_plain(obstacle)}",
            f"echo netboot: next try in {OBSTACLE_SECONDS} s",
            *splash.lines(plan.seat, "obstacle", OBSTACLE_SECONDS),
            f"sleep {OBSTACLE_SECONDS} ||",
            *_fetch(plan.script_path, base_url, other, "--replace "),
            "",
        )
    )


def read_obstacle(script: str) -> str:
    """Return the line that a script of ``render_obstacle`` shows; empty for any other script."""
    found = re.search(r"^echo netboot: \S+ cannot boot: (.*)$", script, re.MULTILINE)
    return "" if found is None else found[1]


def _plain(text: str) -> str:
    """Return text that iPXE prints as it is: without settings, operators and other scripts.

    A semicolon between blanks would begin another command (core/exec.c of iPXE).
    """
    plain = re.sub(r"[^ !%'()*+,./0-9:;=?@A-Z_a-z-]", "?", text)
    return re.sub(r"(?<!\S);(?!\S)", ",", plain)


def render_medium(base_url: str = "", vlan: int | None = None) -> str:
    """Return the script on a CD or a USB stick: try DHCP on each card until one gets a script.

    It identifies itself, so that a server never sends it another iPXE. With the ``base_url`` of a
    server it takes no more than an address from DHCP. ``vlan`` is the VLAN whose tag it puts on all
    frames, None for none.
    """
    each_card = base_url or vlan is not None
    return "\n".join(
        (
            "#!ipxe",
            f"set user-class {OWN_USER_CLASS.decode()}",
            *(OWN_KIND if base_url else ()),
            ":retry",
            *(_each_card(base_url, vlan) if each_card else ("autoboot ||", _LEAVE)),
            f"echo netboot: no server answers, next try in {RETRY_SECONDS} s",
            f"sleep {RETRY_SECONDS}",
            "goto retry",
            "",
        )
    )


def _each_card(base_url: str, vlan: int | None) -> tuple[str, ...]:
    """Return the lines that ask the server over one card after the other, until it gives a script.

    A card without a way to the server is closed again, because the script takes the open one's address.
    """
    url = f"{base_url}/{OWN_SCRIPT}{OWN_RAM}"
    port = "net${card}" if vlan is None else f"net${{card}}-{vlan}"  # vcreate's name
    boot = f"dhcp {port} && chain --timeout {SILENT_MS} --autofree {url} ||"
    return (
        "set card:int32 0",
        ":card",
        "isset ${net${card}/mac} || goto none",
        *(() if vlan is None else (f"vcreate --tag {vlan} net${{card}} ||",)),
        boot if base_url else f"autoboot {port} ||",
        _LEAVE,
        f"ifclose {port} ||",
        "inc card",
        "goto card",
        ":none",
    )


def render(
    plan: BootPlan,
    base_url: str,
    small: Shortage | None = None,
    other: str = "",
    offered: Menu | None = None,
) -> str:
    """Return the script that loads kernel and initramfs over HTTP and starts them.

    If a download fails, the script of the ``other`` boot server takes over, if there is one. A key
    opens the menu ``offered``, if there is one.

    A PC that has too little RAM (``small``) says so and waits before, because it will go dark. It
    tries nevertheless: its firmware may tell less RAM than there is.
    """
    # ip= as in the kernel's nfsroot.rst. The values are iPXE's settings, so the initramfs needs no
    # second DHCP exchange.
    address = f"ip=${{ip}}::${{gateway}}:${{netmask}}:{plan.seat.hostname}::off"
    arguments = (address, "BOOTIF=01-${mac:hexhyp}", *_names(plan), *plan.arguments)
    return "\n".join(
        (
            "#!ipxe",
            f"echo netboot: {plan.seat.hostname} boots from {base_url}",
            *splash.lines(plan.seat, "boots" if small is None else "memory"),
            *([] if small is None else _warning(small)),
            *([] if offered is None else [menu.key_line(offered)]),
            ":retry",
            *_choice(plan),
            *(
                line
                for images in plan.images
                for line in _load(images, arguments, base_url, other, shimmed=plan.shimmed)
            ),
            ":failed",
            f"echo netboot: download failed, next try in {RETRY_SECONDS} s",
            *splash.lines(plan.seat, "failed", RETRY_SECONDS),
            "imgfree",
            *_other(plan, other),
            f"sleep {RETRY_SECONDS}",
            "goto retry",
            *(() if offered is None else menu.door(offered, plan, base_url)),
            "",
        )
    )


def _other(plan: BootPlan, other: str) -> tuple[str, ...]:
    """Return the lines that let the script of the other boot server take over, if there is one."""
    if not other:
        return ()
    chain = f"chain --replace {_patience(other)}--autofree {other}/{plan.script_path}{OWN_RAM} ||"
    return (f"sleep {OTHER_SECONDS}", chain)


def _names(plan: BootPlan) -> tuple[str, ...]:
    """Return the words with the name server and the domain of iPXE's own lease, for resolv.conf.

    iPXE tells the first name server only. A blank in the domain would begin a word of its own.
    """
    if not has_own_files(plan.seat):
        return ()
    return ("netboot.dns=${dns}", "netboot.domain=${domain:uristring}")


def _warning(small: Shortage) -> tuple[str, ...]:
    """Return the lines that tell too little RAM. Ctrl-C ends the wait."""
    return (
        f"echo netboot: TOO LITTLE RAM: {small}",
        f"echo netboot: it tries in {SMALL_SECONDS} s, and will probably stop with a dark screen",
        f"sleep {SMALL_SECONDS} ||",
    )


def hidden(url: str) -> str:
    """Return the URL of a boot file with its session as the password, and not in the path.

    iPXE shows each URL on the screen, where pupils read, but no password (imgdownload in its
    usr/imgmgmt.c). It sends one when the server asks for it.
    """
    return _IN_PATH.sub(rf"\1{USER}:\3@\2{ticket.OF_PASSWORD}", url)


def _revealed(url: str) -> str:
    """Return the URL with the session in its path again."""
    return _IN_PASSWORD.sub(r"\1\3/boot/\2/", url)


def _choice(plan: BootPlan) -> Iterator[str]:
    """Yield the lines that choose between 32 and 64 bits, if the firmware does not tell.

    Long mode is bit 29 of EDX of CPUID 0x80000001. Bit 0 of CPUID 1 is the FPU, so it shows whether
    this iPXE has the command cpuid at all.
    """
    processors = [images.processor for images in plan.images]
    if AMD64 not in processors or I386 not in plan.client.arch.processors:
        return
    yield f"cpuid --ext 29 && goto {AMD64.name} ||"
    if I386 in processors:
        yield f"cpuid 0 && goto {I386.name} ||"
        return
    yield f"cpuid 0 || goto {AMD64.name}"
    yield "echo netboot: this PC has a 32-bit processor: the server's boot.architectures lacks i386"
    yield f"sleep {UNFIT_SECONDS}"
    yield "goto retry"


def _load(
    images: Images, arguments: tuple[str, ...], base_url: str, other: str, *, shimmed: bool
) -> Iterator[str]:
    """Yield the lines that load and start one kernel.

    EFI kernels find an initrd by the name given with ``initrd=``; BIOS kernels ignore that word.
    ``shimmed``: with Secure Boot iPXE needs a shim to start it, and without it fetches none. A network
    card's own iPXE may not know the command.
    """
    kernel, *initrds = (
        hidden(f"{base_url}/{path}") for path in (images.kernel_path, *images.initrd_paths)
    )
    names = [path.rsplit("/", 1)[-1] for path in images.initrd_paths]
    words = [*(f"initrd={name}" for name in names), *arguments]
    yield f":{images.processor.name}"
    patience = _patience(other)
    yield f"kernel {patience}{kernel} {' '.join(words)} || goto failed"
    yield from (f"initrd {patience}{url} || goto failed" for url in initrds)
    if shimmed:
        yield f"shim {patience}{base_url}/boot/{KERNEL_SHIM} ||"
    yield "boot || goto failed"


@dataclass(frozen=True, slots=True)
class Chain:
    """A script that leads to another one at ``url``, ``wait`` seconds later."""

    url: str
    wait: int = 0


@dataclass(frozen=True, slots=True)
class Boot:
    """A script that loads ``files`` (URLs, the kernel's first) and starts Linux with ``arguments``.

    ``arguments`` are the words with a value, by name. If there are several kernels, this is the one
    for the best processor.
    """

    files: tuple[str, ...]
    arguments: Mapping[str, str]

    def page_server(self) -> tuple[str, int, str] | None:
        """Return address, port and export of the PC's swap; None if it has none.

        Of several servers this is the first. Raises AnswerError.
        """
        swap = self.arguments.get("netboot.swap")
        if swap is None:
            return None
        match = re.fullmatch(r"([0-9.]+)(?:,[0-9.,]+)?:([0-9]{1,5})/(\S+)", swap)
        if match is None:
            raise AnswerError(f"netboot.swap={swap}: expected ADDRESS:PORT/EXPORT")
        return match[1], int(match[2]), match[3]


def read(script: str, mac: str) -> Chain | Boot:
    """Return the instructions of a script for the iPXE with the card ``mac``.

    Raises AnswerError if the script is not one of ours.
    """
    first, _, _ = script.partition("\nboot ")
    files = re.findall(r"^(?:kernel|initrd) (?:--timeout \d+ )?(http://\S+)", first, re.MULTILINE)
    if files:
        line = re.search(r"^kernel .*?http://\S+ (.*)", first, re.MULTILINE)
        words = line[1].split() if line else []
        arguments = dict(word.split("=", 1) for word in words if "=" in word)
        return Boot(tuple(map(_revealed, files)), arguments)
    chained = re.search(r"^chain .*?(http://\S+)", script, re.MULTILINE)
    if chained is None:
        raise AnswerError("the script neither boots nor leads to another one")
    # A sleep after the chain counts only if the chain fails.
    wait = re.search(r"^sleep ([0-9]{1,4}) \|\|$", script[: chained.start()], re.MULTILINE)
    url = chained[1].removesuffix(OWN_RAM).replace(OWN_MAC, mac)
    return Chain(url, int(wait[1]) if wait else 0)
