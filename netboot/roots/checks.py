"""Faults that keep a version of a root image from booting: one line each, *problem; remedy*.

``netboot check`` and ``netboot serve`` refuse by these lines at the start, ``netboot doctor`` reports
them, and a running server shows them on the screen of the PC that cannot boot.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from netboot.errors import OperatorError
from netboot.pages.verity import tree_bytes
from netboot.profile.reading import any_of
from netboot.roots.library import Library, Version
from netboot.roots.manifest import Manifest, has_screen
from netboot.roots.recipes import GREETER, SCREENS

BLOCK_BYTES = 4096  # of a hash tree
READ_BYTES = 1 << 20
NO_NFS = "it lacks the kernel driver fs/nfs/nfsv4, which seat.home needs (keep_drivers in its definition)"


def missing(name: str, library: Library) -> str:
    """Return the line for an image without a version."""
    return f"root image '{name}': there is none in {library.folder}; {library.remedy(name)}"


def misfit(found: Manifest, kernels: Mapping[str, str], processors: Iterable[str]) -> str:
    """Return why PCs with none of these processors can run the image; empty if some can.

    ``kernels``: the releases that the boot images have, by processor. A processor that is not in it
    is not judged.
    """
    if not found.init:
        return "it has no init, so no PC can start it"
    wanted = {kernels[each]: None for each in processors if each in kernels}
    if not wanted or not wanted.keys().isdisjoint(found.kernels):
        return ""
    has = f"modules for {', '.join(found.kernels)} only" if found.kernels else "no modules"
    return f"it has {has}, and the PCs' kernel is {' or '.join(wanted)} (netboot build)"


def foreign(found: Manifest, processors: Iterable[str]) -> str:
    """Return why PCs with these processors cannot run the image's programs, and the remedy.

    Empty if some can, or if the image was imported: nobody has told its processor.
    """
    own, theirs = found.architecture, dict.fromkeys(processors)
    if found.source or not theirs or own in theirs:
        return ""
    return (
        f"it is for {own}, and these PCs are {any_of(theirs)}; add {own} to boot.architectures if they "
        f"can run it, otherwise build an image for {any_of(theirs)}"
    )


def flaw(version: Version) -> str:
    """Return what is wrong with the files of a version, found in no time; empty if nothing is."""
    found = version.manifest
    try:
        size, tree = version.image.stat().st_size, version.tree.stat().st_size
        with version.tree.open("rb") as file:
            top = hashlib.sha256(file.read(BLOCK_BYTES)).hexdigest()
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    if size != found.size:
        return f"it is damaged: {size} bytes, expected {found.size}"
    if tree != tree_bytes(found.blocks) or top != found.root_hash:
        return "its hash tree is damaged"
    return ""


def damage(version: Version) -> str:
    """Return the same after all of the image was read: 1 s for each GB, and more from a disk."""
    if problem := flaw(version):
        return problem
    digest = hashlib.sha256()
    try:
        with version.image.open("rb") as file:
            while data := file.read(READ_BYTES):
                digest.update(data)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    found = digest.hexdigest()
    return "" if found == version.manifest.digest else f"it is damaged: its SHA-256 is {found}"


def line(version: Version, problem: str) -> str:
    """Return the line for a version with this problem; empty if that is empty."""
    remedy = f"sudo netboot image update {version.manifest.name}"
    return f"root image {version.label}: {problem}; {remedy}" if problem else ""


def judged(
    version: Version, kernels: Mapping[str, str], processors: Iterable[str], flaw: str
) -> str:
    """Return the line that tells why PCs cannot boot a version; empty if they can.

    ``flaw``: what is wrong with its files.
    """
    wanted = tuple(processors)
    if problem := foreign(version.manifest, wanted):
        return f"root image {version.label}: {problem}"
    return line(version, misfit(version.manifest, kernels, wanted) or flaw)


def obstacle(
    library: Library, name: str, kernels: Mapping[str, str], processors: Iterable[str]
) -> str:
    """Return the line that tells why PCs cannot boot the image ``name`` now; empty if they can."""
    version = library.current(name)
    if version is None:
        return missing(name, library)
    return judged(version, kernels, processors, flaw(version))


def without_nfs(version: Version) -> str:
    """Return the line for a version whose PCs have homes on an NFS server and no client; else empty."""
    return "" if version.manifest.nfs else line(version, NO_NFS)


def without_login(version: Version) -> str:
    """Return the line for an image of ours that has no login window; empty if it has one.

    An imported image has a screen of its own, which is not judged.
    """
    found = version.manifest
    if not has_screen(found) or all(name in found.packages for name in GREETER):
        return ""
    problem = "it has no login window, which 'seat.login: local' needs"
    screen = SCREENS.get(found.definition.get("screen", "kiosk"))
    if screen is not None and set(GREETER) <= set(screen.packages):
        return line(version, problem)
    return f"root image {version.label}: {problem}; add 'packages: [{', '.join(GREETER)}]' to it"


def logins(library: Library, names: Iterable[str]) -> list[str]:
    """Return a line for each of these images that has no login window. A missing one is passed over."""
    versions = filter(None, map(library.current, sorted(names)))
    return list(filter(None, map(without_login, versions)))


def check(
    library: Library,
    names: Iterable[str],
    kernels: Mapping[str, str],
    processors: Iterable[str],
    nfs: Iterable[str] = (),
) -> None:
    """Check all images that a profile names. Raises OperatorError with a line for each that fails.

    ``nfs``: those whose PCs have homes on an NFS server.
    """
    wanted = tuple(processors)
    lines = [obstacle(library, name, kernels, wanted) for name in sorted(names)]
    found = [library.current(name) for name in sorted(nfs)]
    lines += [without_nfs(version) for version in found if version is not None]
    if any(lines):
        raise OperatorError("\n".join(filter(None, lines)))


def kernels_of(processors: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the kernel release of each processor in a manifest of boot images.

    A description that lacks it is left out.
    """
    rows = (processors or {}).items()
    found = {name: row.get("kernel") for name, row in rows if isinstance(row, Mapping)}
    return {name: kernel for name, kernel in found.items() if isinstance(kernel, str)}
