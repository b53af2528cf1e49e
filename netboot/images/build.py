"""``netboot build``: kernel, initramfs, boot loaders and a manifest in one folder.

A build is named by a key: the digest of everything that goes in. A folder that already holds the
build of this key is left as it is; a build that the cache holds is copied.
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netboot import slices
from netboot.arch import LOADERS
from netboot.errors import OperatorError
from netboot.images import cpio, drivers, initramfs, kernel, packages
from netboot.images.cache import Cache, default_cache
from netboot.images.divide import divide
from netboot.images.kernel import Firmware, Kernel
from netboot.images.packages import Apt, Package
from netboot.images.progress import Progress
from netboot.plan import INITRAMFS_FILE, KERNEL_FILE
from netboot.profile import Profile
from netboot.slices import Catalogue

__all__ = [
    "INITRAMFS_FILE",
    "KERNEL_FILE",
    "LOAD_FILE",
    "MANIFEST_FILE",
    "Built",
    "build",
    "build_load_image",
    "default_cache",
]

MANIFEST_FILE = "manifest.json"
LOAD_FILE = "load.img"
PROGRAMS = ("busybox-static", "ipxe")  # the packages whose programs go in


@dataclass(frozen=True, slots=True)
class Built:
    """A finished build: where it is, what its manifest says, what the operator should know."""

    folder: Path
    manifest: dict[str, Any]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What a build is made of, found out without downloading anything but package lists.

    ``kernel`` is a package or the path of an image. ``firmware`` is empty if Debian's component
    for it cannot be reached.
    """

    host: Apt
    apart: Apt
    kernel: Package | Path
    programs: dict[str, Package]
    firmware: dict[str, Package]
    key: str


def build(profile: Profile, output: Path, cache: Path, progress: Progress) -> Built:
    """Makes ``output`` hold the images of ``profile``; the same ingredients give the same bytes.

    Raises OperatorError.
    """
    store = Cache(cache)
    with store.alone(progress):
        progress.step("looking for packages")
        found, warnings = _ingredients(profile.boot.kernel, store, progress)
        manifest = _held(output, found.key)
        if manifest is None:
            made = store.folder("builds", found.key, lambda to: _make(found, to, store, progress))
            _copy(made, output)
            manifest = json.loads((output / MANIFEST_FILE).read_text())
    return Built(output, manifest, (*warnings, *_without_firmware(manifest)))


def build_load_image(cache: Path) -> Path:
    """``load.img``: a second initrd with the memory load of ``netboot lab --load``.

    Raises OperatorError.
    """
    store, folder = Cache(cache), initramfs.sources()
    with store.alone(_Silent()):
        archive = cpio.archive(initramfs.load_records(folder, store))
        key = hashlib.sha256(archive).hexdigest()[:32]

        def make(target: Path) -> None:
            (target / LOAD_FILE).write_bytes(initramfs.compressed(archive))

        return store.folder("load", key, make) / LOAD_FILE


class _Silent:
    """Progress of work that takes no second."""

    def step(self, text: str) -> None:
        pass

    def advance(self, done: int, total: int) -> None:
        pass


def _ingredients(
    wanted: str, cache: Cache, progress: Progress
) -> tuple[Ingredients, tuple[str, ...]]:
    host = Apt(cache.path / "apt")
    apart, complaint = packages.firmware_apt(host, cache.path / "apt-firmware", progress)
    firmware = apart.show(sorted(set(drivers.FIRMWARE_PACKAGES.values())))
    image: Package | Path
    if "/" in wanted:
        programs, image = host.need(PROGRAMS), Path(wanted)
        origin = _digest(image)
    else:
        programs = host.need([*PROGRAMS, wanted])
        image = kernel.kernel_package(host, programs.pop(wanted))
        origin = f"{image.name} {image.version}"
    parts = [
        origin,
        *LOADERS,
        *(f"{package.name} {package.version}" for package in _by_name(programs, firmware)),
        initramfs.compiler_version(),
        initramfs.source_digest(initramfs.sources()),
        initramfs.source_digest(Path(__file__).parent, "*.py"),
    ]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    warnings = (f"no firmware packages: {complaint}",) if complaint and not firmware else ()
    return Ingredients(host, apart, image, programs, firmware, key), warnings


