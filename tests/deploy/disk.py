"""Old PCs with a Debian on their disks, as virtual machines on the LAN of rig.py: BIOS and UEFI.

The disk is made once and kept in the cache. mmdebstrap fills it. Then a PC boots the Debian on it,
which installs GRUB for both firmwares with its own tools. Each PC writes to a layer above the disk.
"""

import hashlib
import os
import shutil
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from netboot.images.cache import Cache, default_cache
from netboot.images.progress import Progress
from netboot.lab.machine import KINDS, OVMF, accelerator
from tests import ROOT
from tests.deploy.rig import NETWORK, Lan

HERE = Path(__file__).parent
SCRIPTS = ("install-disk", "old-init")
PACKAGES = (
    "linux-image-cloud-amd64,grub2-common,grub-pc-bin,grub-efi-amd64-bin,efibootmgr,dosfstools,"
    "openssh-server,iproute2"
)
UEFI = KINDS["uefi"].flash
assert UEFI is not None
CODE, VARIABLES = OVMF / UEFI.code, OVMF / UEFI.variables
SECTOR, MIB = 512, 1 << 20
SIZE_MIB, ESP_MIB = 1000, 33  # sparse; FAT32 has 32 MiB at least
BOOT_SECONDS = 200  # until the SSH of a PC answers, emulated beside others
# In the Debian's root folder, before a kernel is installed. A small initrd is unpacked quickly.
FEW = """set -eu; cd "$1"; mkdir -p etc/initramfs-tools/conf.d
echo MODULES=list >etc/initramfs-tools/conf.d/few"""
# In the same folder, before it is copied to the disk.
PREPARE = """set -eu; cd "$1"
printf '%s\\n' GRUB_TIMEOUT=0 GRUB_TERMINAL=console GRUB_DISTRIBUTOR=Debian \\
    GRUB_CMDLINE_LINUX='"console=ttyS0 no_timer_check init=/usr/sbin/old-init"' >etc/default/grub
printf '%s\\n' virtio_pci virtio_blk virtio_net ext4 >>etc/initramfs-tools/modules
chroot . update-initramfs -u
install -m 755 SCRIPTS/install-disk SCRIPTS/old-init usr/sbin
echo NETWORK >etc/old-network
rm sbin/reboot; printf '%s\\n' '#!/bin/sh' 'mount -o remount,ro /' 'systemctl reboot -ff' >sbin/reboot
chmod 755 sbin/reboot
install -D -m 600 KEYS/user.pub root/.ssh/authorized_keys
rm -f etc/ssh/ssh_host_*; install -m 600 KEYS/host etc/ssh/ssh_host_ed25519_key"""


@dataclass(frozen=True, slots=True)
class Disk:
    """A Debian on a disk: ``folder`` holds ``disk.raw`` and the firmware's variables ``nvram``.

    The keys ``user`` and ``host`` (with ``.pub``) are there too.
    """

    folder: Path

    @property
    def key(self) -> Path:
        return self.folder / "user"

    @property
    def host_key(self) -> Path:
        return self.folder / "host.pub"


def make_disk(progress: Progress) -> Disk:
    """Return the disk from the cache, or make it in two minutes."""
    scripts = [(HERE / name).read_text() for name in SCRIPTS]
    recipe = repr((scripts, PACKAGES, FEW, PREPARE, SIZE_MIB, ESP_MIB)).encode()
    cache = Cache(default_cache() / "tests")  # a lock of its own: builds need not wait for it
    with cache.alone(progress):
        return Disk(cache.folder("disks", hashlib.sha256(recipe).hexdigest()[:32], _make))


def _make(folder: Path) -> None:
    for name in ("user", "host"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name]
        subprocess.run([*command, "-f", str(folder / name)], check=True)
    prepare = PREPARE.replace("NETWORK", NETWORK)
    prepare = prepare.replace("SCRIPTS", str(HERE)).replace("KEYS", str(folder))
    options = [f"--include={PACKAGES}", f"--essential-hook={FEW}", f"--customize-hook={prepare}"]
    # It is the disk of one PC, which has its own keys.
    make = [str(ROOT / "tools/make-root"), str(folder / "squashfs"), "--keep-secrets"]
    subprocess.run([*make, *options], check=True)
    root = folder / "root"
    subprocess.run(
        ["unsquashfs", "-quiet", "-no-progress", "-d", root, folder / "squashfs"], check=True
    )
    disk = folder / "disk.raw"
    with disk.open("wb") as file:
        file.write(_partition_table())
        file.truncate(SIZE_MIB * MIB)
    begin = (1 + ESP_MIB) * MIB
    filesystem = ["mke2fs", "-q", "-t", "ext4", "-d", str(root), "-E", f"offset={begin}"]
    subprocess.run([*filesystem, str(disk), f"{SIZE_MIB - 1 - ESP_MIB}M"], check=True)
    shutil.copyfile(VARIABLES, folder / "nvram")
    kernel = next(root.glob("boot/vmlinuz-*"))
    initrd = next(root.glob("boot/initrd.img-*"))
    # A PC that waits for a CPU misses ticks. Linux would panic over such a timer.
    words_of_kernel = "root=/dev/vda2 init=/usr/sbin/install-disk console=ttyS0 panic=-1"
    words_of_kernel += " no_timer_check"
    command = [*_firmware("uefi", folder / "nvram"), *_machine(folder / "console", 512)]
    command += ["-drive", f"file={disk},if=virtio,format=raw,cache=unsafe", "-no-reboot"]
    command += ["-kernel", str(kernel), "-initrd", str(initrd), "-append", words_of_kernel]
    subprocess.run(command, check=True, timeout=300)
    said = (folder / "console").read_text(errors="replace")
    assert "install-disk: done" in said, said[-3000:]
    shutil.rmtree(root)
    (folder / "squashfs").unlink()


