"""The keeper: saves a state that changes, once for all changes of a moment, in one copy or several.

A change is saved as soon as one copy has it. A copy that cannot be written is told once, and tried
again until it can: no caller must wait for that.
"""

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from netboot.host import faults
from netboot.host.complaints import Complaints
from netboot.host.state import StateFile

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
# Between two saves: a table of 1,000 leases takes some milliseconds of the event loop to write down.
REST_SECONDS = 0.05
FLUSH_SECONDS = 5.0  # at an upgrade or the end, in which no PC is answered


@dataclass(slots=True, eq=False)
class Copy:
    """A copy of the state in ``file``; ``text`` returns its content now, in the event loop."""

    file: StateFile
    text: Callable[[], str]
    saved: int = 0  # the change that the file shows
    told: bool = False  # that it cannot be written
    task: "asyncio.Task[None] | None" = None
    # A flush overtakes a thread, whose older text must not come after it. One copy waits for no other.
    writing: threading.Lock = field(default_factory=threading.Lock)


class Keeper:
    """Saves the ``copies`` of a state. ``what`` names it in messages: ``page leases``."""

    def __init__(self, what: str, copies: Sequence[Copy]) -> None:
        self._what = what
        self._copies = copies
        self._change = 0
        self._news = asyncio.Event()
        self._complaints = Complaints(log)

    def prepare(self) -> None:
        """Keep room back for the first save, before the disk is full. The state was read before."""
        for copy in self._copies:
            with contextlib.suppress(OSError):  # the save tells it
                copy.file.prepare()

    @property
    def change(self) -> int:
        """The number of the last change."""
        return self._change

    def changed(self) -> int:
        """Note a change, and begin to save it; return its number.

        Without an event loop it is saved when this returns, or cannot be saved now.
        """
        self._change += 1
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
            return self._change
        for copy in self._copies:
            if copy.task is None:
                copy.task = loop.create_task(self._save(copy))
                faults.watch(copy.task)
        return self._change

    def is_saved(self, change: int) -> bool:
        """Return whether a copy has this change."""
        return not self._copies or max(copy.saved for copy in self._copies) >= change

    async def saved(self, change: int, seconds: float) -> bool:
        """Wait until a copy has this change, for ``seconds`` at most; return whether it has."""
        try:
            async with asyncio.timeout(seconds):
                while not self.is_saved(change):
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    def flush(self) -> bool:
        """Save now, and return when it is done; True if all copies have all changes.

        A disk that hangs is waited for ``FLUSH_SECONDS`` at most, and holds up no other copy.
        """
        number, copies = self._change, [each for each in self._copies if each.saved < self._change]
        written: queue.SimpleQueue[tuple[Copy, OSError | None]] = queue.SimpleQueue()

        def write(copy: Copy, text: str) -> None:
            try:
                self._write(copy, number, text)
            except OSError as error:
                written.put((copy, error))
            else:
                written.put((copy, None))

        for copy in copies:
            # A daemon: a disk that hangs must not keep the program from its end.
            thread = threading.Thread(target=write, args=(copy, copy.text()), daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no thread can be started
                write(copy, copy.text())
        end = time.monotonic() + FLUSH_SECONDS
        for _ in copies:
            try:
                copy, error = written.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                break
            if error is None:
                self._succeeded(copy)
            else:
                self._failed(copy, error)
        return all(copy.saved >= number for copy in self._copies)

    async def stop(self) -> None:
        """Save what is not saved yet, and close the files."""
        for copy in self._copies:
            if copy.task is not None:
                copy.task.cancel()
        self.flush()
        for copy in self._copies:
            if not copy.writing.locked():  # else its disk hangs, and so would this
                copy.file.close()

    async def _save(self, copy: Copy) -> None:
        try:
            while copy.saved < self._change:
                number = self._change
                try:
                    text = copy.text()
                    await asyncio.to_thread(self._write, copy, number, text)
                except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started
                    self._failed(copy, error)
                    await asyncio.sleep(RETRY_SECONDS)
                else:
                    self._succeeded(copy)
                    await asyncio.sleep(REST_SECONDS)
        finally:
            copy.task = None

    def _write(self, copy: Copy, number: int, text: str) -> None:
        with copy.writing:
            if number > copy.saved:
                copy.file.write(text)
                copy.saved = number

    def _failed(self, copy: Copy, error: Exception) -> None:
        if not copy.told:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            copy.told = self._complaints.warn(
                str(copy.file.path),
                "%s: cannot save %s: %s; make it writable, with room: it is tried again each second, "
                "and PCs that are known are served meanwhile",
                self._what,
                copy.file.path,
                reason,
            )

    def _succeeded(self, copy: Copy) -> None:
        if copy.told:
            copy.told = False
            log.warning("%s: %s is saved again", self._what, copy.file.path)
        self._news.set()
        self._news = asyncio.Event()