def _make(found: Ingredients, folder: Path, cache: Cache, progress: Progress) -> None:
    """Fills ``folder`` with a build."""
    if isinstance(found.kernel, Package):
        linux = kernel.from_package(found.host, found.kernel, cache, progress)
    else:
        linux = kernel.from_path(found.kernel, cache, progress)
    firmware = _firmware(found, linux, cache, progress)
    shutil.copyfile(linux.folder / kernel.VMLINUZ, folder / KERNEL_FILE)
    sources = initramfs.sources()
    with cache.scratch() as scratch:
        for package in found.programs.values():
            packages.unpack(found.host.download(package, scratch, progress), scratch)
        for loader in LOADERS:
            # Of those in /boot /usr/lib/ipxe has absolute links: they lead out of the package.
            places = (scratch / "boot" / loader, scratch / "usr/lib/ipxe" / loader)
            shutil.copyfile(next(path for path in places if path.is_file()), folder / loader)
        progress.step("packing the initramfs")
        busybox, agent = scratch / "bin/busybox", initramfs.agent(sources, cache)
        common = list(initramfs.records(sources, busybox, agent, linux))
    rows, contents = {}, {}
    for name, row, chosen in divide(linux.modules, linux.builtin):
        rows[name] = row
        contents[slices.file_of(name)] = chosen
    progress.step("compressing the initramfs, whole and in slices (30 s or so)")
    for number, (name, chosen) in enumerate({INITRAMFS_FILE: linux.modules, **contents}.items(), 1):
        own = initramfs.module_records(linux, firmware, chosen)
        whole = name in (INITRAMFS_FILE, slices.file_of(slices.BASE))
        archive = cpio.archive([*(common if whole else ()), *own])
        (folder / name).write_bytes(initramfs.compressed(archive))
        progress.advance(number, len(contents) + 1)
    manifest = _manifest(found, linux, firmware, folder) | {"slices": Catalogue(rows).as_json()}
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n")


def _firmware(found: Ingredients, linux: Kernel, cache: Cache, progress: Progress) -> Firmware:
    folders = {
        name: kernel.firmware_folder(found.apart, package, cache, progress)
        for name, package in found.firmware.items()
    }

    def find(name: str) -> bytes | None:
        package = _firmware_package(name)
        path = folders.get(package, Path()) / name
        return path.read_bytes() if package in folders and path.is_file() else None

    return kernel.firmware_of(linux.modules, find)


def _firmware_package(name: str) -> str:
    """The package that ships the firmware file ``name``, empty if none does."""
    rows = drivers.FIRMWARE_PACKAGES.items()
    return next((package for prefix, package in rows if name.startswith(prefix)), "")


def _manifest(
    found: Ingredients, linux: Kernel, firmware: Firmware, folder: Path
) -> dict[str, Any]:
    """What is in a build, for people and for checks. No times and no paths of this machine."""
    own = {found.kernel.name: found.kernel} if isinstance(found.kernel, Package) else {}
    used = _by_name(found.programs, found.firmware, own)
    return {
        "key": found.key,
        "kernel": linux.version,
        "compiler": initramfs.compiler_version(),
        "files": [_described(path) for path in sorted(folder.iterdir())],
        "packages": {package.name: package.version for package in used},
        "modules": [module.name for module in linux.modules],
        "firmware": sorted(firmware.files),
        "firmware_missing": {
            module: [{"file": name, "package": _firmware_package(name)} for name in names]
            for module, names in sorted(firmware.missing.items())
        },
    }


def _by_name(*groups: dict[str, Package]) -> list[Package]:
    return [package for _, package in sorted(item for group in groups for item in group.items())]


def _described(path: Path) -> dict[str, Any]:
    return {"name": path.name, "size": path.stat().st_size, "sha256": _digest(path)}


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}") from error


def _without_firmware(manifest: dict[str, Any]) -> tuple[str, ...]:
    """One line for each package that would help drivers and could not be had."""
    lacking: dict[str, list[str]] = {}
    for module, files in manifest["firmware_missing"].items():
        for package in {file["package"] for file in files} - {"", *manifest["packages"]}:
            lacking.setdefault(package, []).append(module)
    return tuple(
        f"no firmware for {', '.join(names)}: it is in {package}"
        for package, names in sorted(lacking.items())
    )


def _held(folder: Path, key: str) -> dict[str, Any] | None:
    """The manifest of the build ``key`` if ``folder`` holds all of it, unchanged."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST_FILE).read_text())
        held = manifest["key"] == key and all(
            _described(folder / file["name"]) == file for file in manifest["files"]
        )
    except (OSError, OperatorError, ValueError, KeyError, TypeError):
        return None  # none there, or one that was cut short
    return manifest if held else None


def _copy(made: Path, output: Path) -> None:
    """Copies a build; the manifest comes last, and no file is ever half written."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        for path in sorted(made.iterdir(), key=lambda path: path.name == MANIFEST_FILE):
            aside = output / f".{path.name}.new"
            shutil.copyfile(path, aside)
            aside.chmod(0o644)
            os.replace(aside, output / path.name)
    except OSError as error:
        raise OperatorError(f"{output} cannot be written: {error.strerror}") from error
