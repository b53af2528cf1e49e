"""The part of a build for one processor: the kernel, the full initramfs and its slices."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from netboot.boot import cpio, slices
from netboot.boot.arch import IPXE
from netboot.boot.plan import INITRAMFS_FILE, KERNEL_FILE, STUB_FILE
from netboot.boot.slices import Catalogue
from netboot.errors import OperatorError
from netboot.images import compiler, drivers, initramfs, kernel, packages, releases
from netboot.images.cache import Cache
from netboot.images.compiler import Compiler
from netboot.images.divide import divide
from netboot.images.kernel import Firmware, Kernel
from netboot.images.modules import Module
from netboot.images.packages import Apt, Package
from netboot.images.progress import Progress
from netboot.profile.processors import Processor

DESCRIPTION_FILE = "part.json"
BUSYBOX = "busybox-static"
STUB = "systemd-boot-efi"
EITHER = " or "
NO_KERNEL = "set boot.kernel to a package of that release such as linux-image-amd64/trixie"


class Sources:
    """The origins of packages: this host's apt, and others for firmware, iPXE and other processors.

    All have package lists of their own. ``complaints`` lists those that could not be refreshed.
    """

    def __init__(self, cache: Cache, progress: Progress) -> None:
        self.complaints: list[str] = []
        self._cache = cache
        self._progress = progress
        self.host = Apt(cache.path / "apt")
        if not packages.is_supported():
            self.complaints.append(f"{packages.MADE_FOR}; this is {packages.system()}")
        self._foreign: dict[str, Apt] = {}

    @cached_property
    def firmware(self) -> tuple[Apt, dict[str, Package]]:
        """The apt that knows the firmware packages, and these packages by name."""
        folder = self._cache.path / "apt-firmware"
        apt, complaint = packages.firmware_apt(self.host, folder, self._progress)
        names = {name for row in drivers.FIRMWARE_PACKAGES.values() for name in row}
        found = apt.show(sorted(names))
        if complaint and not found:
            self.complaints.append(f"Debian's firmware packages cannot be found: {complaint}")
        return apt, found

    @cached_property
    def newest(self) -> Apt | None:
        """The apt that knows the newest release's iPXE; None if that is the host's, or not found."""
        folder = self._cache.path / "apt-newest"
        apt, complaint = releases.newest_apt(self.host, folder, self._progress)
        if apt is None or apt.show([IPXE]):
            return apt
        self.without_newest(complaint or f"the mirror has no package {IPXE}")
        return None

    def without_newest(self, why: str) -> None:
        """Note that the newest release's iPXE cannot be had."""
        self.complaints.append(
            f"no iPXE of Debian {releases.NEWEST}, PCs get that of this machine's release: {why}"
        )

    def of(self, processor: Processor) -> Apt:
        """Return the apt that knows the packages for a processor."""
        if processor.name == self.host.architecture():
            return self.host
        if processor.name not in self._foreign:
            folder = self._cache.path / f"apt-{processor.name}"
            apt, complaint = packages.foreign_apt(self.host, processor.name, folder, self._progress)
            self._foreign[processor.name] = apt
            if complaint:
                self.complaints.append(
                    f"package lists of {processor.name} cannot be refreshed: {complaint}"
                )
        return self._foreign[processor.name]

    def kernel(self, processor: Processor, wanted: str) -> tuple[Apt, Package]:
        """Return the package with the kernel ``wanted``, and the apt that knows it.

        ``wanted`` is a package or PACKAGE/RELEASE, which apt-get(8) writes so too. Raises
        OperatorError.
        """
        name, _, release = wanted.partition("/")
        apt, hint = self.of(processor), _without(processor)
        if release and release != releases.own_release():
            folder = self._cache.path / f"apt-{release}-{processor.name}"
            apt, complaint = releases.kernel_apt(
                self.host, release, processor, folder, self._progress
            )
            hint = hint or NO_KERNEL
            if complaint:
                self.complaints.append(
                    f"package lists of Debian {release} cannot be refreshed: {complaint}"
                )
        return apt, kernel.kernel_package(apt, apt.need([name], hint)[name])

    def compiler(self, processor: Processor) -> Compiler:
        """Return the compiler for a processor. Raises OperatorError."""
        if processor.name == self.host.architecture():
            return compiler.native()
        return compiler.cross(processor, self.of(processor), self._cache, self._progress)


@dataclass(frozen=True, slots=True)
class Part:
    """The ingredients of a part, found without downloading anything but package lists.

    ``sources`` has no firmware if Debian's component for it cannot be reached. ``apt`` knows the
    ``programs``, ``kernel_apt`` the kernel, which may be of another release.
    """

    processor: Processor
    sources: Sources
    apt: Apt
    kernel_apt: Apt
    kernel: Package | Path
    programs: dict[str, Package]
    compiler: Compiler
    key: str


def find(processor: Processor, wanted: str, sources: Sources) -> Part:
    """Return the part with the kernel ``wanted``: a path, or see ``Sources.kernel``.

    Raises OperatorError.
    """
    compiler, apt = sources.compiler(processor), sources.of(processor)
    kernel_apt, image = apt, None
    if wanted.startswith("/"):
        origin = digest(Path(wanted))
    else:
        kernel_apt, image = sources.kernel(processor, wanted)
        origin = f"{image.name} {image.version}"
    programs = apt.need([BUSYBOX, *([STUB] if processor.stub else [])])
    ingredients = [
        processor.name,
        origin,
        *(
            f"{each.name} {each.version}"
            for each in (*programs.values(), *sources.firmware[1].values())
        ),
        compiler.version,
        initramfs.source_digest(initramfs.sources()),
        initramfs.source_digest(Path(__file__).parent, "*.py"),
        initramfs.source_digest(Path(cpio.__file__).parent, "cpio.py"),
    ]
    key = hashlib.sha256("\n".join(ingredients).encode()).hexdigest()[:32]
    linux = image or Path(wanted)
    return Part(processor, sources, apt, kernel_apt, linux, programs, compiler, key)


