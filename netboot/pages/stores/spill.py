"""Write-behind of tiered page files: one thread of a process that keeps room in the memory tier."""

import logging
import threading
import time
from typing import Protocol

log = logging.getLogger(__name__)

# Memory may also be short because of another process's files: that is looked for this often.
POLL_SECONDS = 0.1
TELL_SECONDS = 10.0


class Spillable(Protocol):
    """What the thread needs of a page file."""

    @property
    def pages_in_memory(self) -> int:
        """How many there are now."""

    def spill(self, *, going: bool) -> int:
        """If memory is short, moves a batch of pages to disk; how many pages left memory.

        Once it is ``going`` more room is wanted than what started it. Raises OSError.
        """


class Spiller:
    """Spills the files that were added, those that hold most first, while memory is short."""

    def __init__(self) -> None:
        self._files: list[Spillable] = []
        self._changed = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._told = -TELL_SECONDS

    def add(self, file: Spillable) -> None:
        """From now on ``file`` is spilled."""
        with self._changed:
            self._files.append(file)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="spill", daemon=True)
                self._thread.start()

    def remove(self, file: Spillable) -> None:
        """``file`` is left alone; a batch may still be under way."""
        with self._changed:
            self._files.remove(file)
        self._wake.set()

    def wake(self) -> None:
        """Memory is short."""
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
            try:
                going = False
                while self._round(going):
                    going = True
            except OSError as error:
                self._tell(error)
            except Exception:
                log.exception("pages: spilling failed")  # the next write that waits tries again

    def _round(self, going: bool) -> bool:
        """Spills one batch of the largest file that has one; False if there is nothing to do."""
        with self._changed:
            files = sorted(self._files, key=lambda file: file.pages_in_memory, reverse=True)
        return any(file.spill(going=going) for file in files)

    def _tell(self, error: OSError) -> None:
        if time.monotonic() - self._told >= TELL_SECONDS:
            self._told = time.monotonic()
            log.warning("pages: spilling to disk failed, writes may be delayed: %s", error.strerror)
