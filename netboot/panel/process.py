"""The process of the panel: starts and stops feeds, room, history, schedules and the web server."""

import asyncio
import fcntl
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from netboot.errors import OperatorError
from netboot.host.faults import watch
from netboot.host.files import PRIVATE
from netboot.panel.boots import Boots
from netboot.panel.follow import Follower, Source
from netboot.panel.history import History
from netboot.panel.keeping import Keeper, Teller
from netboot.panel.login.accounts import Accounts
from netboot.panel.login.sessions import FILE as SESSIONS
from netboot.panel.login.sessions import Sessions
from netboot.panel.metrics import Metrics
from netboot.panel.ports import PortError, Ports
from netboot.panel.records import AuditEntry, Order, Schedule
from netboot.panel.room import Room
from netboot.panel.schedule import Scheduler, local_zone
from netboot.panel.servers import Servers
from netboot.panel.web.app import create_app
from netboot.panel.web.server import WebServer

SCHEDULED, LOCK = "schedules.done", "panel.lock"  # in the state folder
AGAIN_SECONDS = 15.0  # until the plan is asked for again
END_SECONDS = 5.0  # for the web server
LOCK_SECONDS = 10.0  # a panel that ends writes its history for 5 s at most

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The sources, the folder and the options of a panel."""

    sources: Sequence[Source]
    state: Path
    database: str = field(default="", repr=False)
    login_for_all: bool = False
    names: Sequence[str] = ()
    each_seat: bool = False


class _Server(WebServer):
    """A web server that leaves the signals to the command."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing."""
        yield


class PanelService:
    """A panel. Create it, ``run`` it, and ``close`` it, also if it never ran."""

    def __init__(self, wanted: Wanted, listener: socket.socket) -> None:
        """Open the state folder; ``listener`` is of ``web.server.listen``. Raises OperatorError.

        ``password``: of the first operator's account, if this start has made it.
        """
        self._wanted = wanted
        self._socket = listener
        self._lock = _lock(wanted.state)
        self._accounts = Accounts(wanted.state)
        self._sessions = Sessions(wanted.state / SESSIONS)
        self._history = History(wanted.state, wanted.database)
        self.password = self._accounts.begin()
        self.room = Room(source.link for source in wanted.sources)
        self._giving: set[asyncio.Task[None]] = set()

    @property
    def where(self) -> str:
        """The database of the history, for a person."""
        return self._history.where

    async def run(self, ready: Callable[[], None]) -> None:
        """Work until the task is cancelled. ``ready`` is called when browsers are answered.

        Raises OperatorError if the tables of the database are not this release's.
        """
        await asyncio.to_thread(self._history.start)
        self._sessions.load(time.monotonic())
        known: dict[str, tuple[str, int]] = {}
        with suppress(PortError):
            known = await self._history.numbers()
            for pc in await self._history.inventory():
                self.room.facts.learn(pc.mac, pc.uuid, pc.hardware)
        keeper = Keeper(self._history, self.room)
        metrics = Metrics(self.room, time.time(), each_seat=self._wanted.each_seat)
        boots = Boots((keeper.take_boot, metrics.tally.take_boot), known)
        sinks = (self.room, keeper, boots, metrics.tally, Teller(self.room))
        servers = Servers(
            [Follower(source, sinks) for source in self._wanted.sources], self.room.servers_of
        )
        ports = Ports(self.room, servers, self._history, metrics.text)
        server = _Server(
            create_app(
                ports,
                self._accounts,
                login_for_all=self._wanted.login_for_all,
                names=self._wanted.names,
                sessions=self._sessions,
            )
        )
        scheduler = Scheduler(
            self._history.schedules,
            lambda: self.room.view().seats,
            partial(self._give, servers),
            self._wanted.state / SCHEDULED,
            zone=local_zone,
        )
        serving = asyncio.create_task(server.serve([self._socket]), name="panel web")
        try:
            async with asyncio.TaskGroup() as tasks:
                for work in (servers.run(), self.room.run(), scheduler.run(), self._plan()):
                    tasks.create_task(work)
                tasks.create_task(_ended(serving))
                while not server.started and not serving.done():
                    await asyncio.sleep(0.01)
                ready()
        finally:
            server.should_exit = True
            with suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(serving, END_SECONDS)
            self._sessions.keep(time.monotonic())

    async def _plan(self) -> None:
        """Show the plan that somebody made by hand, as soon as the history has been read."""
        while True:
            try:
                rows = await self._history.plan()
            except PortError:
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            if rows:
                self.room.set_plan(rows)
            return

    def _give(self, servers: Servers, schedule: Schedule, order: Order) -> None:
        task = asyncio.get_running_loop().create_task(self._given(servers, schedule, order))
        self._giving.add(task)
        task.add_done_callback(self._giving.discard)
        watch(task)

    async def _given(self, servers: Servers, schedule: Schedule, order: Order) -> None:
        """Give the order of a schedule, and add it to the audit."""
        results = await servers.send(order)
        self._history.note(AuditEntry.of(order, time.time(), results))

    def close(self) -> None:
        """Close the socket and the history. Waits at most 5 s for records that are not written yet."""
        self._socket.close()
        self._history.close()
        os.close(self._lock)


def _lock(folder: Path) -> int:
    """Return an open file that keeps other panels from this folder. Raises OperatorError.

    Two panels of one folder would give each order of a schedule twice. One that ends, as that of a
    server that was killed, is waited for.
    """
    path = folder / LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE)
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}", hint="check the panel's folder") from None
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(0.1)
                continue
            os.close(descriptor)
            raise OperatorError(
                f"--state: another panel works in {folder}",
                hint="end that panel, or name another folder",
            ) from None
        except OSError as error:  # of a network's file system
            os.close(descriptor)
            raise OperatorError(
                f"--state: {folder} cannot be locked: {error.strerror}",
                hint="name a folder on a disk of this machine",
            ) from None


async def _ended(serving: "asyncio.Task[None]") -> None:
    """Raise if the web server ends by itself."""
    await asyncio.shield(serving)
    raise RuntimeError("the panel's web server has ended")
