"""Machines over SSH, many at once: what fails on one is a line in the table, and stops no other.

Host keys are always checked. Passwords are neither asked for nor stored: keys and agents only.
"""

import contextlib
import logging
import shlex
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import fabric
import paramiko
from paramiko.ssh_exception import NoValidConnectionsError

from netboot.deploy.report import Outcome
from netboot.deploy.roster import Host
from netboot.errors import OperatorError

CONNECT_SECONDS = 8
COMMAND_SECONDS = 600
AT_ONCE = 30

# What goes wrong is told in the table, once.
logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)


class Failed(Exception):
    """A command on a far machine ended with a status; the text is one line for the table."""


@dataclass(frozen=True, slots=True)
class Access:
    """How machines are reached: a file of known host keys, a key file (empty: SSH's own), and
    whether commands that change something are only shown.
    """

    known_hosts: Path
    key: str = ""
    dry: bool = False


class Far:
    """One machine. ``read`` is for what changes nothing: it runs in a dry run too."""

    def __init__(self, host: Host, access: Access) -> None:
        if not host.address:
            raise Failed("has no address")
        self.host = host
        self._dry = access.dry
        key = access.key or host.key
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

    def read(self, command: str, *, root: bool = False, status: bool = True) -> str:
        """What ``command`` (for sh) prints. Raises Failed, unless ``status`` is not looked at."""
        words = f"{self._sudo}sh -c {shlex.quote(command)}" if root else command
        done = self._connection.run(
            words, hide=True, warn=True, in_stream=False, timeout=COMMAND_SECONDS
        )
        if status and done.exited:
            said = (done.stderr or done.stdout).strip().splitlines()
            # netboot's own errors have a second line with a hint.
            last = " ".join(line.strip() for line in said[-2:]) or f"status {done.exited}"
            if last.startswith("sudo:"):
                last += " (give that user sudo without a password, or connect as root)"
            raise Failed(last)
        return str(done.stdout)

    def do(self, command: str, *, status: bool = True) -> str:
        """Has root run ``command``; in a dry run it is shown instead, and nothing comes back."""
        if self._dry:
            show(self.host, command)
            return ""
        return self.read(command, root=True, status=status)

    def put(self, local: Path, remote: str) -> None:
        """Copies a file."""
        if self._dry:
            show(self.host, f"(copy {local} to {remote})")
        else:
            self._connection.put(str(local), remote)

    def close(self) -> None:
        """Hangs up."""
        self._connection.close()


_showing = threading.Lock()


def show(host: Host, line: str) -> None:
    """Prints a line of one machine."""
    with _showing:
        sys.stdout.write(f"[{host.seat}] {line}\n")
        sys.stdout.flush()


def on_each(
    hosts: Sequence[Host],
    access: Access,
    done: str,
    step: Callable[[Far], str],
    at_once: int = AT_ONCE,
) -> list[Outcome]:
    """Does ``step`` on each host, so many at once; ``step`` returns the result's words."""

    def one(host: Host) -> Outcome:
        begin = time.monotonic()
        try:
            with contextlib.closing(Far(host, access)) as far:
                result, ok = step(far), True
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this one's alone
            result, ok = complaint(host, error), False
        return Outcome(host.seat, done, ok, result, time.monotonic() - begin)

    with ThreadPoolExecutor(max(1, min(at_once, len(hosts)))) as pool:
        return list(pool.map(one, hosts))


def in_waves(
    hosts: Sequence[Host],
    access: Access,
    done: str,
    step: Callable[[Far], str],
    size: int,
    most: int,
) -> list[Outcome]:
    """``on_each``, for ``size`` hosts at a time; when more than ``most`` have failed no more waves."""
    outcomes: list[Outcome] = []
    for begin in range(0, len(hosts), size):
        wave = hosts[begin : begin + size]
        if sum(not outcome.ok for outcome in outcomes) > most:
            reason = "not touched: too many before it failed"
            outcomes += [Outcome(host.seat, done, False, reason, 0.0) for host in wave]
        else:
            outcomes += on_each(wave, access, done, step, size)
    return outcomes


def complaint(host: Host, error: Exception) -> str:
    """One line for people of whatever went wrong with a machine."""
    match error:
        case Failed() | OperatorError():
            return str(error)
        case paramiko.BadHostKeyException():
            return (
                "its host key is not the known one: another machine, or newly installed? If so: "
                f"ssh-keygen -R {host.address}"
            )
        case paramiko.AuthenticationException():
            return f"does not accept our key: ssh-copy-id {host.user or 'root'}@{host.address}"
        case NoValidConnectionsError() | TimeoutError() | OSError():
            return "does not answer: is it on, is SSH installed there?"
        case paramiko.SSHException() if "not found in known_hosts" in str(error):
            return f"its host key is not known yet: connect once by hand, ssh {host.address}"
        case _:
            return f"{type(error).__name__}: {error}".splitlines()[0]
