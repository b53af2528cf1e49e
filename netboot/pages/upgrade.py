"""Upgrade of a running server in place, without dropping connections.

On SIGHUP the server executes the new program in its own process (execve) and passes on its
listening sockets. Its workers lose their control plane and continue to serve. The new control plane
finds them as it would after a crash (control.py), and moves their clients to new workers.
"""

import fcntl
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from netboot.errors import OperatorError
from netboot.host import privileges
from netboot.host.files import PRIVATE, replace_file
from netboot.host.scheduling import give_way
from netboot.pages.check_verb import CHECK_VERB, WORDS

log = logging.getLogger(__name__)

LISTENERS = "NETBOOT_PAGE_LISTENERS"  # in the environment: descriptors, separated by commas
PROCESS_FILE = "state-process"  # in the store's directory: process id and a word for each start
UNKNOWN_VERB = 2  # exit status of a release that has no such verb
MODULES_OF_0_1 = "netboot.command.serving, netboot.pages.worker, netboot.services"
PATIENCE_SECONDS = 10.0
POLL_SECONDS = 0.02


async def check() -> bool:
    """Return whether the program on disk starts with the command line of this one.

    The check runs a verb of its command line and names no modules: another release may have others.
    Release 0.1.0, to which an upgrade can be rolled back, does not know the verb.
    """
    status, errors = await _python("-m", "netboot", CHECK_VERB)
    if status == UNKNOWN_VERB:
        status, errors = await _python("-c", f"import {MODULES_OF_0_1}")
    if status != 0:
        why = errors.strip().rpartition("\n")[2] or f"exit status {status}"
        log.error("not upgraded: the new program does not start: %s; serving on", why)
    return status == 0


async def _python(*arguments: str) -> tuple[int, str]:
    """Run Python on the program on disk; return its status and its errors."""
    import asyncio  # here: each run of the command imports this module, and few need a loop

    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        *arguments,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, WORDS: json.dumps(sys.argv[1:])},
    )
    give_way(process.pid)
    _, errors = await process.communicate()
    return process.returncode or 0, errors.decode(errors="replace")


def reexecute(listeners: Sequence[socket.socket]) -> None:
    """Replace the program of this process by the one on disk. Does not return."""
    for listener in listeners:
        os.set_inheritable(listener.fileno(), True)
    numbers = ",".join(str(listener.fileno()) for listener in listeners)
    arguments = [sys.executable, *sys.orig_argv[1:]]
    privileges.give_to_programs()
    os.execve(sys.executable, arguments, {**os.environ, LISTENERS: numbers})


def inherited() -> list[socket.socket]:
    """Return the listening sockets that ``reexecute`` passed on; none after an ordinary start."""
    numbers = os.environ.pop(LISTENERS, "")
    listeners = [socket.socket(fileno=int(number)) for number in numbers.split(",") if number]
    for listener in listeners:
        os.set_inheritable(listener.fileno(), False)
    if listeners:
        _reap_children()
    return listeners


def _reap_children() -> None:
    """Reap the children that the previous program started, as they exit.

    This program does not know them; they would remain zombies for as long as the process lives.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    tasks = Path("/proc/self/task").glob("*/children")
    left = {int(pid) for task in tasks for pid in task.read_text().split()}

    def reap() -> None:
        for pid in list(left):
            try:
                gone = os.waitpid(pid, os.WNOHANG)[0]
            except ChildProcessError:  # somebody else has reaped it
                gone = pid
            if gone:
                left.discard(pid)
        if not left:
            loop.remove_signal_handler(signal.SIGCHLD)

    loop.add_signal_handler(signal.SIGCHLD, reap)
    reap()


def announce(directory: Path) -> None:
    """Say in a store's directory that this process serves it now. Serve on if there is no room."""
    text = f"{os.getpid()} {os.urandom(8).hex()}\n"
    try:
        replace_file(directory / PROCESS_FILE, text, mode=PRIVATE)
    except OSError as error:
        log.warning(
            "pages: %s cannot be written: %s; make room there: --upgrade cannot find this server",
            directory / PROCESS_FILE,
            error.strerror,
        )


def ask(directory: Path) -> int:
    """Make the server whose pages are in ``directory`` upgrade itself; return its process id.

    Raises OperatorError if there is no server, or if it is not back after PATIENCE_SECONDS.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    # A server that has just begun to listen has not written its process id yet.
    while (before := _process(directory)) is None and _locked(directory):
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    if before is None or not _locked(directory):
        raise OperatorError(
            "no page server to upgrade",
            hint="give the --listen, --store and --name that it was started with",
        )
    pid = int(before.split()[0])
    os.kill(pid, signal.SIGHUP)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while _process(directory) == before:
        if time.monotonic() > deadline:
            raise OperatorError(f"page server {pid} did not upgrade itself; see its log")
        time.sleep(POLL_SECONDS)
    return pid


def server_of(directory: Path) -> str:
    """Return the server that has a store's directory now, as text; empty if none has."""
    if not _locked(directory):
        return ""
    found = _process(directory)
    return f"process {found.split()[0]}" if found and found.strip() else "a process"


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
