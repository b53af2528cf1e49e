"""Machines over SSH, many at once: a failure is a line in the table, and stops no other machine.

Host keys are always checked. Passwords are neither asked for nor stored: keys and agents only.
"""

import contextlib
import io
import logging
import os
import shlex
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import fabric
import paramiko
from paramiko.ssh_exception import NoValidConnectionsError

from netboot.deploy.report import Outcome
from netboot.deploy.roster import Host
from netboot.errors import OperatorError
from netboot.host.text import printable, printable_lines

CONNECT_SECONDS = 8
COMMAND_SECONDS = 600
AT_ONCE = 30

# The table reports each failure once.
logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)


class Failed(Exception):
    """Raised if a command fails on a remote machine; the text is one line for the table."""


@dataclass(frozen=True, slots=True)
class Access:
    """The way to reach machines: a file of known host keys, and a key file (empty: SSH's own).

    If ``dry``, commands that change something are only shown.
    """

    known_hosts: Path
    key: str = ""
    dry: bool = False


class Far:
    """One remote machine. ``read`` is for commands that change nothing: a dry run runs them."""

    def __init__(self, host: Host, access: Access) -> None:
        if not host.address:
            raise Failed("no address given for it")
        self.host = host
        self.dry = access.dry
        self._folder = ""
        key = access.key or host.key
        if key and not os.path.exists(os.path.expanduser(key)):
            raise Failed(f"key file not found: {key}")
        kwargs = {"key_filename": key} if key else {}
        self._connection = fabric.Connection(
            host.address,
            user=host.user or None,
            port=host.port,
            connect_timeout=CONNECT_SECONDS,
            connect_kwargs=kwargs,
        )
        client = self._connection.client
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        if access.known_hosts.exists():
            client.load_host_keys(str(access.known_hosts))
        self._connection.open()
        self._sudo = "" if self.read("id -u").strip() == "0" else "sudo -n "

    def read(
        self, command: str, *, root: bool = False, status: bool = True, tell: bool = False
    ) -> str:
        """Run ``command`` with sh and return its output.

        Raises Failed on a bad exit status, unless ``status`` is False. With ``tell`` its messages
        are shown as they come.
        """
        words = f"{self._sudo}sh -c {shlex.quote(command)}" if root else command
        done = self._connection.run(
            words,
            hide="stdout" if tell else True,
            err_stream=_Messages(self.host) if tell else None,
            warn=True,
            in_stream=False,
            timeout=COMMAND_SECONDS,
        )
        if status and done.exited:
            said = (done.stderr or done.stdout).strip().splitlines()
            # netboot's own errors have a second line with a hint.
            last = " ".join(line.strip() for line in said[-2:]) or f"status {done.exited}"
            if last.startswith("sudo:"):
                last += " (give that user sudo without a password, or connect as root)"
            raise Failed(last)
        return str(done.stdout)

    def do(self, command: str, *, tell: bool = False) -> str:
        """Run ``command`` as root and return its output; a dry run only shows the command."""
        if self.dry:
            show(self.host, command)
            return ""
        return self.read(command, root=True, tell=tell)

    def put(self, local: Path) -> str:
        """Copy a file to the machine; return its path there.

        It is in a folder that no other user can write to. ``close`` removes the folder.
        """
        if self.dry:
            show(self.host, f"(copy {local} to /tmp)")
            return f"/tmp/{local.name}"
        if not self._folder:
            self._folder = self.read("mktemp -d").strip()
        remote = f"{self._folder}/{local.name}"
        self._connection.put(str(local), remote)
        return remote

    def tell(self, line: str) -> None:
        """Show a line of progress."""
        if not self.dry:
            tell(self.host, line)

    def close(self) -> None:
        """Close the connection."""
        if self._folder:
            with contextlib.suppress(Exception):  # the machine may be switching itself off
                self.read(f"rm -rf {self._folder}")
        self._connection.close()


_showing = threading.Lock()


def show(host: Host, line: str) -> None:
    """Print a line of one machine: a command of a dry run."""
    _write(sys.stdout, host, line)


def tell(host: Host, line: str) -> None:
    """Print a line of progress of one machine to standard error; results are in the table."""
    _write(sys.stderr, host, line)


def _write(stream: TextIO, host: Host, line: str) -> None:
    with _showing, contextlib.suppress(OSError):  # the reader may be gone
        # The words of far machines are in it; a command of a dry run has several lines.
        stream.write(f"[{host.seat}] {printable_lines(line)}\n")
        stream.flush()


class _Messages(io.StringIO):
    """The stream for a command's messages: it shows ``netboot: text`` in whole lines."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self._host = host
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            tell(self._host, line.removeprefix("netboot: "))
        return len(text)


def on_each(
    hosts: Sequence[Host],
    access: Access,
    done: str,
    step: Callable[[Far], str],
    at_once: int = AT_ONCE,
) -> list[Outcome]:
    """Run ``step``, which returns its result in words, for ``at_once`` hosts at a time."""

    def one(host: Host) -> Outcome:
        begin = time.monotonic()
        try:
            with contextlib.closing(Far(host, access)) as far:
                result, ok = step(far), True
        except Exception as error:  # noqa: BLE001 - any error is this machine's alone
            result, ok = complaint(host, error), False
        seconds = time.monotonic() - begin
        if len(hosts) > 1:
            tell(host, f"{done}: {'done' if ok else 'failed'}, {seconds:.1f} s")
        return Outcome(host.seat, done, ok, result, seconds)

    pool = ThreadPoolExecutor(max(1, min(at_once, len(hosts))))
    try:
        return list(pool.map(one, hosts))
    finally:
        # After Ctrl-C do not wait for the machines: work that has begun there goes on without us.
        pool.shutdown(wait=False, cancel_futures=True)


def in_waves(
    hosts: Sequence[Host],
    access: Access,
    done: str,
    step: Callable[[Far], str],
    size: int,
    most: int,
) -> list[Outcome]:
    """Do ``on_each`` in waves of ``size`` hosts; after more than ``most`` failures stop."""
    outcomes: list[Outcome] = []
    for begin in range(0, len(hosts), size):
        wave = hosts[begin : begin + size]
        if len(hosts) > size:
            names = ", ".join(host.seat for host in wave)
            sys.stderr.write(f"wave {begin // size + 1} of {-(-len(hosts) // size)}: {names}\n")
        if sum(not outcome.ok for outcome in outcomes) > most:
            reason = "not touched: too many failures before"
            outcomes += [Outcome(host.seat, done, False, reason, 0.0) for host in wave]
        else:
            outcomes += on_each(wave, access, done, step, size)
    return outcomes


def complaint(host: Host, error: Exception) -> str:
    """Return one printable line that explains ``error``, and the remedy."""
    return printable(_explained(host, error))


def _explained(host: Host, error: Exception) -> str:
    match error:
        case Failed() | OperatorError():
            return str(error)
        case paramiko.BadHostKeyException():
            return (
                "its host key is not the known one: another machine, or a new installation; if so: "
                f"ssh-keygen -R {host.address}"
            )
        case paramiko.AuthenticationException():
            return f"it refuses our key; remedy: ssh-copy-id {host.user or 'root'}@{host.address}"
        case socket.gaierror():
            return f"unknown host name: {host.address}"
        case NoValidConnectionsError() | TimeoutError() | ConnectionError():
            return "does not answer; is it switched on, is SSH installed there?"
        case paramiko.SSHException() if "not found in known_hosts" in str(error):
            return f"its host key is not known yet; connect once by hand: ssh {host.address}"
        case _:
            return f"{type(error).__name__}: {error}".split("\n")[0]
