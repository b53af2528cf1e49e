"""The versions of root images that this server keeps.

``FOLDER/NAME/SHORT.img`` is an image, ``SHORT.tree`` its hash tree and ``SHORT.json`` its manifest,
where SHORT begins the SHA-256 of the image. The link ``NAME/current`` names the manifest of the
version that the next boots get. A manifest is written last, so a version without one is not
whole: nobody sees it, and the next writer removes it. Files are never changed, so PCs that run a
version are safe from all that is done here, except from ``remove``.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from netboot.errors import OperatorError
from netboot.host.files import READABLE, replace_file, replace_link
from netboot.profile.reading import nearest
from netboot.roots import manifest
from netboot.roots.manifest import Manifest

DEFAULT_FOLDER = Path("/var/lib/netboot/roots")
CURRENT = "current"
LOCK_FILE = ".lock"
MANIFEST_SUFFIX, IMAGE_SUFFIX, TREE_SUFFIX = ".json", ".img", ".tree"


@dataclass(frozen=True, slots=True)
class Version:
    """One version: its manifest, and the folder of its files."""

    folder: Path
    manifest: Manifest

    @property
    def image(self) -> Path:
        """The path of the image."""
        return self.folder / f"{self.manifest.short}{IMAGE_SUFFIX}"

    @property
    def tree(self) -> Path:
        """The path of its hash tree."""
        return self.folder / f"{self.manifest.short}{TREE_SUFFIX}"

    @property
    def label(self) -> str:
        """Return its name for people: kiosk@20261120-140900."""
        return f"{self.manifest.name}@{self.manifest.stamp}"


class Library:
    """All versions of all root images below one folder. Reading needs no lock and no room."""

    def __init__(self, folder: Path = DEFAULT_FOLDER) -> None:
        self.folder = folder

    def names(self) -> tuple[str, ...]:
        """Return the names of all images that have a version."""
        with contextlib.suppress(OSError):
            return tuple(sorted(each.name for each in self.folder.iterdir() if _manifests(each)))
        return ()

    def versions(self, name: str) -> tuple[Version, ...]:
        """Return the versions of an image, the newest one first. A damaged manifest is left out."""
        found = [_read(path) for path in _manifests(self.folder / name)]
        whole = [each for each in found if each is not None]
        return tuple(sorted(whole, key=lambda each: each.manifest.created, reverse=True))

    def current(self, name: str) -> Version | None:
        """Return the version that the next boots get; None if there is none."""
        try:
            target = (self.folder / name / CURRENT).readlink()
        except OSError:
            return None
        return _read(self.folder / name / target.name)

    def with_digest(self, name: str, short: str) -> Version | None:
        """Return the version of an image whose digest begins with all of ``short``, or None."""
        return _read(self.folder / name / f"{short}{MANIFEST_SUFFIX}")

    def find(self, text: str) -> Version:
        """Return the version ``NAME``, ``NAME@TIME`` or ``NAME@DIGEST``, of which a part will do.

        ``NAME`` alone is the current version. Raises OperatorError.
        """
        name, at, wanted = text.partition("@")
        versions = self.versions(name) if name else ()
        if not versions:
            raise OperatorError(
                f"there is no root image '{name}' in {self.folder}", hint=self.remedy(name)
            )
        if not at:
            return self.current(name) or versions[0]
        fitting = [each for each in versions if _has(each, wanted)]
        if len(fitting) == 1:
            return fitting[0]
        listed = ", ".join(each.label for each in fitting or versions)
        problem = "several versions begin so" if fitting else "there is no such version"
        raise OperatorError(f"{text}: {problem}", hint=f"expected one of {listed}")

    def remedy(self, name: str) -> str:
        """Return what to do about an image that is not there: the nearest name, or a build."""
        guess = nearest(name, dict.fromkeys(self.names()))
        return f"did you mean '{guess}'?" if guess else f"sudo netboot image build {name}"

    def add(self, made: Manifest, image: Path, tree: Path) -> Version:
        """Move an image and its hash tree in, and let the next boots get them. Keep all others.

        Both files must be on the file system of the folder. Raises OSError; the versions that
        were there are as before.
        """
        folder = self.folder / made.name
        version = Version(folder, made)
        with self.alone(made.name):
            for source, target in ((image, version.image), (tree, version.tree)):
                source.chmod(READABLE)
                _sync(source)
                source.replace(target)
            path = folder / f"{made.short}{MANIFEST_SUFFIX}"
            replace_file(path, manifest.dump(made), durable=True)
            replace_link(folder / CURRENT, path.name)
            _sync(folder)
        return version

    def use(self, version: Version) -> None:
        """Let the next boots get ``version``. Raises OSError."""
        with self.alone(version.manifest.name):
            replace_link(version.folder / CURRENT, f"{version.manifest.short}{MANIFEST_SUFFIX}")
            _sync(version.folder)

    def note_ram(self, version: Version, mebibytes: int) -> Version:
        """Note that a version was tried with that much RAM, if it is less than before. Raises OSError.

        A version that was removed meanwhile stays so.
        """
        path = version.folder / f"{version.manifest.short}{MANIFEST_SUFFIX}"
        with self.alone(version.manifest.name):
            found = _read(path)
            if found is None or 0 < found.manifest.ram_tried <= mebibytes:
                return found or version
            noted = replace(found, manifest=replace(found.manifest, ram_tried=mebibytes))
            replace_file(path, manifest.dump(noted.manifest), durable=True)
        return noted

    def remove(self, version: Version) -> None:
        """Remove a version's files. Raises OSError, and OperatorError for the current one."""
        if self.current(version.manifest.name) == version:
            raise OperatorError(f"{version.label} is what the next boots get")
        with self.alone(version.manifest.name):
            (version.folder / f"{version.manifest.short}{MANIFEST_SUFFIX}").unlink()

    @contextlib.contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Keep other writers of an image away, and remove what they left half done. Raises OSError."""
        folder = self.folder / name
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        with (folder / LOCK_FILE).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                _remove_parts(folder)


def _manifests(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{MANIFEST_SUFFIX}"))


def _read(path: Path) -> Version | None:
    """Return the version of a manifest file; None if it is damaged, or of another version."""
    try:
        found = Version(path.parent, manifest.parse(path.read_bytes()))
    except (OSError, ValueError):
        return None
    named = found.manifest.short == path.stem and found.manifest.name == path.parent.name
    return found if named and found.image.is_file() else None


def _has(version: Version, text: str) -> bool:
    given = version.manifest.stamp, version.manifest.digest
    return bool(text) and any(each.startswith(text) for each in given)


def _remove_parts(folder: Path) -> None:
    whole = {path.stem for path in _manifests(folder)}
    for suffix in (IMAGE_SUFFIX, TREE_SUFFIX):
        for path in folder.glob(f"*{suffix}"):
            if path.stem not in whole:
                path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
