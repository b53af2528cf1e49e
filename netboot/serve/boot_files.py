"""The boot files of a room: what ``netboot build`` made, and what is made of it for the room."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

from netboot.boot import unified
from netboot.boot.arch import BY_NAME, LOADERS, TOOLS, UNIFIED
from netboot.boot.client import Client, Stage
from netboot.boot.plan import INITRAMFS_FILE, KERNEL_FILE, STUB_FILE
from netboot.boot.slices import Catalogue
from netboot.errors import OperatorError
from netboot.host.files import replace_file
from netboot.images.manifest import read
from netboot.profile.processors import BY_NAME as PROCESSORS
from netboot.profile.profile import Profile
from netboot.roots.checks import kernels_of

SCRIPT_SUFFIX = ".ipxe"

log = logging.getLogger(__name__)


@dataclass(slots=True)
class BootFiles:
    """The files in ``images``, a folder that ``netboot build`` filled for this profile.

    ``images`` is None if another server boots the PCs. ``initrds`` are further initramfs files for
    every PC, by name. ``lacks``: optional loaders that the build has not (``lacking``).
    """

    images: Path | None
    profile: Profile
    initrds: dict[str, Path] = field(default_factory=dict)
    catalogues: dict[str, Catalogue] = field(default_factory=dict)  # by processor
    templates: dict[str, Path] = field(default_factory=dict)  # of unified images, by processor
    lacks: frozenset[str] = frozenset()

    def path(self, name: str) -> Path | None:
        """Return the path of the boot image ``name``, or None if there is none."""
        processor, _, own = name.rpartition("/")
        catalogue = self.catalogues.get(processor, Catalogue())
        files = (KERNEL_FILE, INITRAMFS_FILE, *catalogue.files())
        is_shared = name in LOADERS or name in TOOLS
        if is_shared or (processor in self.profile.boot.architectures and own in files):
            return None if self.images is None else self.images / name
        return self.initrds.get(name)

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
        return is_unified or ipxe_client("", name) is not None or self.path(name) is not None

    def make_templates(self, folder: Path) -> None:
        """Write the part of the unified images that all seats share into ``folder``.

        Takes half a second. A processor whose files cannot be read or written has no unified
        image, with a warning: seats that wait for their pages come first.
        """
        for name in self.profile.boot.architectures:
            if self.images is None or not PROCESSORS[name].stub:
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
    """Return the optional loaders that the build in the folder ``images`` has not.

    Its release of Debian has none, or an older netboot made it.
    """
    optional = (name for name, row in LOADERS.items() if row.optional)
    return frozenset(name for name in optional if not (images / name).exists())


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
