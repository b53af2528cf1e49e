"""The exports that the seats of a room may attach: leased swap areas, images, and root images."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from netboot.boot.plan import VERIFIED
from netboot.boot.ticket import MAC_DIGITS
from netboot.pages.exports import Attachment, LeasedExports
from netboot.pages.lease import UNKNOWN, Ends
from netboot.pages.nbd.export import Export, Refused
from netboot.pages.nbd.name import WireName
from netboot.pages.static_exports import StaticExports
from netboot.pages.versions import VersionExports


def _no_root(token: str, address: str) -> None:
    """Return None, for a room without root images."""


def _nobody_asks(reader: str, root: str, export: str) -> None:
    """Note nothing."""


class ClassroomExports:
    """``leased``, ``images`` and ``versions`` of root images behind one interface.

    The wire name of an image is ``EXPORT@SESSION``; a dot and all that follows it are ignored.
    ``image_of(session, address)`` returns the name of the image that the session opens for a client
    at ``address``, or None. It opens the image with a hash tree too. Sessions remain valid after a
    restart of the server. ``root_of`` does the same with the name of a root image: it opens each of
    its versions, so that a seat can attach again whatever version is current by then. It is asked
    first, so a stranger's name never reaches the file system. ``on_root`` is called with the reader
    (see ``Attachment``), the image and the export of each version that is attached.
    """

    names = None

    def __init__(
        self,
        leased: LeasedExports,
        images: StaticExports,
        image_of: Callable[[str, str], str | None],
        versions: VersionExports | None = None,
        root_of: Callable[[str, str], str | None] = _no_root,
        on_root: Callable[[str, str, str], None] = _nobody_asks,
    ) -> None:
        self._leased = leased
        self._images = images
        self._image_of = image_of
        self._versions = versions or VersionExports(lambda name, short: None)
        self._root_of = root_of
        self._on_root = on_root

    @property
    def on_ended(self) -> Callable[[str], None]:
        """The callback for leases that end: areas, and versions that nobody has open any more."""
        return self._leased.on_ended

    @on_ended.setter
    def on_ended(self, call: Callable[[str], None]) -> None:
        self._leased.on_ended = self._versions.on_ended = call

    @property
    def directory(self) -> Path | None:
        """The folder of the leases."""
        return self._leased.directory

    def find(self, name: WireName, address: str) -> Export | Refused:
        """Return the image or the leased area of this name."""
        if self._is_version(name):
            root = self._root_of(name.token, address)
            return UNKNOWN if root is None else self._versions.find(root, name.export)
        image = self._image(name, address)
        if image is None:
            return self._leased.find(name)
        return image if isinstance(image, Refused) else self._images.find(image)

    def ends(self, name: WireName) -> Ends:
        """Return the leases that an attachment of this name ends; an image ends none."""
        is_image = name.export in self._images.names or self._is_version(name)
        return Ends() if is_image else self._leased.ends(name)

    def elsewhere(self, name: WireName) -> Awaitable[Refused | None] | None:
        """Return what waits for other servers with the same areas; an image ends nothing."""
        is_image = name.export in self._images.names or self._is_version(name)
        return None if is_image else self._leased.elsewhere(name)

    def attach(self, name: WireName, address: str) -> Attachment | Refused:
        """Attach the image or the leased area of this name."""
        # A ticket, and a session, begins with the seat's MAC address (netboot.boot.ticket).
        reader = name.token[:MAC_DIGITS]
        if self._is_version(name):
            found = self._attach_version(name, address, reader)
        else:
            image = self._image(name, address)
            if image is None:
                return self._leased.attach(name)
            found = image if isinstance(image, Refused) else self._images.attach(image)
        return found if isinstance(found, Refused) else replace(found, reader=reader)

    def saving(self, lease: str) -> Awaitable[bool] | None:
        """Return what waits for the save of an area; an image needs none."""
        return None if self._table_of(lease) is not self._leased else self._leased.saving(lease)

    def resume(self, lease: str, pages: Sequence[int], set_number: int = 0) -> Attachment | None:
        """Attach again: no lease is both an image's and an area's, so all can be asked."""
        image = self._images.resume(lease, pages) or self._versions.resume(lease, pages)
        return image or self._leased.resume(lease, pages, set_number)

    def lose(self, lease: str) -> str:
        """Refuse a leased area. An image cannot be damaged: nobody writes it."""
        return self._leased.lose(lease)

    def let_go(self, lease: str) -> None:
        """Note the end of the last connection of an image or an area."""
        self._table_of(lease).let_go(lease)

    def _table_of(self, lease: str) -> StaticExports | VersionExports | LeasedExports:
        if self._images.has(lease):
            return self._images
        return self._versions if self._versions.has(lease) else self._leased

    def _is_version(self, name: WireName) -> bool:
        """Return whether ``name`` may be that of a version; an image of a path comes first."""
        return name.export not in self._images.names and bool(VersionExports.short_of(name.export))

    def _attach_version(self, name: WireName, address: str, reader: str) -> Attachment | Refused:
        root = self._root_of(name.token, address)
        if root is None:
            return UNKNOWN
        found = self._versions.attach(root, name.export)
        if not isinstance(found, Refused):
            self._on_root(reader, root, name.export)
        return found

    def _image(self, name: WireName, address: str) -> WireName | Refused | None:
        """Return the name of the image that ``name`` asks for; None if it asks for no image."""
        if name.export not in self._images.names:
            return None
        opens = self._image_of(name.token, address) == name.export.removesuffix(VERIFIED)
        return WireName.parse(name.export) if opens else UNKNOWN
