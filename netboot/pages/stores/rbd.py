"""Ceph store: each page file is an image in a pool of a Ceph cluster, made thin.

A write that was answered is on all acting OSDs of its object, and nothing is cached here. While an
OSD or the monitors are away, requests wait. A full pool or quota is Busy.

Fencing: a worker holds the exclusive lock of each image that it changes. A worker that takes an image
over breaks the lock of the one before, which Ceph blocklists first: nothing that was still under way
is written. All images of a blocklisted worker are fenced, because Ceph blocklists a whole client.

The control plane reads the configuration and the key, and a worker gets them in a memfd.
"""

import contextlib
import errno
import hashlib
import logging
import os
import re
import socket
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as StillWaiting
from functools import partial
from pathlib import Path

from netboot.errors import OperatorError
from netboot.host.complaints import Complaints
from netboot.pages.stores.chores import Chores
from netboot.pages.stores.folder import PREFIX, Folder, beside
from netboot.pages.stores.librbd import Access, Cluster, find_keyring
from netboot.pages.stores.memory import TMPFS
from netboot.pages.stores.rbdfile import RbdFile, describe, described
from netboot.profile.stores import StoreSpec

CLIENT = "netboot"  # the name in the cluster: client.netboot
CONF = Path("/etc/ceph/ceph.conf")
CONF_VARIABLE = "CEPH_CONF"  # as for Ceph's own programs
# At the start of the server, which tells the operator then.
CONNECT_SECONDS = 10
WIPE_SECONDS = 10.0  # of all pages, at the end of a server without a name

log = logging.getLogger(__name__)
_complaints = Complaints(log)


class RbdStore:
    """The images of one server, whose names begin with the machine and the name of the server.

    A directory on this machine has the leases and sockets.
    """

    kind = "rbd"

    def __init__(self, access: Access, name: str = "", tmpfs: Path = TMPFS) -> None:
        """Connect. Raises OperatorError if the pool cannot be used, or if a server of that name runs."""
        self._access = access
        self._cluster = _connect(access)
        try:
            self._folder = Folder(tmpfs, beside(name, self.kind) if name else "")
        except BaseException:
            self._cluster.close()
            raise
        self._prefix = f"{_machine()}-{self._folder.path.name}."
        self._chores = Chores(threads=4)
        self._wiping = Chores(threads=1)  # waits for workers that have images open
        self._making: dict[str, Future[None]] = {}
        images = self._cluster.names()
        self._sizes = _sizes(images, self._prefix)
        for left in _left_behind(images, tmpfs):
            self._wipe(left)

    @property
    def directory(self) -> Path:
        """The directory on this machine."""
        return self._folder.path

    def mend(self) -> None:
        """Make the directory again if it was removed."""
        self._folder.mend()

    def create(self, name: str, size_bytes: int, *, alone: bool = False) -> RbdFile:
        """Have an image made. The lock of an image does what ``alone`` asks for.

        Raises FileExistsError. Another thread makes the image, when the cluster answers.
        """
        if name in self._sizes:
            raise FileExistsError(errno.EEXIST, f"page file {name} exists")
        self._sizes[name] = size_bytes
        image = self._image(name)
        self._making[name] = self._chores.do(
            lambda: self._make(image, size_bytes), partial(_is_made_later, image)
        )
        return RbdFile(self._access, image, size_bytes, describe(self._access, image))

    def _make(self, image: str, size_bytes: int) -> None:
        with contextlib.suppress(FileExistsError):  # an attempt before has made it
            self._cluster.create(image, size_bytes)

    def making(self, name: str) -> Future[None] | None:
        """Return what ends when the image is there."""
        found = self._making.get(name)
        if found is not None and found.done():
            del self._making[name]
            return None
        return found

    def open(self, name: str, size_bytes: int, *, alone: bool = False) -> RbdFile:
        """Open an image. Raises FileNotFoundError, also for another size."""
        if name not in self._sizes:
            raise FileNotFoundError(f"page file {name}: there is no such image")
        if self._sizes[name] != size_bytes:
            raise FileNotFoundError(f"page file {name} has another size")
        image = self._image(name)
        return RbdFile(self._access, image, size_bytes, describe(self._access, image))

    def _image(self, name: str) -> str:
        return f"{self._prefix}{name}.{self._sizes[name]}"

    def has(self, name: str) -> bool:
        """Return whether there is an image of that name, or one that is made at this moment."""
        return name in self._sizes

    def names(self) -> Sequence[str]:
        """Return the names of the images, of those too that are made at this moment."""
        return sorted(self._sizes)

    def remove(self, name: str) -> None:
        """Forget an image, and remove it as soon as no process has it open."""
        if name not in self._sizes:
            raise FileNotFoundError(f"page file {name}: there is no such image")
        image = self._image(name)
        del self._sizes[name]
        making = self._making.pop(name, None)
        if making is None:
            self._wipe(image)
        else:
            making.add_done_callback(lambda made: self._wipe(image))

    def _wipe(self, image: str) -> Future[None]:
        def wipe() -> None:
            with contextlib.suppress(FileNotFoundError):
                self._cluster.remove(image)

        return self._wiping.do(wipe, lambda error: error.errno == errno.EBUSY)

    def close(self) -> None:
        """Remove all images if the store has no name; disconnect."""
        if not self._folder.kept:
            wiped = [self._wipe(self._image(name)) for name in self.names()]
            for each in wiped:
                with contextlib.suppress(OSError, StillWaiting):
                    each.result(WIPE_SECONDS)
        idle = [each.stop(WIPE_SECONDS) for each in (self._chores, self._wiping)]
        if all(idle):
            self._cluster.close()
        self._folder.close()


