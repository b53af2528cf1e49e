"""Ceph's C libraries librados and librbd, as far as the store ``rbd`` uses them.

They are called with ctypes. Debian's python3-rbd is built for one Python and tells of each completion
by a call of Python code in a thread of the library. The C interface is stable (librbd.so.1 since
2010), tells by an eventfd, and reads into our buffers.

Nothing is loaded before ``Cluster`` is made. All calls may wait for the cluster, but ``start`` and
``poll`` of ``Image``.
"""

import ctypes
import errno
import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from ctypes import POINTER, byref, c_char, c_char_p, c_int, c_int64, c_size_t, c_uint64, c_void_p
from dataclasses import dataclass, field

from netboot.errors import OperatorError
from netboot.pages.nbd.backing import Operation, Order

PACKAGE = "librbd1"  # Debian's, which needs librados2
FEATURE_EXCLUSIVE_LOCK = 1 << 2  # rbd/features.h
LOCK_EXCLUSIVE = 0  # RBD_LOCK_MODE_EXCLUSIVE, rbd/librbd.h
EVENT_TYPE_EVENTFD = 2  # the same
THICK_PROVISION = 1  # RBD_WRITE_ZEROES_FLAG_THICK_PROVISION, the same
POLLED_AT_ONCE = 64
# A machine may be suspended for longer than Ceph's hour. Then it would send again what it had under way:
# a write of librbd does not name the lock.
BLOCKLIST_SECONDS = 30.0 * 24 * 3600
OBJECT_ORDER = 22  # objects of 4 MiB, as the tool rbd makes them
# EBLOCKLISTED of Ceph (include/rados.h) is this number.
BLOCKLISTED = errno.ESHUTDOWN
SET_KEY = b"netboot_set"  # of an image's metadata
# Above each number that a seat can give: no set may use the image, which is about to be removed.
ENDED = 1 << 64
MOST_WATCHERS = 64

_OPTIONS = {
    # Else a write is answered when it is in this process: 19 us where an OSD takes 350 us of CPU.
    "rbd_cache": "false",
    # Without them the range of a TRIM that is no whole object would keep its bytes.
    "rbd_skip_partial_discard": "false",
    "rbd_discard_granularity_bytes": "0",
    # Operations wait for an OSD or a monitor, however long that takes.
    "rados_osd_op_timeout": "0",
    "rados_mon_op_timeout": "0",
    # ``own`` does so itself: librbd would for an hour only, and its option for a longer time fails with
    # EINVAL in 16.2.15.
    "rbd_blocklist_on_break_lock": "false",
    # No file of its own, no line on standard error.
    "log_file": "",
    "log_to_stderr": "false",
    "err_to_stderr": "false",
    "admin_socket": "",
}

_RADOS: dict[str, Sequence[object]] = {
    "rados_create": (POINTER(c_void_p), c_char_p),
    "rados_conf_read_file": (c_void_p, c_char_p),
    "rados_conf_set": (c_void_p, c_char_p, c_char_p),
    "rados_conf_get": (c_void_p, c_char_p, c_char_p, c_size_t),
    "rados_connect": (c_void_p,),
    "rados_shutdown": (c_void_p,),
    "rados_ioctx_create": (c_void_p, c_char_p, POINTER(c_void_p)),
    "rados_ioctx_set_namespace": (c_void_p, c_char_p),
    "rados_ioctx_destroy": (c_void_p,),
    "rados_mon_command": (
        *(c_void_p, POINTER(c_char_p), c_size_t, c_char_p, c_size_t),
        *(c_void_p, c_void_p, c_void_p, c_void_p),  # no output is asked for
    ),
    "rados_wait_for_latest_osdmap": (c_void_p,),
}


class _ImageSpec(ctypes.Structure):
    _fields_ = (("id", c_void_p), ("name", c_char_p))


class _Watcher(ctypes.Structure):
    _fields_ = (("address", c_char_p), ("id", c_int64), ("cookie", c_uint64))


