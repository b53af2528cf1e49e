"""``netboot build``: kernels, initramfs, boot loaders and a manifest in one folder.

The files for one processor are in a folder with its name (part.py), the loaders beside these
folders. A build's key is the digest of everything that goes into it. A folder that already holds
the build with this key stays as it is; parts that are in the cache are copied.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netboot.boot import cpio
from netboot.boot.arch import TOOLS, loaders_for
from netboot.boot.plan import INITRAMFS_FILE, KERNEL_FILE, STUB_FILE, image_name
from netboot.errors import OperatorError
from netboot.host.files import replace_file
from netboot.images import initramfs, packages, part
from netboot.images.cache import Cache, default_cache
from netboot.images.manifest import MANIFEST_FILE
from netboot.images.packages import Apt, Package
from netboot.images.part import DESCRIPTION_FILE, Part, Sources, digest
from netboot.images.progress import Progress
from netboot.profile.processors import AMD64, BY_NAME, Processor
from netboot.profile.profile import Profile

__all__ = [
    "INITRAMFS_FILE",
    "KERNEL_FILE",
    "LOAD_FILE",
    "MANIFEST_FILE",
    "STUB_FILE",
    "Built",
    "build",
    "build_load_image",
    "default_cache",
]

LOAD_FILE = "load.img"


@dataclass(frozen=True, slots=True)
class Built:
    """A finished build: its folder, its manifest, and warnings for the operator."""

    folder: Path
    manifest: dict[str, Any]
    warnings: tuple[str, ...]


def build(
    profile: Profile, output: Path, cache: Path, progress: Progress, *, waits: bool = True
) -> Built:
    """Make ``output`` hold the images of ``profile``; the same ingredients give the same bytes.

    Raises OperatorError; without ``waits`` also if another build runs.
    """
    store = Cache(cache)
    with store.alone(progress, waits=waits):
        progress.step("looking for packages")
        sources = Sources(store, progress)
        processors = [BY_NAME[name] for name in profile.boot.architectures]
        parts = [part.find(row, profile.boot.kernel_for(row), sources) for row in processors]
        manifest = _built(profile, parts, sources, output, store, progress)
    told = [part.without_firmware(each) for each in manifest["processors"].values()]
    told.append(_without_loaders(profile, manifest))
    warnings = [*sources.complaints, *(line for lines in told for line in lines)]
    return Built(output, manifest, tuple(dict.fromkeys(warnings)))


def _built(
    profile: Profile,
    parts: list[Part],
    sources: Sources,
    output: Path,
    store: Cache,
    progress: Progress,
) -> dict[str, Any]:
    """Make ``output`` hold the build and return its manifest. Raises OperatorError.

    If the newest release's loaders cannot be downloaded, those of this host's release are taken.
    """
    newest = sources.newest
    loaders = _loaders(profile, sources, newest)
    manifest = _held(output, _key(parts, loaders))
    if manifest is None and newest is not None:
        try:
            _fetched(loaders, store, progress)
        except OperatorError as error:
            sources.without_newest(str(error))
            loaders = _loaders(profile, sources, None)
            manifest = _held(output, _key(parts, loaders))
    if manifest is None:
        files, description = _made(parts, loaders, store, progress)
        manifest = {"key": _key(parts, loaders), "files": _described(files), **description}
        _copy(files, manifest, output)
    return manifest


def _without_loaders(profile: Profile, manifest: dict[str, Any]) -> tuple[str, ...]:
    """Return one line for each optional loader that a build has not."""
    there = {file["name"] for file in manifest["files"]}
    return tuple(
        f"no {name} in Debian's package {' or '.join(row.packages)} "
        f"{manifest['packages'].get(row.packages[0], '')}: PCs that need it begin with another loader"
        for name, row in loaders_for(profile.boot.architectures).items()
        if row.optional and name not in there
    )


def build_load_image(cache: Path, processor: Processor = AMD64) -> Path:
    """Return the path of ``load.img``: a second initrd with the load of ``netboot lab --load``.

    Raises OperatorError.
    """
    store, folder = Cache(cache), initramfs.sources()
    with store.alone(_Silent()):
        compiler = Sources(store, _Silent()).compiler(processor)
        archive = cpio.archive(initramfs.load_records(folder, compiler, store))
        how = " ".join(initramfs.COMPRESS).encode()
        key = hashlib.sha256(how + archive).hexdigest()[:32]

        def make(target: Path) -> None:
            (target / LOAD_FILE).write_bytes(initramfs.compressed(archive))

        return store.folder("load", key, make) / LOAD_FILE


class _Silent:
    """Progress of work that takes less than a second."""

    def step(self, text: str) -> None:
        pass

    def advance(self, done: int, total: int) -> None:
        pass


@dataclass(frozen=True, slots=True)
class _Loader:
    """A boot loader: the name under which it is served, and its origin."""

    name: str
    paths: tuple[str, ...]
    apt: Apt
    package: Package
    optional: bool


def _loaders(profile: Profile, sources: Sources, newest: Apt | None) -> list[_Loader]:
    """Return the loaders of all firmware that a profile's PCs may have, and the programs of its menu.

    Raises OperatorError.
    """
    found = []
    tools = TOOLS if "memtest" in profile.boot.menu.entries else {}
    for name, row in {**loaders_for(profile.boot.architectures), **tools}.items():
        apt = newest if newest is not None and row.newest else sources.of(row.processor)
        package = apt.need_one(row.packages)
        found.append(_Loader(name, row.paths, apt, package, row.optional))
    return found


def _key(parts: list[Part], loaders: list[_Loader]) -> str:
    ingredients = [f"{each.name} {each.package.version} {each.paths}" for each in loaders]
    ingredients += [each.key for each in parts]
    return hashlib.sha256("\n".join(ingredients).encode()).hexdigest()[:32]


def _fetched(loaders: list[_Loader], cache: Cache, progress: Progress) -> Path:
    """Return a folder in the cache with the loaders. Raises OperatorError."""

    def make(folder: Path) -> None:
        for package in {each.package.name: each for each in loaders}.values():
            with cache.scratch() as scratch:
                packages.unpack(package.apt.download(package.package, scratch, progress), scratch)
                for each in loaders:
                    if each.package != package.package:
                        continue
                    if each.optional and not any((scratch / path).exists() for path in each.paths):
                        continue
                    found = packages.file_of(package.package.name, scratch, *each.paths)
                    shutil.copyfile(found, folder / each.name)

    return cache.folder("loaders", _key([], loaders), make)


def _made(
    parts: list[Part], loaders: list[_Loader], cache: Cache, progress: Progress
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Return all files by their names in a build, and a description of its ingredients.

    The description is for people and for checks. It contains no times and no paths of this machine.
    """
    folder = _fetched(loaders, cache, progress)
    files, descriptions = {path.name: path for path in sorted(folder.iterdir())}, {}
    for each in parts:
        folder, description = part.made(each, cache, progress)
        descriptions[each.processor.name] = description
        files |= {
            image_name(each.processor.name, path.name): path
            for path in sorted(folder.iterdir())
            if path.name != DESCRIPTION_FILE
        }
    used = {each.package.name: each.package.version for each in loaders}
    return files, {"packages": used, "processors": descriptions}


def _described(files: dict[str, Path]) -> list[dict[str, Any]]:
    return [
        {"name": name, "size": path.stat().st_size, "sha256": digest(path)}
        for name, path in sorted(files.items())
    ]


def _held(folder: Path, key: str) -> dict[str, Any] | None:
    """Return the manifest of the build ``key`` if ``folder`` holds all of it, unchanged."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST_FILE).read_text())
        files = {file["name"]: folder / file["name"] for file in manifest["files"]}
        held = manifest["key"] == key and _described(files) == manifest["files"]
    except (OSError, OperatorError, ValueError, KeyError, TypeError):
        return None  # no build, or an incomplete one
    return manifest if held else None


def _copy(files: dict[str, Path], manifest: dict[str, Any], output: Path) -> None:
    """Copy a build to ``output``; the manifest comes last, and no file is ever half written."""

    def put(name: str, content: bytes) -> None:
        target = output / name
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, content)

    try:
        for name, path in files.items():
            put(name, path.read_bytes())
        put(MANIFEST_FILE, json.dumps(manifest, indent=2).encode() + b"\n")
    except OSError as error:
        raise OperatorError(f"{output} cannot be written: {error.strerror}") from error
