"""The exports that the seats of a room may attach: leased swap areas, and root images."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from netboot.boot.plan import VERIFIED
from netboot.boot.ticket import MAC_DIGITS
from netboot.pages.exports import Attachment, LeasedExports, StaticExports
from netboot.pages.lease import UNKNOWN, Ends
from netboot.pages.nbd.export import Export, Refused
from netboot.pages.nbd.name import WireName


class ClassroomExports:
    """``leased`` and ``images`` behind one interface.

    The wire name of an image is ``EXPORT@SESSION``; a dot and all that follows it are ignored.
    ``image_of(session, address)`` returns the name of the image that the session opens for a client
    at ``address``, or None. It opens the image with a hash tree too. Sessions remain valid after a
    restart of the server.
    """

    names = None

    def __init__(
        self,
        leased: LeasedExports,
        images: StaticExports,
        image_of: Callable[[str, str], str | None],
    ) -> None:
        self._leased = leased
        self._images = images
        self._image_of = image_of

    @property
    def on_ended(self) -> Callable[[str], None]:
        """The callback for ended leases. Images never end."""
        return self._leased.on_ended

    @on_ended.setter
    def on_ended(self, call: Callable[[str], None]) -> None:
        self._leased.on_ended = call

    @property
    def directory(self) -> Path | None:
        """The folder of the leases."""
        return self._leased.directory

    def find(self, name: WireName, address: str) -> Export | Refused:
        """Return the image or the leased area of this name."""
        image = self._image(name, address)
        if image is None:
            return self._leased.find(name)
        return image if isinstance(image, Refused) else self._images.find(image)

    def ends(self, name: WireName) -> Ends:
        """Return the leases that an attachment of this name ends; an image ends none."""
        return Ends() if name.export in self._images.names else self._leased.ends(name)

    def attach(self, name: WireName, address: str) -> Attachment | Refused:
        """Attach the image or the leased area of this name."""
        image = self._image(name, address)
        if image is None:
            return self._leased.attach(name)
        found = image if isinstance(image, Refused) else self._images.attach(image)
        # A ticket, and a session, begins with the seat's MAC address (netboot.boot.ticket).
        reader = name.token[:MAC_DIGITS]
        return found if isinstance(found, Refused) else replace(found, reader=reader)

    def saving(self, lease: str) -> Awaitable[bool] | None:
        """Return what waits for the save of an area; an image needs none."""
        return None if self._images.has(lease) else self._leased.saving(lease)

    def resume(self, lease: str, pages: Sequence[int], set_number: int = 0) -> Attachment | None:
        """Attach again: no lease is both an image's and an area's, so both can be asked."""
        image = self._images.resume(lease, pages)
        return image or self._leased.resume(lease, pages, set_number)

    def lose(self, lease: str) -> None:
        """Refuse a leased area. An image cannot be damaged: nobody writes it."""
        self._leased.lose(lease)

    def let_go(self, lease: str) -> None:
        """Note the end of the last connection of an image or an area."""
        (self._images if self._images.has(lease) else self._leased).let_go(lease)

    def _image(self, name: WireName, address: str) -> WireName | Refused | None:
        """Return the name of the image that ``name`` asks for; None if it asks for no image."""
        if name.export not in self._images.names:
            return None
        opens = self._image_of(name.token, address) == name.export.removesuffix(VERIFIED)
        return WireName.parse(name.export) if opens else UNKNOWN
