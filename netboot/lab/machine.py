"""One virtual PC: QEMU with a network card, a serial console and, if wanted, a screen."""

import asyncio
import contextlib
import os
import re
import shutil
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from netboot.errors import OperatorError
from netboot.host.programs import check_installed
from netboot.lab.screen import Screen
from netboot.profile.processors import AMD64, ARM64, I386, Processor
from netboot.profile.reading import nearest

OVMF = Path("/usr/share/OVMF")


@dataclass(frozen=True, slots=True)
class Flash:
    """UEFI firmware of QEMU: the files of its code and of the variables of a new PC.

    Relative paths are below /usr/share/OVMF. ``package`` is their Debian package.
    """

    code: str
    variables: str
    package: str = "ovmf"


# A mouse that tells where it is, not how far it was moved, needs USB. Its controller has a name, as
# a stick may have one of its own.
_MOUSE = ("-device", "qemu-xhci,id=hands", "-device", "usb-tablet,bus=hands.0")
_PC_SCREEN = ("-device", "VGA,xres=1024,yres=768", *_MOUSE)  # the keyboard is on the board
_ARM64_SCREEN = ("-device", "virtio-gpu-pci", *_MOUSE, "-device", "usb-kbd,bus=hands.0")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of PC. ``board`` is QEMU's words for board and devices, ``card`` the network card.

    Without ``flash`` the firmware is QEMU's own BIOS. ``package`` is the Debian package of
    ``program``, ``processor`` chooses the images, ``console`` is Linux's name of the serial port.
    ``screen`` are QEMU's words for graphics, mouse and keyboard, which a PC has only if asked for.
    """

    board: tuple[str, ...]
    card: str
    flash: Flash | None = None
    program: str = "qemu-system-x86_64"
    package: str = "qemu-system-x86"
    processor: Processor = AMD64
    console: str = "ttyS0"
    medium: bool = False  # it boots from a USB stick or CD of ``netboot media``
    rom: bool = False  # its card has a ROM that does not come with QEMU
    screen: tuple[str, ...] = _PC_SCREEN


_PC = ("-M", "pc,graphics=off")
_USB = (
    *("-drive", "if=none,id=stick,format=raw,readonly=on,file={medium}"),
    *("-device", "qemu-xhci", "-device", "usb-storage,drive=stick,bootindex=0"),
)
_Q35 = ("-M", "q35,graphics=off")
# OVMF with Secure Boot keeps its variables where only system management mode can write.
_Q35_SMM = (
    *("-M", "q35,graphics=off,smm=on"),
    *("-global", "driver=cfi.pflash01,property=secure,value=on"),
)
# romfile= removes the iPXE ROM, so that OVMF's own PXE client boots.
_NO_ROM = "virtio-net-pci,romfile=,bootindex=0"
_ONLY_HTTP = tuple(
    word
    for name in ("IPv4PXESupport", "IPv6PXESupport")
    for word in ("-fw_cfg", f"name=opt/org.tianocore/{name},string=n")
)
# The ROMs of QEMU's cards are for x86.
_ARM64 = ("qemu-system-aarch64", "qemu-system-arm", ARM64, "ttyAMA0")
_VIRT = ("-M", "virt", "-cpu", "cortex-a57")
_AAVMF = Flash(
    "/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd", "qemu-efi-aarch64"
)
_X64 = Flash("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd")

KINDS = {
    "bios": Kind((*_PC, "-boot", "n"), "e1000"),
    # QEMU's e1000 receives nothing for a second after each start; this card receives at once.
    "bios-virtio": Kind((*_PC, "-boot", "n"), "virtio-net-pci"),
    # Its ROM is the iPXE of Debian's newest release; that of the other kinds is as old as QEMU's.
    "bios-new-rom": Kind((*_PC, "-boot", "n"), "e1000,romfile={rom}", rom=True),
    # No PXE: the card has no ROM.
    "bios-usb": Kind((*_PC, *_USB), "e1000,romfile=", medium=True),
    "bios-cd": Kind(
        (*_PC, "-drive", "if=ide,media=cdrom,readonly=on,file={medium}"),
        "e1000,romfile=",
        medium=True,
    ),
    "bios-i386": Kind((*_PC, "-boot", "n", "-cpu", "pentium3"), "e1000", processor=I386),
    "uefi": Kind(_Q35, _NO_ROM, _X64),
    "uefi-usb": Kind((*_Q35, *_USB), "virtio-net-pci,romfile=", _X64, medium=True),
    "uefi-http": Kind((*_Q35, *_ONLY_HTTP), _NO_ROM, _X64),
    # With Microsoft's keys, like a new PC.
    "uefi-secure": Kind(_Q35_SMM, _NO_ROM, Flash("OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd")),
    # Firmware of 32 bits on a processor of 64.
    "uefi-ia32": Kind(
        _Q35_SMM,
        _NO_ROM,
        Flash("OVMF32_CODE_4M.secboot.fd", "OVMF32_VARS_4M.fd", "ovmf-ia32"),
    ),
    "uefi-arm64": Kind(_VIRT, _NO_ROM, _AAVMF, *_ARM64, screen=_ARM64_SCREEN),
    "uefi-arm64-usb": Kind(
        (*_VIRT, *_USB),
        "virtio-net-pci,romfile=",
        _AAVMF,
        *_ARM64,
        medium=True,
        screen=_ARM64_SCREEN,
    ),
    "uefi-arm64-http": Kind((*_VIRT, *_ONLY_HTTP), _NO_ROM, _AAVMF, *_ARM64, screen=_ARM64_SCREEN),
}


@dataclass(frozen=True, slots=True)
class Machine:
    """The parts of a virtual PC. ``memory`` is its RAM in MiB, ``folder`` holds its files."""

    number: int
    firmware: str  # one of KINDS
    memory: int
    folder: Path
    capture: bool = False
    devices: tuple[str, ...] = ()  # further devices, as words for QEMU
    medium: Path | None = None  # the image to boot from if its kind has a medium
    rom: Path | None = None  # the ROM of its card if its kind has one
    screen: bool = False
    sent_only: bool = False  # ``pcap`` has only the frames that the PC sends

    @property
    def mac(self) -> str:
        """Return ``52:54:00:77:00:NN``, from QEMU's range for private use."""
        return f"52:54:00:77:{self.number >> 8:02x}:{self.number & 255:02x}"

    @property
    def tap(self) -> str:
        """Return the name of the tap device."""
        return f"tap{self.number}"

    @property
    def console(self) -> Path:
        """Return the file of the output of the serial port."""
        return self.folder / f"pc{self.number}.console"

    @property
    def pcap(self) -> Path:
        """Return the file of all frames of the network card, if ``capture`` is set."""
        return self.folder / f"pc{self.number}.pcap"

    def command(self) -> list[str]:
        """Return QEMU's command line."""
        kind = KINDS[self.firmware]
        words = [
            kind.program,
            "-accel",
            accelerator(kind.program),
            "-m",
            str(self.memory),
            "-smp",
            "1",
        ]
        words += ["-nodefaults", "-vga", "none", "-display", "none", "-no-reboot"]
        words += ["-serial", f"file:{self.console}"]
        # Otherwise a capture has a virtio header before each frame.
        header = ",vnet_hdr=off" if self.capture else ""
        words += ["-netdev", f"tap,id=n0,ifname={self.tap},script=no,downscript=no{header}"]
        if self.capture:
            # "rx" as QEMU sees it.
            queue = "rx" if self.sent_only else "all"
            dump = f"filter-dump,id=dump,netdev=n0,queue={queue},file={self.pcap}"
            words += ["-object", dump]
        if kind.flash is not None:
            code = OVMF / kind.flash.code
            words += ["-drive", f"if=pflash,format=raw,readonly=on,file={code}"]
            words += ["-drive", f"if=pflash,format=raw,file={self._nvram}"]
        words += [word.replace("{medium}", str(self.medium)) for word in self._board(kind)]
        card = kind.card.replace("{rom}", str(self.rom))
        words += ["-device", f"{card},netdev=n0,mac={self.mac}"]
        return [*words, *self.devices]

    def _board(self, kind: Kind) -> tuple[str, ...]:
        """Return QEMU's words for the board. With a screen its firmware draws there, too."""
        if not self.screen:
            return kind.board
        return (*(word.replace(",graphics=off", "") for word in kind.board), *kind.screen)

    @property
    def _nvram(self) -> Path:
        return self.folder / f"pc{self.number}.nvram"

    async def power_on(self) -> "Power":
        """Start QEMU. Its own messages go to ``pcN.qemu``, beside the console file."""
        flash = KINDS[self.firmware].flash
        if flash is not None:
            shutil.copyfile(OVMF / flash.variables, self._nvram)
        ours, theirs = socket.socketpair()
        hands, qemus = socket.socketpair()
        monitor = ["-chardev", f"socket,id=monitor,fd={theirs.fileno()}", "-mon", "monitor"]
        monitor += ["-chardev", f"socket,id=hands,fd={qemus.fileno()}"]
        monitor += ["-mon", "hands,mode=control"]
        with theirs, qemus, (self.folder / f"pc{self.number}.qemu").open("wb") as complaints:
            process = await asyncio.create_subprocess_exec(
                *self.command(),
                *monitor,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=complaints,
                stderr=complaints,
                pass_fds=[theirs.fileno(), qemus.fileno()],
            )
        return Power(process, ours, Screen(hands))


