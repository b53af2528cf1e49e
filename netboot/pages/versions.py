"""The exports of root images' versions: opened when a PC attaches one, closed after the last left.

The files of a version never change, and a version that is removed from the disk is served on while
a PC has it open. A lease is one opening of a version, ``EXPORT@version/NAME/NUMBER``: it tells the
next server all that it needs beside the descriptors, so the library may lack the version by then.
"""

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from netboot.boot.plan import VERIFIED
from netboot.errors import OperatorError
from netboot.pages.exports import Attachment
from netboot.pages.lease import UNKNOWN
from netboot.pages.nbd.export import Export, Refused
from netboot.pages.stores import image

_EXPORT = re.compile(rf"image-([0-9a-f]{{16}})({VERIFIED})?")
_LEASE = re.compile(rf"({_EXPORT.pattern})@version/([^@/]+)/[0-9a-f]+")
NUMBER_BYTES = 4


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a version: the image, and its hash tree."""

    image: Path
    tree: Path


class VersionExports:
    """The versions that ``files_of(NAME, SHORT)`` has; SHORT begins the digest of the image.

    Seats that may read an image may read all of its versions. All its clients share an opening.
    """

    def __init__(self, files_of: Callable[[str, str], Files | None]) -> None:
        self._files_of = files_of
        self.on_ended: Callable[[str], None] = lambda lease: None
        self._open: dict[tuple[str, str], Attachment] = {}  # by image and export
        self._leases: dict[str, Attachment] = {}

    @staticmethod
    def short_of(export: str) -> str:
        """Return the digits of the version that may have this export; empty if none can."""
        found = _EXPORT.fullmatch(export)
        return "" if found is None else found[1]

    def find(self, name: str, export: str) -> Export | Refused:
        """Return the export of a version of the image ``name``. Nothing is open afterwards."""
        there = self._open.get((name, export))
        if there is not None:
            return there.export
        pages = self._opened(name, export)
        if isinstance(pages, Refused):
            return pages
        with_size = _export(name, export, pages)
        pages.close()
        return with_size

    def attach(self, name: str, export: str) -> Attachment | Refused:
        """Attach a version of the image ``name``."""
        there = self._open.get((name, export))
        if there is not None:
            return there
        pages = self._opened(name, export)
        if isinstance(pages, Refused):
            return pages
        lease = f"{export}@version/{name}/{secrets.token_hex(NUMBER_BYTES)}"
        return self._keep(lease, name, export, pages)

    def resume(self, lease: str, pages: Sequence[int]) -> Attachment | None:
        """Attach again what an earlier server has open; None if it is no version."""
        found = _LEASE.fullmatch(lease)
        if lease not in self._leases and found is not None and pages:
            opened = image.image_of(*map(os.dup, pages))
            self._keep(lease, found[4], found[1], opened)
        return self._leases.get(lease)

    def has(self, lease: str) -> bool:
        """Return whether ``lease`` is an opening of a version."""
        return lease in self._leases

    def let_go(self, lease: str) -> None:
        """Close a version whose last connection has ended: its room on the disk may be wanted."""
        ended = self._leases.pop(lease)
        self._open = {key: each for key, each in self._open.items() if each is not ended}
        ended.pages.close()
        self.on_ended(lease)

    def _keep(self, lease: str, name: str, export: str, pages: image.ImageFile) -> Attachment:
        made = Attachment(lease, "", _export(name, export, pages), image.KIND, pages, spread=True)
        self._leases[lease] = made
        self._open.setdefault((name, export), made)
        return made

    def _opened(self, name: str, export: str) -> image.ImageFile | Refused:
        """Open the files of a version. Another version, or image, is unknown."""
        files = self._files_of(name, self.short_of(export))
        if files is None:
            return UNKNOWN
        try:
            if not export.endswith(VERIFIED):
                return image.open_image(files.image)
            tree = os.open(files.tree, os.O_RDONLY)
            try:
                descriptor = os.open(files.image, os.O_RDONLY)
            except OSError:
                os.close(tree)
                raise
            return image.image_of(descriptor, tree)
        except (OSError, OperatorError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            return Refused(f"the server cannot open {export} of {name}: {reason}", is_ours=True)


def _export(name: str, export: str, pages: image.ImageFile) -> Export:
    """Return an export whose generation is the same at each opening, and at each server.

    A PC's agent attaches again only to the generation that it had (initramfs/agent/hold.c). The
    digest in the export's name is that of the content, so a file's times do not count.
    """
    content = f"{export} {pages.size_bytes}".encode()
    generation = hashlib.blake2b(content, digest_size=16).hexdigest()
    text = f"image, generation {generation}, root image {name}"
    return Export(export, pages.size_bytes, text, read_only=True)