_RBD: dict[str, Sequence[object]] = {
    "rbd_create2": (c_void_p, c_char_p, c_uint64, c_uint64, POINTER(c_int)),
    "rbd_remove": (c_void_p, c_char_p),
    "rbd_list2": (c_void_p, POINTER(_ImageSpec), POINTER(c_size_t)),
    "rbd_image_spec_list_cleanup": (POINTER(_ImageSpec), c_size_t),
    "rbd_namespace_exists": (c_void_p, c_char_p, POINTER(ctypes.c_bool)),
    "rbd_open": (c_void_p, c_char_p, POINTER(c_void_p), c_char_p),
    "rbd_open_read_only": (c_void_p, c_char_p, POINTER(c_void_p), c_char_p),
    "rbd_watchers_list": (c_void_p, POINTER(_Watcher), POINTER(c_size_t)),
    "rbd_watchers_list_cleanup": (POINTER(_Watcher), c_size_t),
    "rbd_close": (c_void_p,),
    "rbd_get_size": (c_void_p, POINTER(c_uint64)),
    "rbd_metadata_get": (c_void_p, c_char_p, c_char_p, POINTER(c_size_t)),
    "rbd_metadata_set": (c_void_p, c_char_p, c_char_p),
    "rbd_lock_acquire": (c_void_p, c_int),
    "rbd_lock_get_owners": (c_void_p, POINTER(c_int), POINTER(c_char_p), POINTER(c_size_t)),
    "rbd_lock_get_owners_cleanup": (POINTER(c_char_p), c_size_t),
    "rbd_lock_break": (c_void_p, c_int, c_char_p),
    "rbd_set_image_notification": (c_void_p, c_int, c_int),
    "rbd_poll_io_events": (c_void_p, POINTER(c_void_p), c_int),
    "rbd_aio_create_completion": (c_void_p, c_void_p, POINTER(c_void_p)),
    "rbd_aio_write": (c_void_p, c_uint64, c_size_t, c_void_p, c_void_p),
    "rbd_aio_read": (c_void_p, c_uint64, c_size_t, c_void_p, c_void_p),
    "rbd_aio_discard": (c_void_p, c_uint64, c_uint64, c_void_p),
    "rbd_aio_flush": (c_void_p, c_void_p),
    "rbd_aio_write_zeroes": (c_void_p, c_uint64, c_size_t, c_void_p, c_int, c_int),
    "rbd_aio_get_return_value": (c_void_p,),
    "rbd_aio_release": (c_void_p,),
}
_NOTHING_RETURNED = {
    *("rados_shutdown", "rados_ioctx_set_namespace", "rados_ioctx_destroy"),
    *("rbd_image_spec_list_cleanup", "rbd_lock_get_owners_cleanup", "rbd_aio_release"),
    "rbd_watchers_list_cleanup",
}
_LONG_RETURNED = {"rbd_aio_get_return_value"}


@functools.cache
def _library(name: str) -> dict[str, Callable[..., int]]:
    table = _RADOS if name.startswith("librados") else _RBD
    try:
        library = ctypes.CDLL(name)
        found = {each: getattr(library, each) for each in table}
    except (OSError, AttributeError):
        raise OperatorError(
            f"the store rbd needs Ceph's library {name}, and this machine has none",
            hint=f"sudo apt install {PACKAGE}",
        ) from None
    for each, function in found.items():
        function.argtypes = tuple(table[each])
        if each in _NOTHING_RETURNED:
            function.restype = None
        else:
            function.restype = c_int64 if each in _LONG_RETURNED else c_int
    return found


def _rados(name: str, *values: object) -> int:
    return _checked(_library("librados.so.2")[name](*values))


def _rbd(name: str, *values: object) -> int:
    return _checked(_library("librbd.so.1")[name](*values))


