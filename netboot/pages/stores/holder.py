"""The hold of a server on a folder that other machines may reach: a lock, a note, and a beat.

- **The lock** (flock on a file, not on the folder: NFS has no locks of folders) is what keeps a second
  server out, on this machine and on each other one to which the file system carries it.
- **The note** in that file says who holds the folder, and since when. It is what a refusal tells.
- **The beat** changes the note each ``BEAT_SECONDS``, on file systems of the network alone. A server
  that gets the lock, and finds the note of another machine that has not let go, watches it for
  ``WATCH_SECONDS``: if it changes, that machine lives and its lock does not reach this one.

A server whose note was replaced has lost the folder while it stood still. It ends at once, with its
workers. Until then it can do no harm to pages: its successor has other page files, because it believes
those of another boot of a kernel only if they were closed (disk.py).
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import re
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from netboot.errors import OperatorError
from netboot.host.boot import boot_id
from netboot.host.processes import tree

HOLDER = "state-holder"  # name of the file
BEAT_SECONDS = 2.0
WATCH_SECONDS = 10.0
SETTLE_SECONDS = 1.0  # until a server of another machine that began at the same time has written
POLL_SECONDS = 0.2
NOTE_BYTES = 4096  # always, so that a later note needs no room
MOUNTS = Path("/proc/self/mountinfo")
# File systems without a block device of their own, whose files no other machine can have either.
LOCAL = frozenset(("btrfs", "bcachefs", "overlay", "ramfs", "rootfs", "tmpfs", "zfs"))

Note = dict[str, Any]

log = logging.getLogger(__name__)


def is_remote(path: Path) -> bool:
    """Return whether other machines may have the files of the folder ``path``. Raises OSError.

    GFS2 and OCFS2 count as local: their locks reach all machines.
    """
    return not os.major(path.stat().st_dev) and _kind(path.resolve()) not in LOCAL


def _kind(path: Path) -> str:
    """Return the type of the file system that is mounted over ``path``."""
    found, kind = "", ""
    for line in MOUNTS.read_text(errors="replace").splitlines():
        before, _, after = line.partition(" - ")
        place = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), before.split()[4])
        if len(place) >= len(found) and path.is_relative_to(place):
            found, kind = place, after.split()[0]
    return kind


def end_all() -> None:
    """End this process and its workers without another write."""
    for pid in reversed(tree(os.getpid())):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


class Hold:
    """The hold on ``folder``. ``on_lost`` is called, in another thread, if it is lost."""

    def __init__(self, folder: Path, on_lost: Callable[[], None] = end_all) -> None:
        """Take the folder. Raises OperatorError if another server has it, and OSError."""
        self._path = folder / HOLDER
        self._on_lost = on_lost
        self._epoch = secrets.token_hex(8)
        self._beat = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._descriptor = self._open(self._path)
        try:
            self._take(is_remote(folder))
        except BaseException:
            os.close(self._descriptor)
            raise

    def _take(self, remote: bool) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise refusal(self._path.parent) from None
        before = note_of(self._path.parent)
        ours = before.get("boot") == boot_id()
        if remote and not ours and before.get("held"):
            self._watch()
            self._replace()
        self._note: Note = {
            "version": 1,
            "epoch": self._epoch,
            "held": True,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "boot": boot_id(),
            "since": time.time(),
        }
        self._write()
        if remote:
            if not ours:
                time.sleep(SETTLE_SECONDS)
                self._expect_own()
            self._thread = threading.Thread(target=self._go_on, name="hold", daemon=True)
            self._thread.start()

    @staticmethod
    def _open(path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)

    def _replace(self) -> None:
        """Take another file: the beat of a server that stood still before its write comes late."""
        fresh = self._path.with_suffix(".new")
        descriptor = self._open(fresh)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fresh.rename(self._path)
        except OSError:
            os.close(descriptor)
            raise
        os.close(self._descriptor)
        self._descriptor = descriptor

    def check(self) -> None:
        """Raise OSError if another server has taken the folder."""
        if note_of(self._path.parent).get("epoch", self._epoch) != self._epoch:
            raise OSError(errno.ESTALE, "another server has taken the folder")

    def release(self) -> None:
        """Let the folder go. Its pages are written."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(BEAT_SECONDS)
            if self._thread.is_alive():
                return  # a disk that hangs: this process ends without it
        with contextlib.suppress(OSError):  # the folder was taken, or its disk is gone
            self.check()
            self._note["held"] = False
            self._write()
        os.close(self._descriptor)

    def _write(self) -> None:
        self._beat += 1
        text = json.dumps({**self._note, "beat": self._beat})
        os.pwrite(self._descriptor, text.encode().ljust(NOTE_BYTES), 0)
        os.fsync(self._descriptor)

    def _watch(self) -> None:
        """Wait until another machine's silence tells that it has ended. Raises OperatorError."""
        first, end = note_of(self._path.parent), time.monotonic() + WATCH_SECONDS
        log.warning(
            "pages: %s was held by %s, which did not let go; watching for %.0f s whether it lives",
            self._path.parent,
            first.get("host"),
            WATCH_SECONDS,
        )
        while time.monotonic() < end:
            time.sleep(POLL_SECONDS)
            if note_of(self._path.parent) != first:
                raise refusal(self._path.parent)

    def _expect_own(self) -> None:
        if note_of(self._path.parent).get("epoch") != self._epoch:
            raise refusal(self._path.parent)

    def _go_on(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                self.check()
            except OSError as error:
                log.critical(
                    "pages: %s: %s while this one stood still; it ends now: its PCs get fresh swap",
                    self._path.parent,
                    error.strerror,
                )
                self._on_lost()
                return
            with contextlib.suppress(OSError):  # a full disk: the lock holds without a beat
                self._write()


def note_of(folder: Path) -> Note:
    """Return the note in a folder; empty if there is none, or none that can be read."""
    try:
        # Opened anew each time: so NFS asks its server whether the file has changed.
        found = json.loads((folder / HOLDER).read_bytes() or b"{}")
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def refusal(folder: Path) -> OperatorError:
    """Return the refusal to use a folder that another server has: who, since when, and what to do."""
    note, who = note_of(folder), ""
    if note.get("held") and isinstance(note.get("since"), float):
        since = datetime.fromtimestamp(note["since"]).astimezone()
        who = f": process {note.get('process')} of {note.get('host')}, since {since:%Y-%m-%d %H:%M}"
    return OperatorError(
        f"another server keeps its pages in {folder}{who}",
        hint="stop it first, or give this one another --name ('serve': another --state)",
    )
