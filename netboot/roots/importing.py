"""``netboot image import``: a system that others made -> a version in the library.

A folder, an archive, an image of a file system, or an OCI archive. It is checked and packed as one of
ours: it has an init and drivers, and its secrets are removed. Its programs and settings stay, but for
units that a seat has no use for.
"""

import shutil
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

from netboot.errors import OperatorError
from netboot.images.progress import Progress
from netboot.profile import reading
from netboot.roots import layers, tidy
from netboot.roots.build import Made, add, check_root
from netboot.roots.definition import NAME, Definition
from netboot.roots.dressing import UNITS, mask
from netboot.roots.format import detect
from netboot.roots.library import Library
from netboot.roots.manifest import Manifest
from netboot.roots.recipes import recipe
from netboot.roots.running import follow
from netboot.roots.scratch import scratch

OCI = "oci:"
BLOCK_BYTES = 512
# Neither devices nor programs with another user's rights work while the image is mounted here.
MOUNTED = 'mount -o loop,ro,nosuid,nodev "$1" "$2" && exec cp -a --sparse=auto "$2/." "$3"'
KINDS = "a folder, a tar archive, a squashfs, EROFS or ext4 image, or oci:FILE"


def import_system(
    name: str, source: str, library: Library, progress: Progress, *, format: str = "erofs"
) -> Made:
    """Make what ``source`` holds the current version of the image ``name``.

    ``source``: see KINDS. Raises OperatorError and OSError; the library is as before then.
    """
    check_root()
    try:
        reading.matched(NAME, name)
    except ValueError:
        raise OperatorError(
            f"'{name}' cannot be an image's name", hint="such as kiosk or room-12"
        ) from None
    path = Path(source.removeprefix(OCI)).absolute()
    unpack = _unpacker(source, path)
    with scratch(library.folder) as folder:
        root = folder / "root"
        root.mkdir()
        progress.step(f"copying {path.name}")
        unpack(path, folder, root)
        told = tidy.strip_secrets(root)
        tidy.remove_leftovers(root)
        mask(root, UNITS, recipe(Definition(screen="none"), "").mask)
        kept = f"{OCI if source.startswith(OCI) else ''}{path}"
        made = Manifest(name, "", int(time.time()), format, 0, 0, "", source=kept)
        return Made(add(root, made, folder, library, progress), new=True, told=told)


Unpacker = Callable[[Path, Path, Path], None]  # of a source, with a scratch folder, into a folder


def _unpacker(source: str, path: Path) -> Unpacker:
    """Return what unpacks a source. Raises OperatorError for what none can."""
    if not path.exists():
        hint = f"expected {KINDS}"
        raise OperatorError(f"there is no {path}", hint=hint)
    if source.startswith(OCI):
        return _unpack_oci
    if path.is_dir():
        return _copy
    format = detect(path)
    if format:
        return _unpack_squashfs if format == "squashfs" else _mount
    with path.open("rb") as file:
        head = file.read(BLOCK_BYTES)
    if head[510:] == b"\x55\xaa":
        raise OperatorError(
            f"{path}: a disk with partitions: one file system is expected",
            hint="losetup -fP --show FILE, mount its partition, and import that folder",
        )
    if tarfile.is_tarfile(path):
        return _unpack_tar
    raise OperatorError(f"{path}: neither an archive nor an image", hint=f"expected {KINDS}")


def _copy(path: Path, folder: Path, root: Path) -> None:
    if path == Path("/") or root.is_relative_to(path):
        raise OperatorError(f"{path} contains the library", hint="import another folder")
    command = ["cp", "-a", "--one-file-system", "--sparse=auto", f"{path}/.", str(root)]
    follow(command, problem=f"{path} cannot be copied")


def _unpack_tar(path: Path, folder: Path, root: Path) -> None:
    command = ["tar", "--numeric-owner", "-xpf", str(path), "-C", str(root)]
    follow(command, problem=f"{path} cannot be unpacked", package="tar")
    _enter_only_folder(root)


def _enter_only_folder(root: Path) -> None:
    """Move a system up that its archive has in one folder: ``./rootfs/etc``."""
    inside = list(root.iterdir())
    if len(inside) == 1 and not inside[0].is_symlink() and (inside[0] / "etc").is_dir():
        aside = inside[0].rename(root.with_name("inside"))
        root.rmdir()
        aside.rename(root)


def _unpack_squashfs(path: Path, folder: Path, root: Path) -> None:
    command = ["unsquashfs", "-force", "-no-progress", "-no-xattrs", "-dest", str(root), str(path)]
    problem = f"{path} cannot be unpacked"
    follow(command, problem=problem, package="squashfs-tools", errors="(?i)^(fatal )?error|failed")


def _mount(path: Path, folder: Path, root: Path) -> None:
    place = folder / "mounted"
    place.mkdir()
    command = ["sh", "-euc", MOUNTED, "sh", str(path), str(place), str(root)]
    follow(command, problem=f"{path} cannot be mounted and copied", package="mount")
    shutil.rmtree(root / "lost+found", ignore_errors=True)


def _unpack_oci(path: Path, folder: Path, root: Path) -> None:
    layers.unpack(path, root)
