"""A PC with a screen as LTSP would boot it, to compare with: the same programs and virtual PC.

dnsmasq for DHCP and TFTP, iPXE, an initramfs of initramfs-tools with nbd-client, and the root image
as a squashfs over NBD under a tmpfs (bench/baseline/nbdroot). The image is netboot's own, packed by
mksquashfs as it comes, so programs and their settings are the same. Only X is as Debian ships it,
with GLX, and nothing stands in for LLVM: LTSP does neither.
"""

import asyncio
import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import seat
from bench.client import isolated
from bench.report import tell
from bench.seat import Boot
from netboot.images import build as images
from netboot.images.cache import Cache
from netboot.lab import network
from netboot.lab.machine import Machine
from netboot.lab.pictures import SHOWN
from netboot.roots.library import Version

FOLDER = "bench-peer"  # in the cache
SCRIPT = f"""#!ipxe
kernel vmlinuz initrd=initrd.img console=ttyS0 console=tty0 no_timer_check panic=1 ip=dhcp boot=nbdroot bench_server={network.SERVER.ip} quiet
initrd initrd.img
boot
"""


class _Told:
    """The steps of a build, as lines of progress."""

    def step(self, text: str) -> None:
        tell(text)

    def advance(self, done: int, total: int) -> None:
        pass


def squashfs_of(version: Version) -> Path:
    """Return the root image ``version`` as a squashfs, which is made once."""

    def make(folder: Path) -> None:
        tell(f"packing {version.label} as a squashfs")
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            tree, image = f"{name}/root", str(version.image)
            unpack = {
                "erofs": ["fsck.erofs", f"--extract={tree}", "--preserve", image],
                "squashfs": ["unsquashfs", "-quiet", "-no-progress", "-d", tree, image],
            }[version.manifest.format]
            subprocess.run(unpack, check=True, stdout=subprocess.DEVNULL)
            pack = ["mksquashfs", tree, str(folder / "root.squashfs"), "-quiet", "-no-progress"]
            subprocess.run(pack, check=True)

    cache = Cache(images.default_cache() / FOLDER)
    with cache.alone(_Told()):
        return cache.folder("roots", version.manifest.short, make) / "root.squashfs"


def measure(root: Path, memory: int, seconds: float, firmware: str = "bios") -> Boot:
    """Boot a PC of the peer until its page is shown. Raises RuntimeError if that takes too long."""

    def body(folder: Path) -> dict[str, float]:
        seat.prepare(folder, SCRIPT)
        pc = Machine(1, firmware, memory, folder, screen=True)
        network.add_tap(pc.tap)
        with seat.dnsmasq(folder), _nbd_server(folder, root):
            return asyncio.run(seat.until_said(pc, f"bench: {SHOWN}".encode(), seconds))

    return Boot(**isolated(body))


@contextlib.contextmanager
def _nbd_server(folder: Path, root: Path) -> Iterator[None]:
    config, pid = folder / "nbd.conf", folder / "nbd.pid"
    export = f"[root]\nexportname = {root}\nreadonly = true\n"
    config.write_text(f"[generic]\nuser = root\ngroup = root\n{export}")
    # nbd-server forks into the background, and ends with the namespace at the latest.
    subprocess.run(["nbd-server", "-C", str(config), "-p", str(pid)], check=True)
    yield
