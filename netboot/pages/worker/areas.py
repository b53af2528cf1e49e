"""The swap areas that a worker serves, and their page files, which others may damage."""

import contextlib
import os
from collections.abc import Iterator, Sequence

from netboot.boot.limits import NBD_UNDER_WAY, NBD_WAITING, Limit
from netboot.pages import control
from netboot.pages.nbd.backing import Damaged, Desk, NumberedFile, SlowFile
from netboot.pages.nbd.export import Export
from netboot.pages.stores.store import load
from netboot.pages.worker.buffers import Area
from netboot.pages.worker.tasks import Tasks


class Areas(dict[str, Area]):
    """All areas of a worker, by their leases. ``desk`` takes back what was under way."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._ending: list[Tasks] = []

    def adopt(self, message: control.Message, descriptors: Sequence[int]) -> Area:
        """Return the area of a ``connect`` message, which owns the descriptors of its page file.

        Raises Damaged if the pages are lost, and OSError, with the descriptors left as they are.
        """
        area = self.get(message["lease"])
        if area is None:
            area = self._open(message, descriptors)
        else:
            for descriptor in descriptors:
                os.close(descriptor)
        if isinstance(area.pages, NumberedFile):
            area.pages.enter(message["set"])
        return area

    def _open(self, message: control.Message, descriptors: Sequence[int]) -> Area:
        lease, seat = message["lease"], message["seat"]
        try:
            pages = load(message["store"]).adopt(descriptors, message["size_bytes"])
        except FileNotFoundError as error:
            raise Damaged(f"its page file cannot be used: {why(error)}") from error
        try:
            pages.check()
        except Damaged:
            pages.close()
            raise
        export = Export(message["export"], message["size_bytes"], "", message["read_only"])
        self[lease] = area = Area(lease, export, pages, written=message["written"], seat=seat)
        if isinstance(pages, SlowFile):
            area.tasks = Tasks(pages, self._desk, area.done)
        self._divide()
        return area

    def forget(self, lease: str) -> Area | None:
        """Drop an area whose exchanges are abandoned; close its page file, if need be later."""
        area = self.pop(lease, None)
        if area is not None:
            if area.tasks is None:
                area.pages.close()
            else:
                area.tasks.close()
                self._ending.append(area.tasks)
            self._divide()
        return area

    @property
    def ending(self) -> bool:
        """True if an area that was dropped still has something under way."""
        self._ending = [each for each in self._ending if each.under_way]
        return bool(self._ending)

    def of_file(self, path: str, inode: int) -> list[Area]:
        """Return the areas with that file: one for its pages, all of a store for its ledger."""
        return [
            area
            for area in self.values()
            if any(_is_file(each, path, inode) for each in area.pages.descriptors())
        ]

    def _divide(self) -> None:
        """Divide among the areas what requests that wait may hold."""
        for area in self.values():
            area.allowance = _share(NBD_WAITING, len(self))
            if area.tasks is not None:
                area.tasks.allowance = _share(NBD_UNDER_WAY, len(self))


def _share(limit: Limit, areas: int) -> int:
    return min(limit.per_address or 0, (limit.in_total or 0) // areas)


def find_damage(area: Area) -> str:
    """Return why the lease of ``area`` has to end; empty if its page file is as it was made."""
    try:
        area.pages.check()
    except Damaged as error:
        area.damage = area.damage or str(error)
    return area.damage


@contextlib.contextmanager
def closed_on_error(descriptors: Sequence[int]) -> Iterator[None]:
    """Close those ``descriptors`` after an exception that nobody has closed meanwhile."""
    files = [(each, _file_of(each)) for each in descriptors]
    try:
        yield
    except BaseException:
        for descriptor, file in files:
            if _file_of(descriptor) == file:  # else another file has this number by now
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        raise


def _is_file(descriptor: int, path: str, inode: int) -> bool:
    # The file systems of two files may give them the same inode number.
    target = os.readlink(f"/proc/self/fd/{descriptor}").removesuffix(" (deleted)")
    return os.fstat(descriptor).st_ino == inode and target == path


def _file_of(descriptor: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def why(error: Exception) -> str:
    """Return the text of an error for the operator."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
