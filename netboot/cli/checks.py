"""The checks of paths and sizes before a server, a build or a connection begins.

Each raises OperatorError: one line with the place, what was expected and what was found.
"""

import contextlib
import errno
import os
import pwd
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from netboot.cli.common import DEFAULT_STATE
from netboot.errors import OperatorError
from netboot.profile.stores import StoreSpec

if TYPE_CHECKING:
    from netboot.images.manifest import Manifest
    from netboot.pages.stores.image import ImageFile
    from netboot.profile.profile import Profile

# Offset and bytes by which initramfs/image.sh knows a file system (the kernel's
# fs/squashfs/squashfs_fs.h, fs/erofs/erofs_fs.h; little-endian, as both are written).
SUPERBLOCKS = {"EROFS": (1024, b"\xe2\xe1\xf5\xe0"), "squashfs": (0, b"hsqs")}


def check_images(
    where: str, folder: Path, profile: Path | None = None, processors: Sequence[str] = ()
) -> None:
    """Check a folder of images: each file that its manifest lists has to be there, in full.

    So do the images for ``processors``, which the file ``profile`` lists.
    """
    hint = _build(folder, profile)
    found = check_manifest(where, folder, profile)
    for file in found.files:
        path = folder / file.name
        check_file(where, path, hint)
        if (size := path.stat().st_size) != file.size:
            problem = f"{where}: {path} has {size} bytes, expected {file.size} as in its manifest"
            raise OperatorError(problem, hint=hint)
    for name in processors:
        if found.processors is not None and name not in found.processors:
            problem = f"{where}: {folder} has no images for {name}, which boot.architectures lists"
            raise OperatorError(problem, hint=hint)


def check_manifest(where: str, folder: Path, profile: Path | None = None) -> "Manifest":
    """Return the manifest of a folder of images, which lists a file at least."""
    from netboot.images.manifest import MANIFEST_FILE, read

    hint = _build(folder, profile)
    check_folder(where, folder, hint)
    manifest = folder / MANIFEST_FILE
    try:
        found = read(manifest)
    except FileNotFoundError:
        problem = f"{where}: {folder} has no images: there is no {MANIFEST_FILE} in it"
        raise OperatorError(problem, hint=hint) from None
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is none of 'netboot build'"
        raise OperatorError(f"{where}: {manifest}: {cause}", hint=hint) from None
    if not found.files:
        raise OperatorError(f"{where}: {manifest}: it lists no file", hint=hint)
    return found


def _build(folder: Path, profile: Path | None) -> str:
    room = f" --profile {shlex.quote(str(profile))}" if profile else ""
    return f"build them: netboot build{room} --output {shlex.quote(str(folder))}"


def check_initrds(paths: Sequence[Path]) -> None:
    """Check the files of ``--initrd``. PCs ask for them by name, so each needs a name of its own."""
    seen: dict[str, Path] = {}
    for path in paths:
        check_file("--initrd", path)
        if not path.stat().st_size:
            raise OperatorError(f"--initrd: {path} is empty")
        if path.name in seen:
            problem = f"--initrd: {seen[path.name]} and {path} have the same name"
            raise OperatorError(problem, hint="rename one of them")
        seen[path.name] = path


