"""A page file that is an image in a Ceph pool, and the images that this process has open.

Orders go to librbd and come back in any order, so nobody waits for another's. A thread for each
image opens it, which may take as long as the cluster needs; orders wait for that. One thread takes
the completions of all images.
"""

import contextlib
import errno
import json
import logging
import os
import threading
import time

from netboot.host.complaints import Complaints
from netboot.pages.nbd.backing import Busy, Damaged, Desk, Fenced, Operation, Order
from netboot.pages.stores.librbd import BLOCKLISTED, Access, Cluster, Image, Started
from netboot.pages.stores.sparse import NO_ROOM

OPEN_AGAIN_SECONDS = 1.0
# Of the lock that is let go, so that the next worker need not break it: an image takes 5 ms.
CLOSE_SECONDS = 1.0
# librbd refuses what has not begun as soon as it sees that another client has the lock.
LOCK_LOST = {BLOCKLISTED, errno.EROFS}
TAKEN = "another server has taken over its pages"

log = logging.getLogger(__name__)
_complaints = Complaints(log)


class RbdFile:
    """A page file in the image ``name``, which is opened for the first set or order."""

    def __init__(self, access: Access, name: str, size_bytes: int, descriptor: int) -> None:
        self._access, self._name = access, name
        self._size_bytes = size_bytes
        self._descriptor = descriptor
        self._opened: _Opened | None = None
        self._set_number = 0

    @property
    def size_bytes(self) -> int:
        """Size in bytes."""
        return self._size_bytes

    def submit(self, order: Order, desk: Desk) -> None:
        """Give ``order`` to librbd."""
        self._open().submit(order, desk)

    def _open(self) -> "_Opened":
        if self._opened is None:
            self._opened = _borrow(self._access, self._name, self._set_number)
        return self._opened

    def enter(self, set_number: int) -> None:
        """Have the number noted in the image before the next order begins.

        The image is opened at once, so that other servers see who has it. Clients without sets share
        images, and do not show that.
        """
        self._set_number = max(self._set_number, set_number)
        if self._set_number:
            self._open().enter(self._set_number)

    def rest(self) -> None:
        """Close the image if no other page file of this process uses it, without waiting for that."""
        opened, self._opened = self._opened, None
        if opened is not None:
            _let_go(opened, waits=False)

    def read_now(self, offset: int, buffer: memoryview) -> None:
        """Raise BlockingIOError: no page is in this process."""
        raise BlockingIOError

    def write_now(self, offset: int, data: memoryview) -> None:
        """Raise BlockingIOError: a write is done when the OSDs have it."""
        raise BlockingIOError

    def view(self, offset: int, length: int) -> memoryview | None:
        """Return None: no page is in this process."""
        return None

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer``. Raises Damaged if the image ends before."""
        if buffer:
            self._wait_for(Order(Operation.READ, offset, len(buffer), buffer))

    def write(self, offset: int, data: memoryview) -> None:
        """Store ``data`` in all copies. Raises Busy if the pool is full."""
        if data:
            self._wait_for(Order(Operation.WRITE, offset, len(data), data))

    def trim(self, offset: int, length: int) -> None:
        """Free whole objects, and punch holes into others."""
        if length:
            self._wait_for(Order(Operation.TRIM, offset, length))

    def zero(self, offset: int, length: int, *, allocate: bool) -> None:
        """Free the range, or write zeros if ``allocate``."""
        if length:
            self._wait_for(Order(Operation.ZERO, offset, length, allocate=allocate))

    def extents(self, offset: int, length: int) -> list[tuple[int, bool]]:
        """Return one extent with data: the cluster would have to be asked for each object."""
        return [(length, False)] if length else []

    def flush(self) -> None:
        """Wait for all writes before."""
        self._wait_for(Order(Operation.FLUSH))

    def check(self) -> None:
        """Do nothing: Ceph keeps an image that a client has open."""

    def descriptors(self) -> tuple[int]:
        """Return a memfd with all that another process needs to open the image."""
        return (self._descriptor,)

    def close(self) -> None:
        """Close the image if no other page file of this process uses it."""
        os.close(self._descriptor)
        if self._opened is not None:
            _let_go(self._opened)

    def _wait_for(self, order: Order) -> None:
        place = _Place()
        self.submit(order, place)
        place.ready.wait()
        if order.error is not None:
            raise order.error


class _Place:
    """A desk for one order, which its caller waits for."""

    def __init__(self) -> None:
        self.ready = threading.Event()

    def done(self, order: Order) -> None:
        self.ready.set()

    def employ(self, pages: object, order: Order, *, looks: bool = False) -> None:
        raise AssertionError("librbd has threads of its own")


class _Opened:
    """An image that this process has open, or opens, for ``users`` page files.

    A thread prepares it for the newest set, ``set_number``. Orders wait for that. ``before`` is the
    same image, which is being closed: while it has the lock, this one would fence its own process.
    """

    def __init__(
        self, access: Access, name: str, set_number: int, before: "_Opened | None" = None
    ) -> None:
        self.access, self.name = access, name
        self.users = 0
        self.fenced = False
        self._before = before
        self._gone = threading.Event()
        self._set_number = set_number
        self._cluster: Cluster | None = None
        self._image: Image | None = None
        self._closed = False
        self._error: Exception | None = None
        self._queue: list[tuple[Order, Desk]] = []
        self._under_way: dict[int, tuple[Order, Desk, Started]] = {}
        self._lock = threading.RLock()
        self._preparing = True
        threading.Thread(target=self._prepare, name="ceph open", daemon=True).start()

    def submit(self, order: Order, desk: Desk) -> None:
        """Begin ``order``, as soon as the image is prepared."""
        with self._lock:
            if self._error is not None:
                order.error = self._error
                desk.done(order)
            elif self._preparing or self._image is None:
                self._queue.append((order, desk))
            else:
                self._begin(self._image, order, desk)

    def enter(self, set_number: int) -> None:
        """Serve a set. Its orders wait until the image has the number."""
        with self._lock:
            if set_number <= self._set_number:
                return
            self._set_number = set_number
            if self._preparing:
                return
            self._preparing = True
        threading.Thread(target=self._prepare, name="ceph set", daemon=True).start()

    def _begin(self, image: Image, order: Order, desk: Desk) -> None:
        try:
            started = image.start(order)
        except OSError as error:
            order.error = self._meaning(error)
            desk.done(order)
        else:
            self._under_way[started.number] = (order, desk, started)

    def collect(self) -> None:
        """Give back the orders that are done."""
        with self._lock:
            if self._image is None:
                return
            for number, result in self._image.poll():
                order, desk, _ = self._under_way.pop(number)
                if result < 0:
                    order.error = self._meaning(OSError(-result, os.strerror(-result)))
                elif order.operation is Operation.READ and result < order.length:
                    order.error = Damaged(f"its image {self.name} was made smaller")
                desk.done(order)

    def _meaning(self, error: OSError) -> Exception:
        if error.errno in NO_ROOM:
            return Busy("the pool is full")
        if error.errno not in LOCK_LOST:
            text = "pages: image %s: a request has failed: %s"
            _complaints.warn(self.name, text, self.name, error.strerror)
            return error
        self.fenced = True
        if self._cluster is not None:
            self._cluster.fenced = True
        return Fenced(TAKEN)

    def _prepare(self) -> None:
        """Open the image, take its lock and note the set in it, however long that takes."""
        if self._before is not None:
            self._before._gone.wait()
            self._before = None
        noted = None
        while not self._is_prepared(noted):
            number = self._set_number
            try:
                if self._image is None:
                    self._open(number)
                else:
                    self._image.note_set(number)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    self._fail(Damaged(f"its image {self.name} is gone"))
                elif self._image is not None and error.errno in LOCK_LOST:
                    self._fail(self._meaning(error))
                else:
                    text = "pages: image %s cannot be opened: %s; trying again"
                    _complaints.warn(self.name, text, self.name, error.strerror)
                    time.sleep(OPEN_AGAIN_SECONDS)
            except Exception as error:  # noqa: BLE001 - Fenced, or a fault of ours: told to the orders
                self._fail(error)
            else:
                noted = number

    def _is_prepared(self, noted: int | None) -> bool:
        """Begin what waits, if the newest set is ``noted``. Return True if nothing is left to do."""
        with self._lock:
            goes_on = self._error is None and not self._closed
            if goes_on and noted != self._set_number:
                return False
            self._preparing = False
            if goes_on and self._image is not None:
                queue, self._queue = self._queue, []
                for order, desk in queue:
                    self._begin(self._image, order, desk)
                return True
        if self._closed:
            self._close_all()
        return True

    def _open(self, number: int) -> None:
        """Open the image for a set, and take its lock. Raises Fenced and OSError."""
        cluster, image = _connect(self.access), None
        try:
            image = cluster.open(self.name)
            _own(image, number)
        except BaseException as error:
            if image is not None:
                _close(image)
            if isinstance(error, OSError):
                cluster.fenced |= error.errno in LOCK_LOST
            _disconnect(cluster)
            raise
        image.notify(_completions.descriptor)
        with self._lock:
            self._cluster, self._image = cluster, image
        _completions.follow(self)

    def _fail(self, error: Exception) -> None:
        with self._lock:
            self._error = error
            self.fenced |= isinstance(error, Fenced)
            queue, self._queue = self._queue, []
        for order, desk in queue:
            order.error = error
            desk.done(order)

    def close(self, *, waits: bool) -> None:
        """Let the lock go. No order is left. ``waits``: as long as a healthy cluster takes."""
        with self._lock:
            self._closed = True
            if self._preparing:
                return  # the thread that prepares it closes it
        threading.Thread(target=self._close_all, name="ceph close", daemon=True).start()
        if waits:
            self._gone.wait(CLOSE_SECONDS)

    def _close_all(self) -> None:
        with self._lock:
            image, self._image = self._image, None
        _completions.leave(self)
        if image is not None and self._cluster is not None:
            _close(image)
            _disconnect(self._cluster)
        self._gone.set()
        with _lock:
            if _closing.get((self.access, self.name)) is self:
                del _closing[self.access, self.name]


def _own(image: Image, set_number: int) -> None:
    """Take the lock, and note the set in the image. Raises Fenced if a newer set has had the lock.

    A worker that was stopped, or slow, may come here after its seat went to another server. A second
    look is needed because the newer set may come between the first one and the lock.
    """
    if image.set_number() <= set_number:
        image.own()
        noted = image.set_number()
        if noted < set_number:
            image.note_set(set_number)
        if noted <= set_number:
            return
    raise Fenced(TAKEN)


def _close(image: Image) -> None:
    with contextlib.suppress(OSError):  # of a client that is blocklisted
        image.close()


class _Completions:
    """The thread that takes completions."""

    def __init__(self) -> None:
        self.descriptor = -1
        self._followed: tuple[_Opened, ...] = ()
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Start the thread if it does not run."""
        with self._lock:
            if self.descriptor < 0:
                self.descriptor = os.eventfd(0, os.EFD_CLOEXEC)
                threading.Thread(target=self._run, name="ceph", daemon=True).start()

    def follow(self, opened: _Opened) -> None:
        """Take the completions of an image."""
        with self._lock:
            self._followed = (*self._followed, opened)

    def leave(self, opened: _Opened) -> None:
        """Take them no more."""
        with self._lock:
            self._followed = tuple(each for each in self._followed if each is not opened)

    def _run(self) -> None:
        while True:
            os.eventfd_read(self.descriptor)
            for each in self._followed:
                each.collect()


