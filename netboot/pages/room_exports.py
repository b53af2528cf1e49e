"""What the seats of a room may attach: swap areas by their leases, and root images."""

from collections.abc import Callable, Sequence
from pathlib import Path

from netboot.pages.exports import Attachment, LeasedExports, StaticExports
from netboot.pages.nbd.export import Export, Refusal, Refused
from netboot.pages.nbd.name import WireName

NOT_YOURS = Refused("no such export for this seat", Refusal.UNKNOWN)


class ClassroomExports:
    """``leased`` and ``images`` in one. An image is asked for as ``EXPORT@TICKET``, whatever may
    follow after a dot; ``image_of(ticket)`` tells the one that this ticket opens, None if it opens
    none. Tickets are as good after a restart of the server as before.
    """

    names = None

    def __init__(
        self,
        leased: LeasedExports,
        images: StaticExports,
        image_of: Callable[[str], str | None],
    ) -> None:
        self._leased = leased
        self._images = images
        self._image_of = image_of

    @property
    def on_ended(self) -> Callable[[str], None]:
        """Images do not end."""
        return self._leased.on_ended

    @on_ended.setter
    def on_ended(self, call: Callable[[str], None]) -> None:
        self._leased.on_ended = call

    @property
    def directory(self) -> Path | None:
        """Where the leases are."""
        return self._leased.directory

    def find(self, name: WireName) -> Export | Refused:
        """Asks whichever knows it."""
        image = self._image(name)
        if image is None:
            return self._leased.find(name)
        return image if isinstance(image, Refused) else self._images.find(image)

    def attach(self, name: WireName) -> Attachment | Refused:
        """Asks whichever knows it."""
        image = self._image(name)
        if image is None:
            return self._leased.attach(name)
        return image if isinstance(image, Refused) else self._images.attach(image)

    def resume(self, lease: str, pages: Sequence[int]) -> Attachment | None:
        """Asks both: no lease of the one is a lease of the other."""
        return self._images.resume(lease, pages) or self._leased.resume(lease, pages)

    def let_go(self, lease: str) -> None:
        """Tells whichever knows it."""
        (self._images if self._images.has(lease) else self._leased).let_go(lease)

    def _image(self, name: WireName) -> WireName | Refused | None:
        """The name of the image that is meant, None if it is none."""
        if name.export not in self._images.names:
            return None
        opens = self._image_of(name.token) == name.export
        return WireName.parse(name.export) if opens else NOT_YOURS