@dataclass(frozen=True, slots=True)
class Power:
    """A virtual PC that is switched on."""

    process: asyncio.subprocess.Process
    monitor: socket.socket
    screen: Screen  # shows something only if the machine has a screen

    def tell(self, command: str) -> None:
        """Give QEMU's monitor a command: ``set_link n0 off`` or ``sendkey ctrl-alt-delete``."""
        # QEMU writes each letter back, and reads no more once nobody has read that for 200 kB.
        with contextlib.suppress(BlockingIOError):
            while self.monitor.recv(1 << 16, socket.MSG_DONTWAIT):
                pass
        self.monitor.sendall(f"{command}\n".encode())


def console_tail(console: Path, lines: int) -> list[str]:
    """Return the last lines of a serial console, without control sequences."""
    if not console.exists():
        return []
    text = console.read_bytes().decode("utf-8", "replace")
    plain = re.sub(r"\x1b\[[0-9;?]*[@-~]|[^\n -~]", "", text)  # ECMA-48: control sequences
    return [line for line in plain.splitlines() if line.strip()][-lines:]


def accelerator(program: str) -> str:
    """Return ``kvm`` if it works for this QEMU, otherwise ``tcg``, which emulates each instruction.

    A KVM device is not enough: on a CPU without VMX or SVM (some cloud machines have such a
    device) QEMU starts with it, and the guest stops before its kernel prints a line.
    """
    flags = Path("/proc/cpuinfo").read_text().split()
    usable = os.access("/dev/kvm", os.R_OK | os.W_OK) and ("vmx" in flags or "svm" in flags)
    return "kvm" if usable and program == "qemu-system-x86_64" else "tcg"


def check_programs(firmware: Iterable[str]) -> None:
    """Check that ``firmware`` are names of KINDS and that all parts of the lab are installed.

    Raises OperatorError, which gives the Debian package of a missing part.
    """
    needed = {"dnsmasq": "dnsmasq-base", "ip": "iproute2"}
    for name in firmware:
        if name not in KINDS:
            guess = nearest(name, KINDS)
            raise OperatorError(
                f"--firmware: expected one of {', '.join(KINDS)}, found '{name}'"
                + (f"; did you mean '{guess}'?" if guess else "")
            )
        kind = KINDS[name]
        needed[kind.program] = kind.package
        if kind.flash is not None and not (OVMF / kind.flash.code).exists():
            raise OperatorError(
                f"no UEFI firmware at {OVMF / kind.flash.code}",
                hint=f"sudo apt install {kind.flash.package}",
            )
    check_installed(needed)
