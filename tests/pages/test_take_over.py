"""Workers that an earlier server left, and that do not give their clients back."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netboot.pages import control, crew
from netboot.pages.crew import Crew
from netboot.pages.static_exports import StaticExports
from netboot.pages.stores.memory import MemoryStore

pytestmark = pytest.mark.system


class Left:
    """A worker process whose control plane is gone, and the name at which it listens."""

    def __init__(self, folder: Path) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener, self.name = control.listen(folder)
        descriptors = (theirs.fileno(), listener.fileno())
        with ours, theirs, listener:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", control.WORKER, *map(str, descriptors)],
                pass_fds=descriptors,
            )
            assert control.receive(ours) == ({"event": "ready", "ping": True}, [])
            self.process.send_signal(signal.SIGSTOP)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MemoryStore]:
    found = MemoryStore(tmp_path, "test")
    yield found
    found.close()


@pytest.fixture
def left(store: MemoryStore) -> Iterator[list[Left]]:
    found = [Left(store.directory) for _ in range(2)]
    yield found
    for each in found:
        each.close()


def take_over(store: MemoryStore, left: list[Left]) -> None:
    asyncio.run(Crew(StaticExports(store, {}), 0, None).take_over([each.name for each in left]))


def test_a_stopped_worker_is_dead_before_the_next_client_is_served(
    store: MemoryStore, left: list[Left], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that waited at it was done when it went on: page A came over the newer page B."""
    monkeypatch.setattr(crew, "TAKE_OVER_SECONDS", 0.05)
    take_over(store, left)
    assert [each.process.poll() for each in left] == [-signal.SIGKILL] * 2
    assert control.meetings(store.directory) == []


def test_a_worker_that_cannot_be_met_ends_no_other_take_over(
    store: MemoryStore,
    left: list[Left],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    meet = control.meet

    def fail(folder: Path, name: str) -> Any:
        if name == left[0].name:
            raise OSError(24, "Too many open files")
        return meet(folder, name)

    monkeypatch.setattr(control, "meet", fail)
    left[1].process.send_signal(signal.SIGCONT)
    take_over(store, left)
    assert left[1].process.wait(10) == 0
    assert "an older worker cannot be reached: Too many open files" in caplog.text


def test_a_worker_that_ends_before_its_order_is_not_told_as_a_fault(
    store: MemoryStore,
    left: list[Left],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It has no client and no control plane: it ends while a connection waits at its socket."""
    meet = control.meet

    def meet_and_wait(folder: Path, name: str) -> socket.socket | None:
        worker = meet(folder, name)
        each = next(each for each in left if each.name == name)
        each.process.send_signal(signal.SIGCONT)
        assert each.process.wait(10) == 0
        return worker

    monkeypatch.setattr(control, "meet", meet_and_wait)
    take_over(store, left)
    assert caplog.text == ""
    assert control.meetings(store.directory) == []


def test_a_process_that_is_no_worker_is_not_killed(tmp_path: Path) -> None:
    """A release before listened for its workers: the credentials are those of a control plane."""
    listener, name = control.listen(tmp_path)
    with listener:
        worker = control.meet(tmp_path, name)
        assert worker is not None
        with worker:
            assert control.process_of(worker) is None