def _sizes(images: Sequence[str], prefix: str) -> dict[str, int]:
    """Return by name the sizes of a server's page files. An image's name has both."""
    found = (each[len(prefix) :].rpartition(".") for each in images if each.startswith(prefix))
    return {name: int(size) for name, _, size in found if name and size.isdecimal()}


def _is_made_later(image: str, error: OSError) -> bool:
    """Tell why an image could not be made; return True: it is tried again."""
    _complaints.warn("", "pages: image %s cannot be made: %s; trying again", image, error.strerror)
    return True


def _machine() -> str:
    """Return 8 digits that no other machine has. The machine's id itself is private (machine-id(5))."""
    try:
        text = Path("/etc/machine-id").read_text()
    except OSError:
        text = socket.gethostname()
    return hashlib.blake2b(f"netboot rbd {text}".encode(), digest_size=4).hexdigest()


def _left_behind(images: Sequence[str], tmpfs: Path) -> list[str]:
    """Return the images of dead servers of this machine that had no name."""
    begin = f"{_machine()}-{PREFIX}"
    found = [each for each in images if each.startswith(begin)]
    folders = [each[each.index(PREFIX) :].partition(".")[0] for each in found]
    return [each for each, name in zip(found, folders, strict=True) if not (tmpfs / name).exists()]


def _connect(access: Access) -> Cluster:
    where = f"pool {access.pool!r}"
    try:
        cluster = Cluster(access, seconds=CONNECT_SECONDS)
    except FileNotFoundError:
        raise OperatorError(
            f"the Ceph cluster has no {where}", hint=f"ceph osd pool create {access.pool}"
        ) from None
    except OSError as error:
        raise OperatorError(
            f"the Ceph cluster with {where} cannot be used: {error.strerror}",
            hint=f"try: rbd --id {CLIENT} --pool {access.pool} list",
        ) from error
    if access.namespace and not cluster.has_namespace(access.namespace):
        cluster.close()
        raise OperatorError(
            f"{where} has no namespace {access.namespace!r}",
            hint=f"rbd namespace create {access.pool}/{access.namespace}",
        )
    return cluster


def find_access(spec: StoreSpec) -> Access:
    """Return the access to the pool of ``spec``, from Ceph's own files. Raises OperatorError."""
    path = Path(os.environ.get(CONF_VARIABLE, CONF))
    try:
        conf = path.read_text()
        keyrings = [Path(each.strip()) for each in find_keyring(conf, CLIENT)]
        keyring = next((each.read_text() for each in keyrings if each.is_file()), "")
    except OSError as error:
        what = error.filename or path
        raise OperatorError(
            f"the store rbd cannot read {what}: {error.strerror}",
            hint="see docs/howto/page-stores.md",
        ) from error
    section = keyring.partition(f"[client.{CLIENT}]")[2].partition("[")[0]
    key = re.search(r"^\s*key\s*=\s*(\S+)\s*$", section, re.MULTILINE)
    return Access(CLIENT, conf, key[1] if key else "", spec.pool, spec.namespace)


def make_store(spec: StoreSpec, name: str) -> RbdStore:
    """Return a store in the pool of ``spec``."""
    return RbdStore(find_access(spec), name)


def adopt(descriptors: Sequence[int], size_bytes: int) -> RbdFile:
    """Return the page file of a memfd that another process sent."""
    (descriptor,) = descriptors
    return described(descriptor, size_bytes)
