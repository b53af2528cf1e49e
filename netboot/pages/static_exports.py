"""The exports of a fixed table, which any client may attach."""

import hashlib
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from netboot.errors import OperatorError
from netboot.pages.exports import SAVE_SECONDS, Attachment
from netboot.pages.lease import Ends
from netboot.pages.nbd.backing import PageFile
from netboot.pages.nbd.export import Export, Refusal, Refused
from netboot.pages.nbd.name import WireName
from netboot.pages.stores import image
from netboot.pages.stores.store import PageStore
from netboot.profile.stores import BY_NAME


class StaticExports:
    """A fixed table: ``sizes`` in bytes by name, and ``images``, which are read-only: paths, or
    images that were opened already and belong to the table from now on.

    Any client may attach them, and all clients of an export share its pages.
    """

    def __init__(
        self,
        store: PageStore,
        sizes: Mapping[str, int],
        images: Mapping[str, Path | image.ImageFile] | None = None,
    ) -> None:
        """Open or create the page files.

        Raises OperatorError if an image cannot be read, if a size is not positive, or if it differs
        from the size of the pages that are kept under this name.
        """
        images = images or {}
        for name, size_bytes in sizes.items():
            if size_bytes <= 0:
                raise OperatorError(f"export {name}: size {size_bytes}, expected more than 0")
        for name in sizes.keys() & images.keys():
            raise OperatorError(f"export {name}: given twice, with a size and as an image")
        self.directory = store.directory
        self.on_ended: Callable[[str], None] = _ignore_end
        opened = {
            name: _image(name, image.open_image(given) if isinstance(given, Path) else given)
            for name, given in images.items()
        }
        self._attachments = {
            name: Attachment(
                name,
                "",
                Export(name, size_bytes),
                store.kind,
                _open_or_create(store, name, size_bytes),
                spread=BY_NAME[store.kind].shared,
            )
            for name, size_bytes in sizes.items()
        }
        self._attachments |= opened
        self._lost: set[str] = set()
        self._leases = {each.lease: each for each in self._attachments.values()}

    @property
    def names(self) -> Sequence[str]:
        """The names of all exports."""
        return tuple(self._attachments)

    def find(self, name: WireName, address: str = "") -> Export | Refused:
        """Return the export of this name. The whole text counts: there are no tokens."""
        found = self.attach(name)
        return found if isinstance(found, Refused) else found.export

    def ends(self, name: WireName) -> Ends:
        """Return nothing: all clients share the pages."""
        return Ends()

    def elsewhere(self, name: WireName) -> Awaitable[Refused | None] | None:
        """Return None: nothing is ended."""
        return None

    def attach(self, name: WireName, address: str = "") -> Attachment | Refused:
        """Attach the export of this name. The whole text counts: there are no tokens."""
        if name.text in self._lost:
            return Refused(f"this server no longer has the pages of {name.text}")
        return self._attachments.get(name.text) or Refused("no such export", Refusal.UNKNOWN)

    def saving(self, lease: str) -> Awaitable[bool] | None:
        """Return None: the table is on the command line."""
        return None

    def resume(self, lease: str, pages: Sequence[int], set_number: int = 0) -> Attachment | None:
        """Attach again by the lease's name.

        A client of an image that was replaced since keeps the image that it has open.
        """
        name = lease.rpartition("@")[0]
        if lease not in self._leases and pages and name in self._attachments:
            self._leases[lease] = _image(name, image.image_of(*map(os.dup, pages)))
        return self._leases.get(lease)

    def has(self, lease: str) -> bool:
        """Return whether ``lease`` is one of this table."""
        return lease in self._leases

    def lose(self, lease: str) -> str:
        """Serve this export no more."""
        self._lost.add(lease)
        return "it is served again after a restart of this server"

    def let_go(self, lease: str) -> None:
        """Close an image that was replaced: no other client can attach it. Keep all other pages."""
        found = self._leases[lease]
        if found is not self._attachments[found.export.name]:
            del self._leases[lease]
            found.pages.close()


def _ignore_end(lease: str) -> None:
    pass


def _open_or_create(store: PageStore, name: str, size_bytes: int) -> PageFile:
    # An export's name may contain any character, a page file's name may not.
    file_name = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
    if file_name not in store.names():
        try:
            made = store.create(file_name, size_bytes)
            making = store.making(file_name)
            if making is not None:
                making.result(SAVE_SECONDS)
            return made
        except OSError as error:
            where = store.directory or "this store"
            raise OperatorError(
                f"export {name}: {where} takes no {size_bytes} bytes: {error.strerror}",
                hint="give it a smaller size, or name another store",
            ) from error
    try:
        return store.open(file_name, size_bytes)
    except FileNotFoundError:
        raise OperatorError(
            f"export {name}: its pages in {store.directory} have another size",
            hint=f"give it the old size, or remove {store.directory} to start with empty pages",
        ) from None


def _image(name: str, pages: image.ImageFile) -> Attachment:
    generation = pages.generation
    export = Export(name, pages.size_bytes, f"image, generation {generation}", read_only=True)
    return Attachment(f"{name}@{generation}", "", export, image.KIND, pages, spread=True)