def _checked(result: int | None) -> int:
    if result is not None and result < 0:
        raise OSError(-result, os.strerror(-result))
    return result or 0


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a pool: the text of a ceph.conf, and the key of ``client`` or an empty text."""

    client: str
    conf: str
    key: str = field(repr=False)
    pool: str
    namespace: str


def find_keyring(conf: str, client: str) -> list[str]:
    """Return the paths of the key of ``client`` that a ceph.conf gives. Raises OSError."""
    cluster, value = c_void_p(), ctypes.create_string_buffer(4096)
    _rados("rados_create", byref(cluster), client.encode())
    try:
        _read_conf(cluster, conf)
        _rados("rados_conf_get", cluster, b"keyring", value, len(value))
    finally:
        _rados("rados_shutdown", cluster)
    return value.value.decode().split(",")


class Cluster:
    """A connection to a pool, with some threads of its own.

    Once another client has blocklisted it, it is ``fenced`` for good: make a new one. ``images`` is for
    its user to count.
    """

    fenced = False
    images = 0

    def __init__(self, access: Access, *, seconds: int = 0) -> None:
        """Connect. Raises OSError; a monitor has ``seconds`` to answer, or all time if they are 0."""
        self.access = access
        self._cluster, self._pool = c_void_p(), c_void_p()
        _library("librbd.so.1")
        _rados("rados_create", byref(self._cluster), access.client.encode())
        try:
            _read_conf(self._cluster, access.conf)
            for name, value in _OPTIONS.items():
                # An option that this release of Ceph does not have is not needed there.
                _library("librados.so.2")["rados_conf_set"](
                    self._cluster, name.encode(), value.encode()
                )
            if access.key:
                self._set("key", access.key)
            self._set("client_mount_timeout", str(seconds or 1 << 30))
            _rados("rados_connect", self._cluster)
            _rados("rados_ioctx_create", self._cluster, access.pool.encode(), byref(self._pool))
            _rados("rados_ioctx_set_namespace", self._pool, access.namespace.encode())
        except BaseException:
            self.close()
            raise

    def _set(self, name: str, value: str) -> None:
        _rados("rados_conf_set", self._cluster, name.encode(), value.encode())

    def has_namespace(self, name: str) -> bool:
        """Return whether the pool has the namespace. Raises OSError."""
        found = ctypes.c_bool()
        _rbd("rbd_namespace_exists", self._pool, name.encode(), byref(found))
        return found.value

    def create(self, name: str, size_bytes: int) -> None:
        """Create an image without data. Raises OSError."""
        order = c_int(OBJECT_ORDER)
        features = FEATURE_EXCLUSIVE_LOCK
        _rbd("rbd_create2", self._pool, name.encode(), size_bytes, features, byref(order))

    def remove(self, name: str) -> None:
        """Remove an image. Raises OSError: EBUSY while a process has it open."""
        _rbd("rbd_remove", self._pool, name.encode())

    def names(self) -> list[str]:
        """Return the names of all images. Raises OSError."""
        room = 256
        while True:
            specs, count = (_ImageSpec * room)(), c_size_t(room)
            try:
                _rbd("rbd_list2", self._pool, specs, byref(count))
            except OSError as error:
                if error.errno != errno.ERANGE:
                    raise
                room = max(2 * room, count.value)
                continue
            names = [(spec.name or b"").decode() for spec in specs[: count.value]]
            _rbd("rbd_image_spec_list_cleanup", specs, count.value)
            return names

    def open(self, name: str) -> "Image":
        """Open an image to read and write it. Raises OSError."""
        image = c_void_p()
        _rbd("rbd_open", self._pool, name.encode(), byref(image), None)
        return Image(image, self)

    def look(self, name: str) -> "Look":
        """Look at an image without being seen. Raises OSError: ENOENT if there is none."""
        found = c_void_p()
        _rbd("rbd_open_read_only", self._pool, name.encode(), byref(found), None)
        image = Image(found, self)
        try:
            return Look(image.set_number(), image.is_watched())
        finally:
            image.close()

    def blocklist(self, client: str) -> None:
        """Have all OSDs refuse what ``client`` still sends, before they do what we ask from now on."""
        words = {"prefix": "osd blocklist", "blocklistop": "add", "addr": client}
        command = json.dumps({**words, "expire": BLOCKLIST_SECONDS}).encode()
        commands = (c_char_p * 1)(command)
        _rados("rados_mon_command", self._cluster, commands, 1, None, 0, *([None] * 4))
        _rados("rados_wait_for_latest_osdmap", self._cluster)

    def close(self) -> None:
        """Disconnect. All images must be closed."""
        if self._pool.value:
            _rados("rados_ioctx_destroy", self._pool)
        _rados("rados_shutdown", self._cluster)
        self._pool = self._cluster = c_void_p()


@dataclass(frozen=True, slots=True)
class Look:
    """A look at an image: the set that had it last, and whether a client has it open to write.

    Of a client that is dead Ceph notices that after 30 s.
    """

    set_number: int
    is_watched: bool

    @property
    def has_ended(self) -> bool:
        """True if no set may use the image any more."""
        return self.set_number >= ENDED


@dataclass(slots=True, eq=False)
class Started:
    """An operation under way, known by its ``number``. ``buffer`` belongs to librbd until it is done."""

    number: int
    buffer: object


class Image:
    """An open image. Offsets and lengths are in bytes. Methods raise OSError."""

    def __init__(self, image: c_void_p, cluster: Cluster) -> None:
        self._image = image
        self._cluster = cluster

    @property
    def size_bytes(self) -> int:
        """The size of the image."""
        size = c_uint64()
        _rbd("rbd_get_size", self._image, byref(size))
        return size.value

    def own(self) -> None:
        """Take the exclusive lock. Its owner is blocklisted, and can write nothing from now on."""
        for owner in self.owners():
            self._cluster.blocklist(owner.decode())
            try:
                _rbd("rbd_lock_break", self._image, LOCK_EXCLUSIVE, owner)
            except OSError as error:
                if error.errno != errno.ENOENT:  # it has let go meanwhile
                    raise
        _rbd("rbd_lock_acquire", self._image, LOCK_EXCLUSIVE)

    def set_number(self) -> int:
        """Return the number of ``note_set``; 0 if there is none."""
        value = ctypes.create_string_buffer(64)
        try:
            _rbd("rbd_metadata_get", self._image, SET_KEY, value, byref(c_size_t(len(value))))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return 0
            raise
        return int(value.value)

    def note_set(self, number: int) -> None:
        """Note in the image which set of connections has it. Only the owner of the lock may do so."""
        _rbd("rbd_metadata_set", self._image, SET_KEY, str(number).encode())

    def is_watched(self) -> bool:
        """Return whether a client has the image open to write it."""
        watchers, count = (_Watcher * MOST_WATCHERS)(), c_size_t(MOST_WATCHERS)
        try:
            _rbd("rbd_watchers_list", self._image, watchers, byref(count))
        except OSError as error:
            if error.errno == errno.ERANGE:  # there are more
                return True
            raise
        _rbd("rbd_watchers_list_cleanup", watchers, count.value)
        return count.value > 0

    def owners(self) -> list[bytes]:
        """Return the owner of the lock; an empty list if it is free."""
        mode, owners, count = c_int(), (c_char_p * 4)(), c_size_t(4)
        try:
            _rbd("rbd_lock_get_owners", self._image, byref(mode), owners, byref(count))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return []
            raise
        found = [bytes(owner) for owner in owners[: count.value] if owner]
        _rbd("rbd_lock_get_owners_cleanup", owners, count.value)
        return found

    def notify(self, descriptor: int) -> None:
        """Have an eventfd written to for each completion, which ``poll`` returns."""
        _rbd("rbd_set_image_notification", self._image, descriptor, EVENT_TYPE_EVENTFD)

    def start(self, order: Order) -> Started:
        """Begin an operation."""
        completion = c_void_p()
        _rbd("rbd_aio_create_completion", None, None, byref(completion))
        buffer: object = None
        where = (self._image, order.offset, order.length)
        try:
            match order.operation:
                case Operation.READ | Operation.WRITE:
                    if order.data.readonly:
                        buffer = ctypes.create_string_buffer(bytes(order.data), order.length)
                    else:
                        buffer = (c_char * order.length).from_buffer(order.data)
                    is_read = order.operation is Operation.READ
                    name = "rbd_aio_read" if is_read else "rbd_aio_write"
                    _rbd(name, *where, byref(buffer), completion)
                case Operation.ZERO if order.allocate:
                    _rbd("rbd_aio_write_zeroes", *where, completion, THICK_PROVISION, 0)
                case Operation.TRIM | Operation.ZERO:
                    _rbd("rbd_aio_discard", *where, completion)
                case Operation.FLUSH:
                    _rbd("rbd_aio_flush", self._image, completion)
        except BaseException:
            _rbd("rbd_aio_release", completion)
            raise
        assert completion.value is not None, "librbd has made it"
        return Started(completion.value, buffer)

    def poll(self) -> Iterator[tuple[int, int]]:
        """Yield number and result of the operations that are done: bytes of a read, or -errno."""
        completions = (c_void_p * POLLED_AT_ONCE)()
        while True:
            count = _rbd("rbd_poll_io_events", self._image, completions, POLLED_AT_ONCE)
            for completion in completions[:count]:
                result = _library("librbd.so.1")["rbd_aio_get_return_value"](completion)
                _rbd("rbd_aio_release", completion)
                yield completion or 0, result
            if count < POLLED_AT_ONCE:
                return

    def close(self) -> None:
        """Wait for all operations, let the lock go and close the image."""
        _rbd("rbd_close", self._image)


def _read_conf(cluster: c_void_p, text: str) -> None:
    descriptor = os.memfd_create("ceph.conf")
    try:
        with open(descriptor, "w", closefd=False) as file:
            file.write(text)
        _rados("rados_conf_read_file", cluster, f"/proc/self/fd/{descriptor}".encode())
    finally:
        os.close(descriptor)
