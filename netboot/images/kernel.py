"""The kernel, its modules and their firmware: from Debian's packages or from the host."""

import hashlib
import json
import lzma
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from netboot.errors import OperatorError
from netboot.images import drivers, modules, packages
from netboot.images.cache import Cache
from netboot.images.modules import Module
from netboot.images.packages import Apt, Package
from netboot.images.progress import Progress

VMLINUZ = "vmlinuz"
BUILTIN = "modules.builtin"
LEFT_OUT = "left-out.json"


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel and the modules chosen for the initramfs.

    ``folder`` holds ``vmlinuz``, ``modules.builtin`` and the modules at their paths; ``builtin``
    are the names in modules.builtin. ``left_out``: drivers of network cards that the kernel has and
    that were not chosen, with the PCI ids of their cards.
    """

    version: str
    folder: Path
    modules: tuple[Module, ...]
    builtin: frozenset[str]
    left_out: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Firmware:
    """Firmware for the chosen modules.

    ``files``: contents by name below /lib/firmware. ``missing``: names by the module that requests
    them.
    """

    files: dict[str, bytes]
    missing: dict[str, tuple[str, ...]]


def kernel_package(apt: Apt, package: Package) -> Package:
    """Return the package with the kernel itself: ``linux-image-amd64`` only depends on it.

    Raises OperatorError.
    """
    depends = re.search(r"\b(linux-image-[0-9]\S*)", package.depends)
    if depends is None:
        return package
    return apt.need([depends[1]])[depends[1]]


def from_package(apt: Apt, package: Package, cache: Cache, progress: Progress) -> Kernel:
    """Return the kernel in ``package``. Raises OperatorError."""

    def make(folder: Path) -> None:
        with cache.scratch() as scratch:
            deb = apt.download(package, scratch, progress)
            progress.step(f"unpacking {package.name}")
            packages.unpack(deb, scratch)
            images = list(scratch.glob("boot/vmlinuz-*"))
            if not images:
                raise OperatorError(
                    f"the package {package.name} contains no kernel",
                    hint="set boot.kernel to a package such as linux-image-amd64",
                )
            tree = packages.file_of(
                package.name, scratch, f"usr/lib/modules/{image_version(images[0])}"
            )
            _select(images[0], tree, folder, progress)

    return _read(cache.folder("kernel", f"{package.name}_{package.version}_{_selection()}", make))


def from_path(path: Path, cache: Cache, progress: Progress) -> Kernel:
    """Return the kernel image ``path`` and its modules.

    The modules are in lib/modules in the kernel's folder, in the folder above, or of this host.
    Raises OperatorError.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise OperatorError(f"kernel {path}: {error.strerror}") from error
    version = image_version(path)
    roots = [path.absolute().parent, path.absolute().parent.parent, Path("/")]
    root = next((root for root in roots if (root / "lib/modules" / version).is_dir()), None)
    if root is None:
        raise OperatorError(
            f"kernel {path} needs modules of version {version}: they are not in /lib/modules",
            hint="put lib/modules beside the kernel, or set boot.kernel to linux-image-amd64",
        )
    tree = root / "lib/modules" / version
    return _read(
        cache.folder(
            "kernel",
            f"{digest}_{_selection()}",
            lambda folder: _select(path, tree, folder, progress),
        )
    )


def image_version(path: Path) -> str:
    """Return the output of ``uname -r`` under this kernel image.

    Linux x86 boot protocol (Documentation/arch/x86/boot.rst): "HdrS" is at 0x202, the offset of the
    version's text at 0x20E, less 0x200. Documentation/arm64/booting.rst: "ARMd" is at 0x38; only
    the kernel's greeting has the version (init/version.c). Raises OperatorError if this is no
    kernel.
    """
    image = path.read_bytes()
    greeting = re.search(rb"Linux version ([!-~]+)", image) if image[0x38:0x3C] == b"ARMd" else None
    if greeting is not None:
        return greeting[1].decode()
    if image[0x202:0x206] != b"HdrS":
        raise OperatorError(f"{path} is not a Linux kernel for PCs")
    start = int.from_bytes(image[0x20E:0x210], "little") + 0x200
    return image[start:].partition(b" ")[0].decode("ascii", "replace")


