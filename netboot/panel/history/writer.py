"""The thread that writes a batch each second, from a bounded queue. No caller waits for it.

If the database is away, full or locked, the batch is kept and retried every second, and the queue grows
to its limit. A fault is logged once a minute, and once when it is over.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from netboot.errors import OperatorError
from netboot.panel.history.database import Database
from netboot.panel.history.records import Numbered, Record, SeatMinute, ServerMinute
from netboot.panel.history.upkeep import Upkeep
from netboot.panel.history.writing import Writing
from netboot.panel.ports import PortError

BATCH_SECONDS = 1.0
MOST_QUEUED = 20_000  # a quarter of an hour of 1,000 seats, hours of 60; about 20 MB
MOST_SAMPLES = 15_000  # the rest is for boots, troubles and what people did
MOST_BATCH = 2000
UPKEEP_SECONDS = 600.0
TELL_SECONDS = 60.0
CLOSE_SECONDS = 5.0

T = TypeVar("T")
log = logging.getLogger(__name__)


class Writer:
    """Writes records and answers questions that change something. ``ended`` gives finished minutes."""

    def __init__(
        self,
        database: Database,
        writing: Writing,
        upkeep: Upkeep,
        ended: Callable[[bool], Iterable[Record]],
    ) -> None:
        self._database = database
        self._writing = writing
        self._upkeep = upkeep
        self._ended = ended
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._queue: deque[Record] = deque()
        self._numbers: dict[str, Numbered] = {}
        self._asked: deque[tuple[Future[Any], Callable[[Connection], Any]]] = deque()
        self._batch: list[Record] = []
        self._next_upkeep = 0.0
        self._trouble, self._fault = _Trouble(), _Trouble()  # of the database, and ours
        self.lost = 0  # records, since the start
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    @property
    def waiting(self) -> int:
        """The number of records that are not written yet."""
        with self._lock:
            return len(self._queue) + len(self._batch) + len(self._numbers)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, record: Record) -> None:
        """Queue a record; it is lost and counted if too many wait. Never blocks."""
        with self._lock:
            if isinstance(record, Numbered):
                self._numbers[record.server] = record  # only the last one counts
                return
            is_sample = isinstance(record, SeatMinute | ServerMinute)
            if len(self._queue) >= (MOST_SAMPLES if is_sample else MOST_QUEUED):
                self.lost += 1
            else:
                self._queue.append(record)

    def ask(self, function: Callable[[Connection], T]) -> "Future[T]":
        """Let the thread call ``function`` in a transaction of its own, soon and once.

        The future raises PortError if the database cannot be written.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._stopping or len(self._asked) >= MOST_BATCH:
                future.set_exception(
                    PortError(
                        "the history is busy: too many changes wait for the database; try again"
                    )
                )
                return future
            self._asked.append((future, function))
        self._wake.set()
        return future

    def close(self) -> None:
        """Write what waits, if that is possible within ``CLOSE_SECONDS``, and end the thread."""
        with self._lock:
            self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)
        elif self._thread.ident is None:  # it never began
            self._database.close_writer()

    def _run(self) -> None:
        due, is_last = time.monotonic(), False
        while not is_last:
            self._wake.wait(max(0.0, due - time.monotonic()))
            self._wake.clear()
            is_last = self._stopping
            self._answer()
            if is_last or time.monotonic() >= due:
                self._work(is_last=is_last)
                due = time.monotonic() + BATCH_SECONDS
        self._database.close_writer()

    def _work(self, *, is_last: bool) -> None:
        """Write all that waits, and look after the database if it is time."""
        try:
            for record in self._ended(is_last):
                self.put(record)
            self._prepare()
            while self._take():
                self._write_batch()
            if time.monotonic() >= self._next_upkeep and not is_last:
                self._next_upkeep = time.monotonic() + UPKEEP_SECONDS
                self._upkeep.run()
                self._writing.forget()  # strangers may be gone
            self._trouble.over(self.lost)
        except Exception as error:  # noqa: BLE001 - the thread must go on
            self._failed(error)

    def _prepare(self) -> None:
        if self._database.prepare():
            self._writing.forget()

    def _take(self) -> bool:
        """Fill the batch; return False if there is nothing to write."""
        with self._lock:
            while self._queue and len(self._batch) < MOST_BATCH:
                self._batch.append(self._queue.popleft())
            if not self._queue:  # the events of these numbers are in this batch or before
                self._batch += self._numbers.values()
                self._numbers.clear()
        return bool(self._batch)

    def _write_batch(self) -> None:
        try:
            self._write(self._batch)
        except Exception as error:
            if _is_of_database(error):
                raise
            self._write_each(error)
        self._batch = []

    def _write_each(self, error: Exception) -> None:
        """Write the records of a batch one by one, because one of them is at fault."""
        whole = self._batch
        for index, record in enumerate(whole):
            self._batch = whole[
                index:
            ]  # the rest waits, and is tried again if the database is away
            try:
                self._write([record])
            except Exception as found:
                if _is_of_database(found):
                    raise
                self.lost += 1
                error = found
        self._fault.tell(f"a record cannot be stored: {_first_line(error)}; report it", error)

    def _write(self, records: list[Record]) -> None:
        try:
            self._database.write(partial(self._writing.write, records=records))
        except BaseException:
            self._writing.forget()
            raise

    def _answer(self) -> None:
        """Do what was asked for, each in its own transaction."""
        while self._asked:
            with self._lock:
                future, function = self._asked.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                self._prepare()
                future.set_result(self._database.write(function))
            except Exception as error:  # noqa: BLE001 - it is the caller's
                if _is_of_database(error):
                    reason = self._database.reason(error)
                    future.set_exception(PortError(f"the history cannot be written: {reason}"))
                else:
                    future.set_exception(error)

    def _failed(self, error: Exception) -> None:
        if not _is_of_database(error):
            self._fault.tell(f"{type(error).__name__}: {_first_line(error)}; report it", error)
            return
        reason = self._database.reason(error)
        self._trouble.tell(
            f"cannot be written: {reason}; {self.waiting} records wait", lost=self.lost
        )


class _Trouble:
    """Logs a fault at most once a minute, and its end once."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._told = float("-inf")
        self._lost = 0

    def tell(self, text: str, error: Exception | None = None, *, lost: int = 0) -> None:
        now = time.monotonic()
        if now - self._told >= TELL_SECONDS:
            self._told = now
            if self._began is None:
                self._began, self._lost = now, lost
            log.warning("history: %s", text, exc_info=error)

    def over(self, lost: int) -> None:
        if self._began is not None:
            seconds, lost = time.monotonic() - self._began, lost - self._lost
            log.warning("history: written again after %.0f s; %d records are lost", seconds, lost)
            self._began = None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")


def _is_of_database(error: Exception) -> bool:
    """Return True if the same record can be written later; otherwise the record is at fault."""
    if isinstance(error, DataError | IntegrityError):
        return False
    return isinstance(error, DBAPIError | PoolTimeoutError | OSError | OperatorError) or (
        isinstance(error, SQLAlchemyError) and not hasattr(error, "statement")
    )
