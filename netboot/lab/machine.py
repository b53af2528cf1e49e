"""One virtual PC: QEMU with a network card and a serial console, and nothing else."""

import asyncio
import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from netboot.errors import OperatorError

QEMU = "qemu-system-x86_64"
OVMF_CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
OVMF_VARS = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")


@dataclass(frozen=True, slots=True)
class Machine:
    """What a virtual PC is made of. ``memory`` is its RAM in MiB, ``folder`` holds its files."""

    number: int
    firmware: str  # bios | uefi
    memory: int
    folder: Path
    capture: bool = False
    devices: tuple[str, ...] = ()  # more of them, as words for QEMU

    @property
    def mac(self) -> str:
        """``52:54:00:77:00:NN``, from QEMU's range for machines of one's own."""
        return f"52:54:00:77:{self.number >> 8:02x}:{self.number & 255:02x}"

    @property
    def tap(self) -> str:
        """Name of its tap device."""
        return f"tap{self.number}"

    @property
    def console(self) -> Path:
        """What the PC wrote to its serial port."""
        return self.folder / f"pc{self.number}.console"

    @property
    def pcap(self) -> Path:
        """Every frame that passed its network card, if ``capture`` is set."""
        return self.folder / f"pc{self.number}.pcap"

    def command(self) -> list[str]:
        """QEMU's command line."""
        words = [QEMU, "-accel", accelerator(), "-m", str(self.memory), "-smp", "1"]
        words += ["-nodefaults", "-vga", "none", "-display", "none", "-no-reboot"]
        words += ["-serial", f"file:{self.console}"]
        # With a virtio header a capture would hold it in front of every frame.
        header = ",vnet_hdr=off" if self.capture else ""
        words += ["-netdev", f"tap,id=n0,ifname={self.tap},script=no,downscript=no{header}"]
        if self.capture:
            words += ["-object", f"filter-dump,id=dump,netdev=n0,file={self.pcap}"]
        if self.firmware == "uefi":
            # romfile= takes the iPXE ROM away: what is left is OVMF's own plain PXE client.
            words += ["-M", "q35,graphics=off"]
            words += ["-drive", f"if=pflash,format=raw,readonly=on,file={OVMF_CODE}"]
            words += ["-drive", f"if=pflash,format=raw,file={self._nvram}"]
            words += ["-device", f"virtio-net-pci,netdev=n0,mac={self.mac},romfile=,bootindex=0"]
        else:
            words += ["-M", "pc,graphics=off", "-boot", "n"]
            words += ["-device", f"e1000,netdev=n0,mac={self.mac}"]
        return [*words, *self.devices]

    @property
    def _nvram(self) -> Path:
        return self.folder / f"pc{self.number}.nvram"

    async def power_on(self) -> "Power":
        """Starts QEMU; its own complaints go to the console file's neighbour ``pcN.qemu``."""
        if self.firmware == "uefi":
            shutil.copyfile(OVMF_VARS, self._nvram)
        ours, theirs = socket.socketpair()
        monitor = ["-chardev", f"socket,id=monitor,fd={theirs.fileno()}", "-mon", "monitor"]
        with theirs, (self.folder / f"pc{self.number}.qemu").open("wb") as complaints:
            process = await asyncio.create_subprocess_exec(
                *self.command(),
                *monitor,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=complaints,
                stderr=complaints,
                pass_fds=[theirs.fileno()],
            )
        return Power(process, ours)

    def console_tail(self, lines: int = 20) -> str:
        """The last lines of the serial console, for an error report."""
        if not self.console.exists():
            return ""
        text = self.console.read_bytes().decode("utf-8", "replace")
        plain = "".join(letter for letter in text if letter.isprintable() or letter == "\n")
        return "\n".join(plain.splitlines()[-lines:])


@dataclass(frozen=True, slots=True)
class Power:
    """A virtual PC that is switched on."""

    process: asyncio.subprocess.Process
    monitor: socket.socket

    def tell(self, command: str) -> None:
        """Gives QEMU's monitor a command, as ``set_link n0 off`` or ``sendkey ctrl-alt-delete``."""
        self.monitor.sendall(f"{command}\n".encode())


def accelerator() -> str:
    """``kvm`` where it works, else ``tcg``, which emulates every instruction.

    A KVM device is not enough: on a CPU without VMX or SVM (some cloud machines have such a
    device) QEMU starts with it, and the guest stops before its kernel prints a line.
    """
    flags = Path("/proc/cpuinfo").read_text().split()
    usable = os.access("/dev/kvm", os.R_OK | os.W_OK) and ("vmx" in flags or "svm" in flags)
    return "kvm" if usable else "tcg"


def check_programs(firmware: str) -> None:
    """Raises OperatorError, naming the Debian package, if a part of the lab is not installed."""
    needed = [(QEMU, "qemu-system-x86"), ("dnsmasq", "dnsmasq-base"), ("ip", "iproute2")]
    for program, package in needed:
        if shutil.which(program) is None:
            raise OperatorError(f"{program} is not installed", hint=f"sudo apt install {package}")
    if firmware == "uefi" and not OVMF_CODE.exists():
        raise OperatorError(f"{OVMF_CODE} is not there", hint="sudo apt install ovmf")