_completions = _Completions()
_opened: dict[tuple[Access, str], _Opened] = {}
_closing: dict[tuple[Access, str], _Opened] = {}  # the last one of each image
_clusters: dict[Access, Cluster] = {}
_lock = threading.Lock()  # of all three


def _borrow(access: Access, name: str, set_number: int) -> _Opened:
    """Return the image of this process, for a set: opened twice, it would fence itself."""
    _completions.begin()
    with _lock:
        found = _opened.get((access, name))
        if found is None or found.fenced:
            before = _closing.get((access, name))
            found = _opened[access, name] = _Opened(access, name, set_number, before)
        found.users += 1
    found.enter(set_number)
    return found


def _let_go(opened: _Opened, *, waits: bool = True) -> None:
    with _lock:
        opened.users -= 1
        if opened.users:
            return
        if _opened.get((opened.access, opened.name)) is opened:
            del _opened[opened.access, opened.name]
            _closing[opened.access, opened.name] = opened
    opened.close(waits=waits)


def _connect(access: Access) -> Cluster:
    """Return the connection of this process, and count its images. Raises OSError."""
    with _lock:
        found = _clusters.get(access)
        if found is not None and not found.fenced:
            found.images += 1
            return found
    made = Cluster(access)  # not under the lock: this may take long
    with _lock:
        other = _clusters.get(access)
        if other is None or other.fenced:
            other = _clusters[access] = made
        other.images += 1
    if other is not made:
        made.close()
    return other


def _disconnect(cluster: Cluster) -> None:
    with _lock:
        cluster.images -= 1
        if cluster.images:
            return
        if _clusters.get(cluster.access) is cluster:
            del _clusters[cluster.access]
    cluster.close()


def describe(access: Access, image: str) -> int:
    """Return a memfd for ``adopt``."""
    descriptor = os.memfd_create(f"netboot-{image}"[:200])
    content = {
        "client": access.client,
        "conf": access.conf,
        "key": access.key,
        "pool": access.pool,
        "namespace": access.namespace,
    }
    with open(descriptor, "w", closefd=False) as file:
        json.dump({"access": content, "image": image}, file)
    return descriptor


def described(descriptor: int, size_bytes: int) -> RbdFile:
    """Return the page file of a memfd of ``describe``."""
    content = json.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
    return RbdFile(Access(**content["access"]), content["image"], size_bytes, descriptor)