def _selection() -> str:
    """Return a digest of the sources that choose modules: it changes if the choice may change."""
    sources = (Path(drivers.__file__), Path(modules.__file__), Path(__file__))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


def _select(image: Path, tree: Path, folder: Path, progress: Progress) -> None:
    """Copy the kernel and the chosen ones of its modules in ``tree`` into ``folder``."""
    progress.step("choosing kernel modules")
    everything = {}
    paths = sorted(path for path in tree.glob("kernel/**/*") if ".ko" in path.suffixes)
    for number, path in enumerate(paths, start=1):
        name = str(path.relative_to(tree))
        module = modules.parse(name, module_content(path))
        everything[module.name] = module
        if number % 100 == 0:
            progress.advance(number, len(paths))
    builtin = (tree / BUILTIN).read_text()
    names = modules.names(builtin)
    wanted = [
        module.name
        for module in everything.values()
        if modules.matches(module, drivers.INCLUDED, drivers.EXCLUDED)
    ]
    chosen = modules.closure(everything, names, wanted)
    for module in chosen:
        target = folder / _plain(module.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(module_content(tree / module.path))
    left_out = {
        module.name: modules.cards(module)
        for module in set(everything.values()).difference(chosen)
        if modules.matches(module, drivers.CARDS) and modules.cards(module)
    }
    (folder / LEFT_OUT).write_text(json.dumps(left_out, sort_keys=True))
    (folder / BUILTIN).write_text(builtin)
    shutil.copyfile(image, folder / VMLINUZ)


def _plain(path: str) -> str:
    return path.removesuffix(".xz")


def module_content(path: Path) -> bytes:
    """Return a module's ELF file. busybox does not decompress modules, so the build does.

    Raises OperatorError for a compression other than xz.
    """
    content = path.read_bytes()
    if path.suffix == ".ko":
        return content
    if path.suffix == ".xz":
        return lzma.decompress(content)
    raise OperatorError(f"{path}: unknown compression: modules must be plain or xz-compressed")


def _read(folder: Path) -> Kernel:
    paths = sorted(str(path.relative_to(folder)) for path in folder.glob("kernel/**/*.ko"))
    chosen = tuple(modules.parse(path, (folder / path).read_bytes()) for path in paths)
    builtin = modules.names((folder / BUILTIN).read_text())
    left_out = json.loads((folder / LEFT_OUT).read_text())
    return Kernel(
        image_version(folder / VMLINUZ),
        folder,
        chosen,
        builtin,
        {name: tuple(cards) for name, cards in left_out.items()},
    )


def firmware_of(chosen: tuple[Module, ...], find: Callable[[str], bytes | None]) -> Firmware:
    """Return the firmware that modules request; ``find`` returns a file's content, or None."""
    files, missing = {}, {}
    for module in chosen:
        found = {name: find(name) for name in module.firmware}
        files.update({name: content for name, content in found.items() if content is not None})
        if lost := tuple(name for name, content in found.items() if content is None):
            missing[module.name] = lost
    return Firmware(files, missing)


def firmware_folder(apt: Apt, package: Package, cache: Cache, progress: Progress) -> Path:
    """Return a folder with those files of a firmware package that modules may request.

    A release of Debian may have some of them in another package.
    """

    def make(folder: Path) -> None:
        with cache.scratch() as scratch:
            packages.unpack(apt.download(package, scratch, progress), scratch)
            for prefix, names in drivers.FIRMWARE_PACKAGES.items():
                found = scratch / "usr/lib/firmware" / prefix
                if package.name in names and found.is_dir():
                    shutil.copytree(found, folder / prefix)

    return cache.folder("firmware", f"{package.name}_{package.version}_{_selection()}", make)
