"""The measured PC's additions to the lab: drivers, nbd-client with libraries, a hook."""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from netboot.boot import cpio
from netboot.boot.cpio import Record
from netboot.errors import OperatorError
from netboot.images import initramfs, kernel, packages
from netboot.images.cache import Cache
from netboot.images.part import Sources
from netboot.images.progress import Progress
from netboot.profile.processors import AMD64

HERE = Path(__file__).parent
FOLDER = "bench"  # in the cache
# The boot image has the driver of the PC's network card with its dependencies, and none for a disk.
# Each module stands after those that it depends on.
VIRTIO = "virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk"
DRIVERS = (*VIRTIO.split(), "nbd", "zsmalloc", "zram")
NBD_CLIENT = "nbd-client"


def build_image(wanted: str, cache: Path, progress: Progress) -> Path:
    """Build ``bench.img``, an initrd for the kernel of a Debian package, see ``Sources.kernel``.

    Raises OperatorError.
    """
    store = Cache(cache)
    with store.alone(progress):
        drivers = _drivers(wanted, store, progress)
        archive = cpio.archive(_records(drivers))
        key = hashlib.sha256(archive).hexdigest()[:32]

        def make(folder: Path) -> None:
            (folder / "bench.img").write_bytes(initramfs.compressed(archive))

        return store.folder(FOLDER, key, make) / "bench.img"


def _drivers(wanted: str, store: Cache, progress: Progress) -> Path:
    """Return a folder with drivers of the same kernel that the boot images leave out.

    A kernel has some of them built in.
    """
    apt, package = Sources(store, progress).kernel(AMD64, wanted)

    def make(folder: Path) -> None:
        with store.scratch() as scratch:
            packages.unpack(apt.download(package, scratch, progress), scratch)
            for driver in DRIVERS:
                for found in scratch.glob(f"usr/lib/modules/*/kernel/**/{driver}.ko*"):
                    (folder / f"{driver}.ko").write_bytes(kernel.module_content(found))

    names = hashlib.sha256(" ".join(DRIVERS).encode()).hexdigest()[:8]
    return store.folder("bench-drivers", f"{package.name}_{package.version}_{names}", make)


def _records(drivers: Path) -> Iterator[Record]:
    for path in sorted(drivers.iterdir()):
        yield cpio.file(f"userland/lib/bench/{path.name}", path.read_bytes())
    hook = (HERE / "guest/60-bench").read_bytes()
    yield cpio.file("userland/etc/netboot.d/60-bench", hook, executable=True)
    client = shutil.which(NBD_CLIENT, path="/usr/sbin:/sbin")
    if client is None:
        raise OperatorError("nbd-client is not installed", hint="tools/setup-bench")
    yield cpio.file("userland/bin/nbd-client", Path(client).read_bytes(), executable=True)
    for library in _libraries(client):
        content = Path(library).read_bytes()
        yield cpio.file(f"userland{library}", content, executable=True)


def _libraries(program: str) -> list[str]:
    """Return the absolute paths of a program's shared libraries and its loader."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return sorted(set(re.findall(r"(/\S+) \(0x", said)))
