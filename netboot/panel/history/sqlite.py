"""SQLite as the history's database: one file, its journal beside it, and what its errors mean."""

import errno
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError

from netboot.host.files import PRIVATE
from netboot.host.state import set_aside

BUSY_SECONDS = 2.0  # how long another program's lock is waited for
STEPS = 5000  # of SQLite's machine between two looks at the clock: about 0.1 ms
JOURNAL_BYTES = 8 * 1024 * 1024  # what the journal's file is cut to
MOST_FREED = 5000  # pages at a time: 20 MB, 0.1 s
WRITER_PRAGMAS = (
    "auto_vacuum = incremental",  # before the first table; the file can shrink
    "journal_mode = wal",
    "synchronous = normal",  # a power cut loses the last seconds, and damages nothing
    "foreign_keys = on",
    f"journal_size_limit = {JOURNAL_BYTES}",
)
READER_PRAGMAS = ("query_only = on",)

_GARBAGE = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}
_REASONS = {
    sqlite3.SQLITE_BUSY: "another program has locked {path}; end that program",
    sqlite3.SQLITE_LOCKED: "another program has locked {path}; end that program",
    sqlite3.SQLITE_FULL: "the disk of {path} is full; make room there",
    sqlite3.SQLITE_IOERR: "the disk of {path} is full or has errors; see the kernel's log",
    sqlite3.SQLITE_CANTOPEN: "{path} cannot be opened; check its folder",
    sqlite3.SQLITE_READONLY: "{path} cannot be written; check its owner",
    sqlite3.SQLITE_PERM: "{path} cannot be opened; check its owner",
    sqlite3.SQLITE_INTERRUPT: "the question took too long; ask for a shorter time",
    sqlite3.SQLITE_NOTADB: "{path} is no database; the panel replaces it",
    sqlite3.SQLITE_CORRUPT: "{path} is damaged; the panel replaces it",
}


class _OfFile(sqlite3.Connection):
    """A connection that knows its file, and when a reader must be done."""

    identity: object = None
    until = float("inf")

    def is_late(self) -> bool:
        """Return True to interrupt the statement."""
        return time.monotonic() > self.until


class Sqlite:
    """A file that belongs to us alone. Its folder is made if need be."""

    def __init__(self, path: Path, read_seconds: float) -> None:
        self._path = path
        self._read_seconds = read_seconds
        self.where = f"'{path}'"

    def identity(self) -> object:
        """Return what changes if the file is another one, or its journal; None without a file.

        The journal is there as long as a connection is open.
        """
        found = _number(self._path)
        return None if found is None else (found, _number(self._beside("-wal")))

    def writer(self) -> Engine:
        """Return an engine with one connection, which makes the file if there is none."""
        return self._engine(self._open_writer, 1, "BEGIN IMMEDIATE")

    def reader(self, most: int) -> Engine:
        """Return an engine with ``most`` connections that cannot write and have a time limit."""
        return self._engine(self._open_reader, most, "BEGIN")

    def is_garbage(self, error: Exception) -> bool:
        """Return True if the file is no database, or a damaged one."""
        return _code(error) in _GARBAGE

    def set_aside(self, reason: str) -> None:
        """Rename a file that is no database. Its journal is of no use alone and goes."""
        set_aside(self._path, reason)
        for suffix in ("-wal", "-shm"):
            with suppress(OSError):
                self._beside(suffix).unlink()

    def reason(self, error: Exception) -> str:
        """Return cause and remedy."""
        code = _code(error)
        if code in _REASONS:
            return _REASONS[code].format(path=self.where)
        if isinstance(error, OSError):
            return f"{self.where}: {error.strerror}; check the state folder"
        return f"{self.where}: {getattr(error, 'orig', None) or error}; remove the file"

    def size(self, connection: Connection) -> int:
        """Return the bytes in use: without the free pages of the file."""
        whole, free, page = (
            connection.exec_driver_sql(statement).scalar_one()
            for statement in ("PRAGMA page_count", "PRAGMA freelist_count", "PRAGMA page_size")
        )
        return int((whole - free) * page)

    def shrink(self, connection: Connection) -> None:
        """Give the free pages back to the file system."""
        free = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
        cursor = connection.connection.cursor()
        for _ in range(min(free, MOST_FREED)):
            cursor.execute("PRAGMA incremental_vacuum")  # Python's driver takes one step: one page
        cursor.close()

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)

    def _engine(self, opening: Callable[[], _OfFile], most: int, begin: str) -> Engine:
        engine = create_engine(
            "sqlite://",
            creator=opening,
            poolclass=QueuePool,
            pool_size=most,
            max_overflow=0,
            pool_timeout=self._read_seconds,
            hide_parameters=True,
        )

        # The driver's own BEGIN comes too late for a reader, and does not lock for a writer.
        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        @event.listens_for(engine, "checkout")
        def _look(connection: _OfFile, record: object, proxy: object) -> None:
            # If somebody removes the file, ours has no name: all would be lost in it.
            if connection.identity != self.identity():
                raise DisconnectionError
            connection.until = time.monotonic() + self._read_seconds

        return engine

    def _open_writer(self) -> _OfFile:
        self._expect_a_file()
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives its other files the mode of this one.
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, PRIVATE)
        try:
            os.fchmod(descriptor, PRIVATE)
        finally:
            os.close(descriptor)
        return self._open(WRITER_PRAGMAS)

    def _open_reader(self) -> _OfFile:
        self._expect_a_file()
        connection = self._open(READER_PRAGMAS)
        connection.set_progress_handler(connection.is_late, STEPS)
        return connection

    def _expect_a_file(self) -> None:
        """Raise OSError if the path is a folder, a pipe or a device. SQLite would tell of a disk."""
        if self._path.exists() and not self._path.is_file():
            raise OSError(errno.EINVAL, "expected a file")

    def _open(self, pragmas: tuple[str, ...]) -> _OfFile:
        connection = sqlite3.connect(
            f"file:{quote(str(self._path))}?mode=rw",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            factory=_OfFile,
        )
        try:
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()  # opens the journal
        except BaseException:
            connection.close()
            raise
        connection.identity = self.identity()
        return connection


def _number(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _code(error: Exception) -> int | None:
    """Return SQLite's primary code of an error."""
    orig = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(orig, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
