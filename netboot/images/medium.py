"""``netboot media``: one image that starts iPXE from a CD or a USB stick, on BIOS and on UEFI.

PCs that cannot boot from the network get from it the files that others get over TFTP. The image is
an ISO 9660 file system with two El Torito entries: isolinux with ipxe.lkrn and our script, and a
FAT floppy with iPXE for UEFI of x64 and arm64. As an isohybrid it also has a partition table, so
that firmware can start it as a disk. On UEFI iPXE runs the script autoexec.ipxe beside it; that of
Debian 12 does not, and tries DHCP once.
"""

import hashlib
import shutil
from functools import partial
from pathlib import Path

from netboot.boot.arch import IPXE, IPXE_LKRN, LOADERS
from netboot.boot.ipxe import AUTOEXEC_FILE, render_medium
from netboot.errors import OperatorError
from netboot.host.programs import check_installed, run
from netboot.images import packages
from netboot.images.cache import Cache
from netboot.images.packages import Apt, Package
from netboot.images.part import Sources
from netboot.images.progress import Progress

IMAGE_FILE = "netboot.iso"
PARTS = ("isolinux", "syslinux-common")
TOOLS = {"xorriso": "xorriso", "mformat": "mtools"}  # and the Debian packages that have them
EPOCH = "1600000000"  # the time of all files inside: the same parts give the same bytes
ENVIRONMENT = {"SOURCE_DATE_EPOCH": EPOCH, "MTOOLS_SKIP_CHECK": "1", "TZ": "UTC"}
CONFIGURATION = """default netboot
label netboot
  kernel /ipxe.krn
  initrd /netboot.ipx
"""
FLOPPY_KIB = 2880  # a floppy by El Torito's definition, and enough for two iPXE of 1 MB
# UEFI 2.10 section 3.5.1.1: the programs that firmware starts from a medium.
PROGRAMS = {"ipxe.efi": "BOOTX64.EFI", "ipxe-arm64.efi": "BOOTAA64.EFI"}


def write(
    target: Path, cache: Path, progress: Progress, server: str = "", vlan: int | None = None
) -> tuple[str, ...]:
    """Write the image to the file ``target``; return warnings for the operator.

    ``server`` is ``HOST:PORT`` of the boot server's HTTP, empty if DHCP has to name it. ``vlan`` is
    the VLAN whose tag the PC puts on its frames. Raises OperatorError.
    """
    check_installed(TOOLS)
    store = Cache(cache)
    script = render_medium(f"http://{server}" if server else "", vlan)
    with store.alone(progress):
        sources = Sources(store, progress)
        found = dict.fromkeys(sources.host.need(PARTS).values(), sources.host)
        try:
            newest = sources.newest or sources.host
            image = _image({**_loaders(newest), **found}, script, store, progress)
        except OperatorError as error:
            if sources.newest is None:
                raise
            sources.without_newest(str(error))
            image = _image({**_loaders(sources.host), **found}, script, store, progress)
    try:
        shutil.copyfile(image, target)
    except OSError as error:
        raise OperatorError(f"{target} cannot be written: {error.strerror}") from error
    return tuple(sources.complaints)


def _loaders(apt: Apt) -> dict[Package, Apt]:
    return {apt.need([IPXE])[IPXE]: apt}


def _image(found: dict[Package, Apt], script: str, store: Cache, progress: Progress) -> Path:
    """Return the image in the cache, made of packages and the apt that has each."""
    parts = [f"{package.name} {package.version}" for package in found]
    own = Path(__file__).read_text() + script
    key = hashlib.sha256("\n".join([*parts, own]).encode()).hexdigest()[:32]

    def make(folder: Path) -> None:
        with store.scratch() as scratch:
            for package, apt in found.items():
                packages.unpack(apt.download(package, scratch, progress), scratch)
            progress.step("writing the image")
            _make(scratch, script, folder / IMAGE_FILE)

    return store.folder("media", key, make) / IMAGE_FILE


def _make(unpacked: Path, script: str, image: Path) -> None:
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
    (tree / "netboot.ipx").write_text(script)
    floppy, tool = tree / "efi.img", partial(run, env=ENVIRONMENT)
    tool(["mformat", "-C", "-N", "0", "-f", str(FLOPPY_KIB), "-i", str(floppy), "::"])
    tool(["mmd", "-i", str(floppy), "::/EFI", "::/EFI/BOOT"])
    inside = {str(tree / "netboot.ipx"): AUTOEXEC_FILE}
    for name, program in PROGRAMS.items():
        row = LOADERS[name]
        if not row.optional or any((unpacked / path).exists() for path in row.paths):
            inside[str(packages.file_of(IPXE, unpacked, *row.paths))] = program
    for path, name in inside.items():
        tool(["mcopy", "-i", str(floppy), path, f"::/EFI/BOOT/{name}"])
    words = ["-as", "mkisofs", "-quiet", "-o", str(image), "-V", "NETBOOT"]
    words += ["--set_all_file_dates", f"={EPOCH}"]
    words += ["-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat"]
    words += ["-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]
    record = packages.file_of("isolinux", unpacked, "usr/lib/ISOLINUX/isohdpfx.bin")
    words += ["-isohybrid-mbr", str(record)]
    words += ["-eltorito-alt-boot", "-e", "efi.img", "-no-emul-boot", "-isohybrid-gpt-basdat"]
    tool(["xorriso", *words, str(tree)])
