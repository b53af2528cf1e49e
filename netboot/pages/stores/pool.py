"""Images of a room in a Ceph pool, which all page servers of the room share (``swap.layout: any``).

An image is named ``room-ROOM.EXPORT.GENERATION.BYTES``, so a server that lists the pool knows each
lease. Nothing here removes an image because this server thinks that it is not needed: another one may
serve it. ``end`` does, after it has made sure of the set that had the image last, and under the lock of
the image. It first puts a number into the image that no set can have: a worker that comes at the same
moment leaves it alone (rbdfile.py).
"""

import contextlib
import errno
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from netboot.host.complaints import Complaints
from netboot.pages.stores.chores import Chores
from netboot.pages.stores.librbd import ENDED, Access, Cluster, Look
from netboot.pages.stores.memory import TMPFS
from netboot.pages.stores.rbd import RbdStore, find_access, log
from netboot.pages.stores.rbdfile import RbdFile
from netboot.profile.stores import StoreSpec

_NAME = re.compile(r"room-([0-9a-f]{16})\.([a-z0-9-]+)\.([0-9a-f]{32})\.([0-9]+)", re.ASCII)
STOP_SECONDS = 2.0
_complaints = Complaints(log)


@dataclass(frozen=True, slots=True)
class Pooled:
    """A lease as the name of its image tells it."""

    room: str
    export: str
    generation: str
    size_bytes: int

    @property
    def image(self) -> str:
        """The name of the image."""
        return f"room-{self.room}.{self.export}.{self.generation}.{self.size_bytes}"

    @classmethod
    def parse(cls, image: str) -> "Pooled | None":
        """Return the lease of an image; None if it is no image of a room."""
        found = _NAME.fullmatch(image)
        return found and cls(found[1], found[2], found[3], int(found[4]))


class PoolStore(RbdStore):
    """The images of all servers of a room. Page files are named by the generations of their leases.

    ``known`` are those of the last list by their generations, of all rooms of the pool, and those that
    this server has made since. Images that it made before the room had layout ``any`` are its own, and
    treated as RbdStore does.
    """

    def __init__(self, access: Access, name: str = "", tmpfs: Path = TMPFS) -> None:
        """Connect. Raises OperatorError if the pool cannot be used, or if a server of that name runs."""
        super().__init__(access, name, tmpfs)
        self._looking = Chores(threads=1)
        self._own = set(self._sizes)
        self._settled: frozenset[str] = frozenset()  # at the begin of the last list
        self.known: Mapping[str, Pooled] = {}
        self.follow(_pooled(self._cluster.names()))

    @property
    def own(self) -> frozenset[str]:
        """The page files that no other server knows."""
        return frozenset(self._own)

    def list(self) -> Future[Mapping[str, Pooled]]:
        """Return the leases in the pool by their generations, when the cluster answers."""
        self._settled = frozenset(name for name in self.known if self.making(name) is None)
        return self._looking.do(lambda: _pooled(self._cluster.names()))

    def follow(self, listed: Mapping[str, Pooled]) -> None:
        """Know the leases of a list from now on, and those that were made since it began."""
        newer = {name: each for name, each in self.known.items() if name not in self._settled}
        self.known = {**newer, **listed}
        own = {name: size for name, size in self._sizes.items() if name in self._own}
        self._sizes = {name: each.size_bytes for name, each in self.known.items()} | own

    def create_for(self, room: str, export: str, generation: str, size_bytes: int) -> RbdFile:
        """Have the image of a lease made, as ``create``. Raises FileExistsError."""
        if generation not in self.known:
            self.known = {
                **self.known,
                generation: Pooled(room, export, generation, size_bytes),
            }
        return self.create(generation, size_bytes)

    def _image(self, name: str) -> str:
        found = self.known.get(name)
        return super()._image(name) if found is None else found.image

    def remove(self, name: str) -> None:
        """Forget an image of the room, which stays; remove one that is this server's alone."""
        if name in self._own:
            self._own.discard(name)
            super().remove(name)
            return
        if self._sizes.pop(name, None) is None:
            raise FileNotFoundError(f"page file {name}: there is no such image")
        self.known = {each: found for each, found in self.known.items() if each != name}

    def look(self, names: Sequence[str]) -> Future[Mapping[str, Look]]:
        """Return what images tell, when the cluster answers. Those that are gone are not in it."""
        images = {name: self._image(name) for name in names if name in self._sizes}

        def look() -> Mapping[str, Look]:
            found = {}
            for name, image in images.items():
                with contextlib.suppress(FileNotFoundError):
                    found[name] = self._cluster.look(image)
            return found

        return self._looking.do(look)

    def end(self, name: str, at_most: int) -> Future[None]:
        """Remove an image whose lease has ended, unless a set above ``at_most`` has had it.

        As long as a client has it open it stays, and is looked at again.
        """
        if name in self._own:
            self.remove(name)
            done: Future[None] = Future()
            done.set_result(None)
            return done
        if name not in self._sizes:
            raise FileNotFoundError(f"page file {name}: there is no such image")
        making, image = self.making(name), self._image(name)

        def end() -> None:
            if making is not None and not making.done():
                raise OSError(errno.EBUSY, "its image is being made")
            with contextlib.suppress(FileNotFoundError):
                self._end(image, at_most)

        return self._wiping.do(end, partial(_is_ended_later, image))

    def _end(self, image: str, at_most: int) -> None:
        """Remove an image. Raises FileNotFoundError, and EBUSY while a client has it open."""
        found = self._cluster.look(image)
        if not found.has_ended:
            if found.set_number > at_most:
                return
            if found.is_watched:
                raise OSError(errno.EBUSY, "a page server has it open")
        # A worker that takes the lock from this connection fences nothing else.
        cluster = Cluster(self._access)
        try:
            if found.has_ended or _is_barred(cluster, image, at_most):
                cluster.remove(image)
        finally:
            cluster.close()

    def close(self) -> None:
        """Leave all images to the other servers; disconnect."""
        self._sizes = {name: size for name, size in self._sizes.items() if name in self._own}
        if self._looking.stop(STOP_SECONDS):
            super().close()
        else:  # a thread waits for the cluster, which may not be disconnected under it
            self._folder.close()


def _pooled(images: Sequence[str]) -> Mapping[str, Pooled]:
    found = filter(None, map(Pooled.parse, images))
    return {each.generation: each for each in found}


def _is_barred(cluster: Cluster, image: str, at_most: int) -> bool:
    """Keep all sets from an image, under its lock; return False if a newer one came first."""
    opened = cluster.open(image)
    try:
        opened.own()
        if opened.set_number() > at_most:
            return False
        opened.note_set(ENDED)
    finally:
        opened.close()
    return True


def _is_ended_later(image: str, error: OSError) -> bool:
    if error.errno != errno.EBUSY:
        text = "pages: image %s cannot be removed: %s; trying again"
        _complaints.warn("", text, image, error.strerror)
    return True


def make_store(spec: StoreSpec, name: str = "") -> PoolStore:
    """Return a store in the pool of ``spec``. Raises OperatorError."""
    return PoolStore(find_access(spec), name)
