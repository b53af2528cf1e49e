"""``netboot media``: one image that starts iPXE from a CD or a USB stick, on BIOS and on UEFI x64.

PCs that cannot boot from the network get from it the files that others get over TFTP. The image is
an ISO 9660 file system with two El Torito entries: isolinux with ipxe.lkrn and our script, and a
FAT floppy with ipxe.efi. As an isohybrid it also has a partition table, so that firmware can start
it as a disk. Debian's ipxe.efi takes no script: on UEFI iPXE tries DHCP once, on BIOS again and
again.
"""

import hashlib
import shutil
from functools import partial
from pathlib import Path

from netboot.boot.arch import IPXE_EFI, IPXE_LKRN
from netboot.boot.ipxe import render_medium
from netboot.errors import OperatorError
from netboot.host.programs import check_installed, run
from netboot.images import packages
from netboot.images.cache import Cache
from netboot.images.packages import Apt
from netboot.images.progress import Progress

IMAGE_FILE = "netboot.iso"
PARTS = ("ipxe", "isolinux", "syslinux-common")
TOOLS = {"xorriso": "xorriso", "mformat": "mtools"}  # and the Debian packages that have them
EPOCH = "1600000000"  # the time of all files inside: the same parts give the same bytes
ENVIRONMENT = {"SOURCE_DATE_EPOCH": EPOCH, "MTOOLS_SKIP_CHECK": "1", "TZ": "UTC"}
CONFIGURATION = """default netboot
label netboot
  kernel /ipxe.krn
  initrd /netboot.ipx
"""
FLOPPY_KIB = 1440  # a floppy by El Torito's definition, and enough for ipxe.efi


def write(target: Path, cache: Path, progress: Progress) -> None:
    """Write the image to the file ``target``. Raises OperatorError."""
    check_installed(TOOLS)
    store, apt = Cache(cache), Apt(cache / "apt")
    with store.alone(progress):
        found = apt.need(PARTS)
        parts = [f"{package.name} {package.version}" for package in found.values()]
        own = Path(__file__).read_text() + render_medium()
        key = hashlib.sha256("\n".join([*parts, own]).encode()).hexdigest()[:32]

        def make(folder: Path) -> None:
            with store.scratch() as scratch:
                for package in found.values():
                    packages.unpack(apt.download(package, scratch, progress), scratch)
                progress.step("writing the image")
                _make(scratch, folder / IMAGE_FILE)

        image = store.folder("media", key, make) / IMAGE_FILE
    try:
        shutil.copyfile(image, target)
    except OSError as error:
        raise OperatorError(f"{target} cannot be written: {error.strerror}") from error


def _make(unpacked: Path, image: Path) -> None:
    """Write the image from the files of the packages."""
    tree = unpacked / "tree"
    (tree / "isolinux").mkdir(parents=True)
    modules = "usr/lib/syslinux/modules/bios"
    files = {
        "isolinux/isolinux.bin": ("isolinux", "usr/lib/ISOLINUX/isolinux.bin"),
        "isolinux/ldlinux.c32": ("syslinux-common", f"{modules}/ldlinux.c32"),
        "ipxe.krn": ("ipxe", *IPXE_LKRN),
    }
    for name, (package, *places) in files.items():
        shutil.copyfile(packages.file_of(package, unpacked, *places), tree / name)
    (tree / "isolinux/isolinux.cfg").write_text(CONFIGURATION)
    (tree / "netboot.ipx").write_text(render_medium())
    floppy, tool = tree / "efi.img", partial(run, env=ENVIRONMENT)
    tool(["mformat", "-C", "-N", "0", "-f", str(FLOPPY_KIB), "-i", str(floppy), "::"])
    tool(["mmd", "-i", str(floppy), "::/EFI", "::/EFI/BOOT"])
    loader = str(packages.file_of("ipxe", unpacked, *IPXE_EFI))
    tool(["mcopy", "-i", str(floppy), loader, "::/EFI/BOOT/BOOTX64.EFI"])
    words = ["-as", "mkisofs", "-quiet", "-o", str(image), "-V", "NETBOOT"]
    words += ["--set_all_file_dates", f"={EPOCH}"]
    words += ["-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat"]
    words += ["-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]
    record = packages.file_of("isolinux", unpacked, "usr/lib/ISOLINUX/isohdpfx.bin")
    words += ["-isohybrid-mbr", str(record)]
    words += ["-eltorito-alt-boot", "-e", "efi.img", "-no-emul-boot", "-isohybrid-gpt-basdat"]
    tool(["xorriso", *words, str(tree)])
