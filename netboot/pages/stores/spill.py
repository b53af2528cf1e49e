"""Write-behind of tiered page files: a thread of the process that keeps room in memory."""

import logging
import threading
import time
from typing import Protocol

log = logging.getLogger(__name__)

# Interval of a check on the memory: files of another process may use it up, too.
POLL_SECONDS = 0.1
TELL_SECONDS = 10.0


class Spillable(Protocol):
    """The interface of a page file that the thread uses."""

    @property
    def pages_in_memory(self) -> int:
        """The number of pages that are in memory now."""

    def spill(self, *, going: bool) -> int:
        """If memory is short, move a batch of pages to disk; return how many left memory.

        With ``going``, spilling has begun: it continues until more room is free than the threshold
        at which it starts. Raises OSError.
        """


class Spiller:
    """Spills the added files while memory is short, the largest ones first."""

    def __init__(self) -> None:
        self._files: list[Spillable] = []
        self._changed = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._told = -TELL_SECONDS

    def add(self, file: Spillable) -> None:
        """Begin to spill ``file``."""
        with self._changed:
            self._files.append(file)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="spill", daemon=True)
                self._thread.start()

    def remove(self, file: Spillable) -> None:
        """Spill no more of ``file``. A batch may still be in progress."""
        with self._changed:
            self._files.remove(file)
        self._wake.set()

    def wake(self) -> None:
        """Wake the thread because memory is short."""
        if not self._wake.is_set():
            self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait(POLL_SECONDS)
            self._wake.clear()
            with self._changed:
                if not self._files:
                    self._thread = None
                    return
            going = False
            while self._round(going):
                going = True

    def _round(self, going: bool) -> bool:
        """Spill one batch of the largest file that has one; return whether there was one."""
        with self._changed:
            files = sorted(self._files, key=lambda file: file.pages_in_memory, reverse=True)
        return any(self._spill(file, going) for file in files)

    def _spill(self, file: Spillable, going: bool) -> int:
        """Spill a batch of ``file``. If that fails, the others are spilled; a later round retries."""
        try:
            return file.spill(going=going)
        except Exception as error:  # noqa: BLE001 - the thread has the files of many PCs
            if time.monotonic() - self._told >= TELL_SECONDS:
                self._told = time.monotonic()
                self._tell(error)
            return 0

    def _tell(self, error: Exception) -> None:
        if isinstance(error, OSError):
            log.warning("pages: cannot spill to disk: %s; writes may be delayed", error.strerror)
        else:
            log.error("pages: spilling failed", exc_info=error)