def _without(processor: Processor) -> str:
    """Return the remedy if Debian has no kernel for this processor, empty if it always has one."""
    last, name = processor.last_release, processor.name
    if not last:
        return ""
    return (
        f"Debian {last} is the last one with a kernel for {name}: build there, "
        f"or leave {name} out of boot.architectures"
    )


def made(part: Part, cache: Cache, progress: Progress) -> tuple[Path, dict[str, Any]]:
    """Return a folder in the cache with the part's files, and their description."""
    folder = cache.folder("parts", part.key, lambda to: _make(part, to, cache, progress))
    description: dict[str, Any] = json.loads((folder / DESCRIPTION_FILE).read_text())
    return folder, description


def _make(part: Part, folder: Path, cache: Cache, progress: Progress) -> None:
    if isinstance(part.kernel, Package):
        linux = kernel.from_package(part.kernel_apt, part.kernel, cache, progress)
    else:
        linux = kernel.from_path(part.kernel, cache, progress)
    firmware = _firmware(part.sources, linux, cache, progress)
    shutil.copyfile(linux.folder / kernel.VMLINUZ, folder / KERNEL_FILE)
    with cache.scratch() as scratch:
        for package in part.programs.values():
            packages.unpack(part.apt.download(package, scratch, progress), scratch)
        busybox = packages.file_of(BUSYBOX, scratch, "usr/bin/busybox").read_bytes()
        if part.processor.stub:
            place = f"usr/lib/systemd/boot/efi/{part.processor.stub}"
            shutil.copyfile(packages.file_of(STUB, scratch, place), folder / STUB_FILE)
    progress.step(f"packing the initramfs for {part.processor.name}")
    sources = initramfs.sources()
    agent = initramfs.agent(sources, part.compiler, cache)
    common = list(initramfs.records(sources, busybox, agent, linux))
    common.append(initramfs.build_record(part.key))
    rows, contents = {}, {}
    sliced = divide(linux.modules, linux.builtin) if part.processor.sliced else ()
    for name, row, chosen in sliced:
        rows[name] = replace(row, lacks=_lacks(chosen, firmware))
        contents[slices.file_of(name)] = chosen
    progress.step("compressing the initramfs and its slices (about 15 s)")

    def compress(name: str, chosen: tuple[Module, ...]) -> None:
        records = list(initramfs.module_records(linux, firmware, chosen))
        if name in (INITRAMFS_FILE, slices.file_of(slices.BASE)):
            records += common
        archive = cpio.archive([*records, initramfs.sums(name, part.key, records)])
        (folder / name).write_bytes(initramfs.compressed(archive))

    files = {INITRAMFS_FILE: linux.modules, **contents}
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each zstd uses one core
        for number, _ in enumerate(pool.map(compress, files.keys(), files.values()), start=1):
            progress.advance(number, len(files))
    catalogue = Catalogue(rows, linux.left_out)
    description = _description(part, linux, firmware) | catalogue.as_json()
    (folder / DESCRIPTION_FILE).write_text(json.dumps(description))


def _firmware(sources: Sources, linux: Kernel, cache: Cache, progress: Progress) -> Firmware:
    apt, found = sources.firmware
    folders = {
        name: kernel.firmware_folder(apt, package, cache, progress)
        for name, package in found.items()
    }

    def find(name: str) -> bytes | None:
        paths = [folders[each] / name for each in _firmware_packages(name) if each in folders]
        return next((path.read_bytes() for path in paths if path.is_file()), None)

    return kernel.firmware_of(linux.modules, find)


def _lacks(chosen: Iterable[Module], firmware: Firmware) -> tuple[tuple[str, str], ...]:
    """Return the firmware that modules request and the build lacks, each with its package."""
    names = {name for module in chosen for name in firmware.missing.get(module.name, ())}
    return tuple((name, _firmware_words(name)) for name in sorted(names))


def _firmware_packages(name: str) -> tuple[str, ...]:
    """Return the packages that may have the firmware file ``name``."""
    rows = drivers.FIRMWARE_PACKAGES.items()
    return next((packages for prefix, packages in rows if name.startswith(prefix)), ())


def _firmware_words(name: str) -> str:
    """Return the same for people, empty if no package has it."""
    return EITHER.join(_firmware_packages(name))


def _description(part: Part, linux: Kernel, firmware: Firmware) -> dict[str, Any]:
    own = [part.kernel] if isinstance(part.kernel, Package) else []
    used = [*own, *part.programs.values(), *part.sources.firmware[1].values()]
    return {
        "kernel": linux.version,
        "compiler": part.compiler.version,
        "packages": dict(sorted((package.name, package.version) for package in used)),
        "modules": [module.name for module in linux.modules],
        "firmware": sorted(firmware.files),
        "firmware_missing": {
            module: [{"file": name, "package": _firmware_words(name)} for name in names]
            for module, names in sorted(firmware.missing.items())
        },
    }


def without_firmware(description: dict[str, Any]) -> tuple[str, ...]:
    """Return one line for each package that drivers need and that was not available."""
    lacking: dict[str, list[str]] = {}
    for module, files in description["firmware_missing"].items():
        for package in {file["package"] for file in files} - {""}:
            if not set(package.split(EITHER)) & set(description["packages"]):
                lacking.setdefault(package, []).append(module)
    return tuple(
        f"no firmware for {', '.join(names)}: Debian's package {package} is not available"
        for package, names in sorted(lacking.items())
    )


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal. Raises OperatorError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}") from error