def _partition_table() -> bytes:
    """Return an MBR with the EFI and the Debian partition; GRUB's BIOS part goes before them."""
    esp = (MIB // SECTOR, ESP_MIB * MIB // SECTOR)
    rest = (esp[0] + esp[1], (SIZE_MIB - 1 - ESP_MIB) * MIB // SECTOR)
    rows = [
        struct.pack("<B3xB3xII", state, kind, *extent)
        for state, kind, extent in ((0, 0xEF, esp), (0x80, 0x83, rest))
    ]
    return b"".join(rows).ljust(64, b"\0").rjust(SECTOR - 2, b"\0") + b"\x55\xaa"


def _machine(console: Path, memory: int) -> list[str]:
    words = [
        "-accel",
        accelerator(KINDS["bios"].program),
        "-m",
        str(memory),
        "-nodefaults",
        "-vga",
        "none",
    ]
    return [*words, "-display", "none", "-serial", f"file:{console}"]


def _firmware(firmware: str, nvram: Path) -> list[str]:
    program = KINDS[firmware].program
    if firmware == "bios":
        return [program, "-M", "pc,graphics=off"]
    words = [program, "-M", "q35,graphics=off"]
    words += ["-drive", f"if=pflash,format=raw,readonly=on,file={CODE}"]
    return [*words, "-drive", f"if=pflash,format=raw,file={nvram}"]


class OldPc:
    """A PC that boots from its disk as soon as it is made.

    Its card has no boot ROM: only GRUB or UEFI's own PXE can boot it from the network.
    """

    def __init__(self, lan: Lan, disk: Disk, number: int, firmware: str) -> None:
        self.mac = f"52:54:00:78:00:{number:02x}"
        self.address = f"{NETWORK}.{number}"
        folder = lan.folder / f"old{number}"
        folder.mkdir()
        self.console = folder / "console"
        self._lan, self._disk = lan, disk
        nvram, layer = folder / "nvram", folder / "disk.qcow2"
        shutil.copyfile(disk.folder / "nvram", nvram)
        create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw"]
        subprocess.run([*create, "-b", str(disk.folder / "disk.raw"), str(layer)], check=True)
        tap = f"tap{number}"
        plug = f"ip tuntap add {tap} mode tap; ip link set {tap} master br0 up"
        subprocess.run(lan.command("sh", "-ec", plug), check=True)
        command = [*_firmware(firmware, nvram), *_machine(self.console, 320)]
        command += ["-drive", f"file={layer},if=virtio,format=qcow2,cache=unsafe"]
        command += ["-netdev", f"tap,id=n0,ifname={tap},script=no,downscript=no"]
        command += ["-device", f"virtio-net-pci,netdev=n0,mac={self.mac},romfile="]
        self.process = subprocess.Popen(lan.command(*command))
        public = " ".join(disk.host_key.read_text().split()[:2])
        with lan.known_hosts.open("a") as file:
            file.write(f"{self.address} {public}\n")

    def run(self, script: str) -> str:
        """Run a command as root on the PC; return its output."""
        done = self._ssh(script)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def wait_for_ssh(self, before: str = "") -> str:
        """Wait until the PC runs from its disk, in another boot than ``before``; return its id."""
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None
            boot = self._ssh("cat /proc/sys/kernel/random/boot_id").stdout
            if boot not in ("", before):
                return boot
            time.sleep(0.5)
        raise AssertionError(self.console.read_text(errors="replace")[-3000:])

    def answers_ssh(self) -> bool:
        return self._ssh("true").returncode == 0

    def switch_off(self) -> None:
        self.process.kill()
        self.process.wait()

    def _ssh(self, script: str) -> "subprocess.CompletedProcess[str]":
        words = ["ssh", "-q", "-F", "none", "-i", str(self._disk.key), "-o", "BatchMode=yes"]
        words += ["-o", f"UserKnownHostsFile={self._lan.known_hosts}", "-o", "ConnectTimeout=2"]
        # A PC that is switched off meanwhile never closes the connection.
        words += ["-o", "ServerAliveInterval=3"]
        command = self._lan.command("timeout", "60", *words, f"root@{self.address}", script)
        environment = {**os.environ, "LC_ALL": "C"}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
