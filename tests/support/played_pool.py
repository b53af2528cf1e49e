"""A Ceph pool in memory, in place of librbd: images, who has them open, and the lock of each."""

import errno
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from netboot.pages.stores import pool, rbd
from netboot.pages.stores.librbd import Access, Look

ACCESS = Access("netboot", "[global]\n", "key", "swap", "")


def _error(number: int) -> OSError:
    return OSError(number, "as played")


@dataclass
class PlayedImage:
    """An image. ``watchers`` are clients that have it open to write, ``owner`` has its lock."""

    size_bytes: int
    set_number: int = 0
    watchers: set[object] = field(default_factory=set)
    owner: object = None


class PlayedPool:
    """The images of a pool by their names. ``before_lock`` is called before a lock is taken."""

    def __init__(self) -> None:
        self.images: dict[str, PlayedImage] = {}
        self.fenced: list[object] = []
        self.before_lock: Callable[[PlayedImage], None] = lambda image: None
        self.numbers = itertools.count()

    def image_of(self, generation: str) -> PlayedImage | None:
        """Return the image of a lease."""
        return next((each for name, each in self.images.items() if generation in name), None)

    def serve(self, generation: str, server: object, set_number: int) -> None:
        """Have a worker of ``server`` serve a set of a lease, as rbdfile.py does."""
        image = self.image_of(generation)
        assert image is not None
        if image.owner not in (None, server):
            self.fenced.append(image.owner)
        assert image.set_number <= set_number
        image.owner, image.set_number = server, set_number
        image.watchers.add(server)

    def leave(self, generation: str, server: object) -> None:
        """Have a worker close the image."""
        image = self.image_of(generation)
        assert image is not None
        image.watchers.discard(server)
        if image.owner == server:
            image.owner = None


class PlayedCluster:
    """A connection to ``POOL``."""

    POOL = PlayedPool()

    def __init__(self, access: Access, *, seconds: int = 0) -> None:
        self.pool = self.POOL
        self.number = next(self.pool.numbers)

    def names(self) -> list[str]:
        return list(self.pool.images)

    def has_namespace(self, name: str) -> bool:
        return True

    def create(self, name: str, size_bytes: int) -> None:
        if name in self.pool.images:
            raise _error(errno.EEXIST)
        self.pool.images[name] = PlayedImage(size_bytes)

    def _found(self, name: str) -> PlayedImage:
        if name not in self.pool.images:
            raise _error(errno.ENOENT)
        return self.pool.images[name]

    def remove(self, name: str) -> None:
        if self._found(name).watchers:
            raise _error(errno.EBUSY)
        del self.pool.images[name]

    def look(self, name: str) -> Look:
        image = self._found(name)
        return Look(image.set_number, bool(image.watchers))

    def open(self, name: str) -> "_Open":
        return _Open(self, self._found(name))

    def close(self) -> None:
        pass


class _Open:
    def __init__(self, cluster: PlayedCluster, image: PlayedImage) -> None:
        self._cluster, self._image = cluster, image
        image.watchers.add(cluster)

    def own(self) -> None:
        self._cluster.pool.before_lock(self._image)
        if self._image.owner is not None:
            self._cluster.pool.fenced.append(self._image.owner)
        self._image.owner = self._cluster

    def set_number(self) -> int:
        return self._image.set_number

    def note_set(self, number: int) -> None:
        assert self._image.owner is self._cluster
        self._image.set_number = number

    def close(self) -> None:
        self._image.watchers.discard(self._cluster)
        if self._image.owner is self._cluster:
            self._image.owner = None


def play(monkeypatch: pytest.MonkeyPatch) -> PlayedPool:
    """Have stores use a new pool."""
    played = PlayedPool()
    monkeypatch.setattr(PlayedCluster, "POOL", played)
    for module in (rbd, pool):
        monkeypatch.setattr(module, "Cluster", PlayedCluster)
    monkeypatch.setattr("netboot.pages.stores.chores.RETRY_SECONDS", 0.001)
    return played
