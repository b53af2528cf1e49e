"""Another code in the same process: how a server that runs is replaced without a pause.

On SIGHUP the server starts its program anew in its own process (execve), with the sockets it
listens on. Its workers see their control plane go, and serve on; the new control plane finds them
as it would after a crash (control.py) and has them give their clients to workers with the new code.
"""

import asyncio
import fcntl
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from netboot.errors import OperatorError
from netboot.host.files import PRIVATE, replace_file

log = logging.getLogger(__name__)

LISTENERS = "NETBOOT_PAGE_LISTENERS"  # in the environment: descriptors, with commas
PROCESS_FILE = "state-process"  # in the store's directory: process id, and a word for each start
CHECK_VERB = "can-serve"  # of the command line; releases since 0.2.0 ask each other by it
PATIENCE_SECONDS = 10.0
POLL_SECONDS = 0.02


async def check() -> bool:
    """Return whether the program on disk can at least be started.

    Asks by a verb, not by names of modules: a later release may have others.
    """
    arguments = [sys.executable, "-P", "-m", "netboot", CHECK_VERB]
    process = await asyncio.create_subprocess_exec(*arguments)
    if await process.wait() == 0:
        return True
    log.error("pages: not upgraded: the new program does not start; the old one serves on")
    return False


def reexecute(listeners: Sequence[socket.socket]) -> None:
    """Starts this process's program anew. Does not return."""
    for listener in listeners:
        os.set_inheritable(listener.fileno(), True)
    numbers = ",".join(str(listener.fileno()) for listener in listeners)
    arguments = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, arguments, {**os.environ, LISTENERS: numbers})


def inherited() -> list[socket.socket]:
    """The listening sockets that ``reexecute`` left us; none after an ordinary start."""
    numbers = os.environ.pop(LISTENERS, "")
    listeners = [socket.socket(fileno=int(number)) for number in numbers.split(",") if number]
    for listener in listeners:
        os.set_inheritable(listener.fileno(), False)
    if listeners:
        _bury_children()
    return listeners


def _bury_children() -> None:
    """Has the children of the program before, which this one knows nothing of, waited for when
    they end: else they are zombies for as long as this process lives.
    """
    loop = asyncio.get_running_loop()
    tasks = Path("/proc/self/task").glob("*/children")
    left = {int(pid) for task in tasks for pid in task.read_text().split()}

    def bury() -> None:
        for pid in list(left):
            if os.waitpid(pid, os.WNOHANG)[0]:
                left.discard(pid)
        if not left:
            loop.remove_signal_handler(signal.SIGCHLD)

    loop.add_signal_handler(signal.SIGCHLD, bury)
    bury()


def announce(directory: Path) -> None:
    """Says in a store's directory that this process serves it now."""
    text = f"{os.getpid()} {secrets.token_hex(8)}\n"
    replace_file(directory / PROCESS_FILE, text, mode=PRIVATE)


def ask(directory: Path) -> int:
    """Has the server whose pages are in ``directory`` upgrade itself; returns its process id.

    Raises OperatorError if there is none or it does not come back in time.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    # One that has just begun to listen has not told its process yet.
    while (before := _process(directory)) is None and _locked(directory):
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    if before is None or not _locked(directory):
        raise OperatorError(
            "no page server to upgrade", hint="give --listen, --store and --name as it was started"
        )
    pid = int(before.split()[0])
    os.kill(pid, signal.SIGHUP)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while _process(directory) == before:
        if time.monotonic() > deadline:
            raise OperatorError(f"page server {pid} has not upgraded itself; see its log")
        time.sleep(POLL_SECONDS)
    return pid


def _process(directory: Path) -> str | None:
    try:
        return (directory / PROCESS_FILE).read_text()
    except OSError:
        return None


def _locked(directory: Path) -> bool:
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
