"""The boot files of a room: what ``netboot build`` made, and what is made of it for the room."""

import contextlib
import logging
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from netboot.boot import unified
from netboot.boot.arch import (
    ARCHITECTURES,
    BY_NAME,
    GIVEN_FOLDER,
    LOADERS,
    OWN_FILES,
    OWN_IMAGE,
    TOOLS,
    UNIFIED,
)
from netboot.boot.client import Client, Stage
from netboot.boot.given import AUTOEXEC, shim_of
from netboot.boot.ipxe import KERNEL_SHIM
from netboot.boot.plan import INITRAMFS_FILE, KERNEL_FILE, STUB_FILE
from netboot.boot.slices import Catalogue
from netboot.errors import OperatorError
from netboot.host.files import replace_file
from netboot.images.manifest import read
from netboot.profile.profile import Profile
from netboot.roots.checks import kernels_of

SCRIPT_SUFFIX = ".ipxe"

log = logging.getLogger(__name__)


@dataclass(slots=True)
class BootFiles:
    """The files in ``images``, a folder that ``netboot build`` filled for this profile.

    ``images`` is None if another server boots the PCs. ``initrds`` are further initramfs files for
    every PC, by name. ``lacks``: loaders that there are not: optional ones that the build has not
    (``lacking``), and those for a key of the operator's without such a key. ``own``: the images that
    are signed with it, by the address of ours that each names.
    """

    images: Path | None
    profile: Profile
    initrds: dict[str, Path] = field(default_factory=dict)
    catalogues: dict[str, Catalogue] = field(default_factory=dict)  # by processor
    templates: dict[str, Path] = field(default_factory=dict)  # of unified images, by processor
    lacks: frozenset[str] = frozenset(OWN_FILES)
    own: dict[IPv4Address, Path] = field(default_factory=dict)
    given: str = field(init=False)  # the shim among the operator's own loaders; empty for none

    def __post_init__(self) -> None:
        folder, name = self.profile.boot.loader_files, ""
        if folder is not None:
            with contextlib.suppress(OSError):  # told before the start (netboot.cli.checks)
                name = shim_of([path.name for path in Path(folder).iterdir() if path.is_file()])
        self.given = name and f"{GIVEN_FOLDER}{name}"

    def path(self, name: str, server: IPv4Address | None = None) -> Path | None:
        """Return the path of the boot image ``name``, or None if there is none.

        ``server`` is the address of ours that was asked; without it any counts.
        """
        if name == OWN_IMAGE:
            return next(iter(self.own.values()), None) if server is None else self.own.get(server)
        if name in OWN_FILES:
            if name in self.lacks or self.images is None:
                return None
            return self.images / OWN_FILES[name]
        if name.startswith(GIVEN_FOLDER):
            return self._given(name.removeprefix(GIVEN_FOLDER))
        if name == KERNEL_SHIM:
            return self.images and self.images / "shimx64.efi"
        processor, _, own = name.rpartition("/")
        catalogue = self.catalogues.get(processor, Catalogue())
        files = (KERNEL_FILE, INITRAMFS_FILE, *catalogue.files())
        is_shared = name in LOADERS or name in TOOLS
        if is_shared or (processor in self.profile.boot.architectures and own in files):
            return None if self.images is None else self.images / name
        return self.initrds.get(name)

    def _given(self, name: str) -> Path | None:
        """Return the path of a file in the operator's own folder, or None."""
        folder = self.profile.boot.loader_files
        if folder is None or "/" in name or "\0" in name:
            return None
        path = Path(folder) / name
        return path if path.suffix == ".efi" and path.is_file() else None

    def size(self, name: str) -> int:
        """Return the size of a boot image in bytes; 0 if there is none."""
        processor, _, own = name.partition("/")
        path = self.templates.get(processor) if own == UNIFIED else self.path(name)
        try:
            return 0 if path is None else path.stat().st_size
        except OSError:
            return 0

    def may_exist(self, name: str) -> bool:
        """Return True if there may be a boot file ``name``, for all seats or for each its own."""
        processor, _, own = name.partition("/")
        is_unified = own == UNIFIED and processor in self.profile.boot.architectures
        is_script = ipxe_client("", name) is not None or name == AUTOEXEC
        return is_unified or is_script or self.path(name) is not None

    def make_templates(self, folder: Path) -> None:
        """Write the part of the unified images that all seats share into ``folder``.

        Takes half a second. A processor whose files cannot be read or written has no unified
        image, with a warning: seats that wait for their pages come first.
        """
        for name in self.profile.boot.architectures:
            if self.images is None or not any(row.is_unified_for(name) for row in ARCHITECTURES):
                continue
            own = self.images / name
            files = (own / STUB_FILE, own / KERNEL_FILE, own / INITRAMFS_FILE)
            try:
                stub, kernel, *initrds = (
                    path.read_bytes() for path in (*files, *self.initrds.values())
                )
                content = unified.make_template(stub, kernel, initrds)
            except (OSError, OperatorError) as error:
                why = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else error
                log.warning("%s; PCs with Secure Boot get no unified image", why)
                continue
            template = folder / f"{name}-{UNIFIED}"
            if _is_written(template, content):
                self.templates[name] = template


def lacking(images: Path) -> frozenset[str]:
    """Return the loaders that are not there, before an own key has made some (``OwnImages``).

    Optional ones of the build in the folder ``images``: its release of Debian has none, or an older
    netboot made it.
    """
    optional = (name for name, row in LOADERS.items() if row.optional)
    return frozenset(OWN_FILES).union(name for name in optional if not (images / name).exists())


def ipxe_client(mac: str, script_name: str) -> Client | None:
    """Return the iPXE of ``mac`` that asks for the script, whose name has its architecture.

    Return None if ``script_name`` has none.
    """
    arch = BY_NAME.get(script_name.removesuffix(SCRIPT_SUFFIX))
    return None if arch is None else Client(mac, arch, Stage.IPXE)


def _is_written(path: Path, content: bytes) -> bool:
    """Write a template; return False, with a warning, if there is no room for it."""
    try:
        # At the next start its room may be taken. And other images are rare.
        if path.read_bytes() == content:
            return True
    except OSError:
        pass  # none yet
    try:
        # Workers of the server before this one may be in the middle of the old file.
        replace_file(path, content)
    except OSError as error:
        log.warning(
            "%s: cannot be written: %s; make room there and start again: PCs with Secure Boot get "
            "no unified image",
            path,
            error.strerror,
        )
        return False
    return True


def catalogues(manifest: Path) -> dict[str, Catalogue]:
    """Return the slices of a build by processor, none if ``manifest`` is not one of ours."""
    try:
        parts = read(manifest).processors or {}
        return {name: Catalogue.of(part) for name, part in parts.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def kernels(manifest: Path) -> dict[str, str]:
    """Return the kernel releases of a build by processor, none if ``manifest`` is not one of ours."""
    try:
        return kernels_of(read(manifest).processors)
    except (OSError, ValueError):
        return {}