def check_state(folder: Path) -> None:
    """Check a state folder, which may be missing: the server makes it, in a folder that exists."""
    where = "--state"
    if not _exists(folder):
        check_folder(where, folder.parent, f"sudo mkdir -p {shlex.quote(str(folder.parent))}")
        folder = folder.parent
    check_folder(where, folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OperatorError(
            f"{where}: this user cannot write to {folder}",
            hint="serving needs root (sudo); or name a folder of this user",
        )


def check_store(
    where: str, spec: StoreSpec, state: Path | None = None, *, writes: bool = True
) -> None:
    """Check the folder of a store. It is not made: a disk that is not mounted would fill ``/``.

    It may be the ``state`` folder, which the server makes itself. ``writes`` is False if another
    user is to write there.
    """
    if spec.directory is None or spec.directory == (state and state.absolute()):
        return
    name = shlex.quote(str(spec.directory))
    hint = f"mount the disk that belongs there, or make the folder: sudo mkdir -p {name}"
    check_folder(where, spec.directory, hint)
    if writes:
        _check_writable(where, spec.directory)


def _check_writable(where: str, folder: Path) -> None:
    """Check that files can be made in a folder. A full disk passes: PCs may have pages there."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return
        problem = f"{where}: no file can be made in {folder}: {error.strerror}"
        raise OperatorError(
            problem, hint="name another folder, or let this user write there"
        ) from None


def check_output(where: str, path: Path, *, folder: bool) -> None:
    """Check the place of a ``folder`` or file to write; missing folders above a folder are made."""
    if not folder and path.is_dir():
        raise OperatorError(f"{where}: {path} is a folder, expected the name of a file")
    here = path if folder else path.absolute().parent
    while folder and not _exists(here):
        here = here.absolute().parent
    check_folder(where, here, f"mkdir -p {shlex.quote(str(here))}")
    if not os.access(here, os.W_OK | os.X_OK):
        raise OperatorError(f"{where}: this user cannot write to {here}", hint="name another place")


def check_file(where: str, path: Path, hint: str = "") -> None:
    """Check a file that is to be read."""
    if not _exists(path):
        raise OperatorError(f"{where}: there is no file {path}", hint=hint)
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no regular file"
        raise OperatorError(f"{where}: {path} is {kind}, expected a file", hint=hint)
    if not os.access(path, os.R_OK):
        raise OperatorError(f"{where}: this user cannot read {path}", hint=hint)


def check_paths(source: Path, profile: "Profile") -> None:
    """Check the files and folders of ``profile``, which is in the file ``source``."""
    from netboot.images.kernel import image_version
    from netboot.pages.stores.image import open_image

    for image in sorted(profile.images):
        with contextlib.closing(open_image(Path(image))) as opened:
            _check_format(image, opened)
    if profile.boot.kernel is not None and profile.boot.kernel.startswith("/"):
        kernel, key = Path(profile.boot.kernel), f"{source}: key 'boot.kernel'"
        check_file(key, kernel)
        try:
            image_version(kernel)
        except OperatorError as error:
            raise OperatorError(f"{key}: {error}") from None
    if profile.boot.loader_files is not None:
        _check_loader_files(f"{source}: key 'boot.loader_files'", Path(profile.boot.loader_files))
    if profile.boot.raspberry_pi is not None:
        check_folder(f"{source}: key 'boot.raspberry_pi'", Path(profile.boot.raspberry_pi))


def _check_loader_files(key: str, folder: Path) -> None:
    from netboot.boot.given import shim_of

    check_folder(key, folder)
    names = sorted(path.name for path in folder.iterdir() if path.is_file())  # no dead links
    if not shim_of(names):
        found = ", ".join(names[:8]) or "nothing"
        raise OperatorError(
            f"{key}: expected iPXE's shim and its iPXE in {folder}, such as snponly-shim.efi and "
            f"snponly.efi; found {found}",
            hint="unpack all of ipxeboot/x86_64-sb of ipxeboot.tar.gz there, from "
            "https://github.com/ipxe/ipxe/releases",
        )


def check_roots(profile: "Profile", roots: Path, images: Path | None) -> None:
    """Check the root images that ``profile`` names, which are in the folder ``roots``.

    They have to fit the kernels in ``images``, a folder of boot images that may be missing.
    """
    if not profile.image_names:
        return
    from netboot.images.manifest import MANIFEST_FILE, read
    from netboot.roots import checks
    from netboot.roots.library import Library

    kernels: dict[str, str] = {}
    if images is not None:
        with contextlib.suppress(OSError, ValueError):  # none yet, or none of ours: told elsewhere
            kernels = checks.kernels_of(read(images / MANIFEST_FILE).processors)
    checks.check(
        Library(roots),
        profile.image_names,
        kernels,
        profile.boot.architectures,
        profile.nfs_images,
    )


def doubts_of_logins(profile: "Profile", roots: Path) -> list[str]:
    """Return a line for each root image whose PCs are to show a login window, and which has none."""
    if not profile.login_images:
        return []
    from netboot.roots import checks
    from netboot.roots.library import Library

    return checks.logins(Library(roots), profile.login_images)


def _check_format(name: str, image: "ImageFile") -> None:
    """Check that a root image has a file system that the initramfs can mount."""
    for offset, magic in SUPERBLOCKS.values():
        found = bytearray(len(magic))
        if offset + len(magic) <= image.size_bytes:
            image.read_into(offset, memoryview(found))
        if found == magic:
            return
    expected = " or a ".join(SUPERBLOCKS)
    raise OperatorError(f"image {name}: expected an {expected}", hint="make one: tools/make-root")


def _unfit_seats(profile: "Profile") -> Iterator[str]:
    """Yield time zones that this machine does not know, and files for PCs that it cannot send."""
    from zoneinfo import available_timezones

    from netboot.profile.reading import nearest
    from netboot.serve.seat_content import read_files

    owns = {"seat": profile.seat}
    owns |= {f"groups.{name}.seat": group.seat for name, group in profile.groups.items()}
    owns |= {f"clients.{mac}.seat": client.seat for mac, client in profile.clients.items()}
    zones = dict.fromkeys(available_timezones())
    for key, own in owns.items():
        if zones and own.timezone not in zones:
            names = {zone.lower(): zone for zone in zones}
            guess = names.get(nearest(own.timezone, names))
            likely = f"; did you mean '{guess}'?" if guess else ""
            yield f"key '{key}.timezone': no time zone is called '{own.timezone}'{likely}"
        for line in read_files(own.files)[1]:
            yield f"key '{key}.files': {line}"


def doubts_of_readers(source: Path, profile: "Profile") -> Iterator[str]:
    """Yield a line for what other users can read in the file ``source``, and should not."""
    secret = {
        "the hashes of its accounts": profile.has_hashes,
        "the password of its database": profile.has_password,
    }
    for what, there in secret.items():
        if there and source.stat().st_mode & 0o004:
            # Without that user root serves, and reads it.
            remedy = f"chgrp netboot {source} && chmod 640" if _has_user() else "chmod 600"
            yield f"all users of this machine can read {what}: {remedy} {source}"


def _has_user() -> bool:
    """Return True if there is the user of an installed server."""
    from netboot.cli.user import USER

    try:
        pwd.getpwnam(USER)
    except KeyError:
        return False
    return True


def doubts_here(profile: "Profile") -> Iterator[str]:
    """Yield what will not work on this machine, which need not be the server: one line each."""
    from netboot.pages.stores.memory import TMPFS
    from netboot.profile.stores import parse_store

    spec = parse_store(profile.swap.store)
    try:
        check_store("key 'swap.store'", spec, DEFAULT_STATE, writes=False)
    except OperatorError as error:
        yield f"{error}; 'netboot serve' needs it"
        spec = StoreSpec("null")
    promised = [("swap.store", TMPFS, spec.memory_bytes)] if spec.memory_bytes else []
    if profile.swap.capacity is not None and spec.kind != "null":
        promised.append(("swap.capacity", spec.directory or TMPFS, profile.swap.capacity))
    for key, folder, wanted in promised:
        while not _exists(folder):
            folder = folder.parent
        held = _held(folder)
        if wanted > held:
            yield f"key '{key}': {_size(wanted)} is promised, and {folder} holds {_size(held)} here"
    yield from unfit_sizes(profile)
    yield from _unfit_seats(profile)
    for ssh_key in sorted(
        {profile.ssh.key, *(profile.seat_of(mac).ssh.key for mac in profile.clients)}
    ):
        if ssh_key and not os.path.isfile(os.path.expanduser(ssh_key)):
            yield f"key 'ssh.key': there is no file {ssh_key} on this machine"


def unfit_sizes(profile: "Profile") -> Iterator[str]:
    """Yield the sizes of swap that no PC can get, because half of this machine's RAM is less."""
    if profile.swap.capacity is not None or profile.swap.servers:
        return
    half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    sizes = {"swap": profile.swap.size}
    sizes |= {f"groups.{name}.swap": row.swap.size for name, row in profile.groups.items()}
    sizes |= {f"clients.{mac}.swap": row.swap.size for mac, row in profile.clients.items()}
    for path, size in sizes.items():
        if (size.bytes or 0) > half * profile.swap.overcommit:
            yield (
                f"key '{path}.size': no PC can get {_size(size.bytes or 0)}, because all PCs together "
                f"get {_size(half)}, half of this machine's RAM; set swap.capacity or a smaller size"
            )


def check_folder(where: str, path: Path, hint: str = "") -> None:
    """Check a folder that has to exist."""
    if not _exists(path):
        raise OperatorError(f"{where}: there is no folder {path}", hint=hint)
    if not path.is_dir():
        raise OperatorError(f"{where}: {path} is a file, expected a folder")
    if not os.access(path, os.X_OK):
        raise OperatorError(f"{where}: this user cannot enter {path}", hint=hint)


def _exists(path: Path) -> bool:
    """Return whether ``path`` exists. Raises OSError, as for a folder that we may not enter."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _held(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_blocks * found.f_frsize


def _size(count: int) -> str:
    for power, unit in ((40, "TiB"), (30, "GiB")):
        if count >= 1 << power:
            return f"{count / (1 << power):.4g} {unit}"
    return f"{count / (1 << 20):.4g} MiB"
