"""Whether the kernel at the other end of a connection answers."""

import errno
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import cast

import pytest

from netboot.pages import liveness
from tests import ROOT

PATIENCE_SECONDS = 60.0


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return both ends of a connection on loopback."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        there = stack.enter_context(socket.create_connection(listener.getsockname()))
        here = stack.enter_context(listener.accept()[0])
        yield here, there


def test_a_kernel_answers_for_a_program_that_does_nothing(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    here, _ = ends
    liveness.ask_after(here, liveness.USUAL)
    begin = time.monotonic()
    while (heard := liveness.last_heard(here)) is not None and heard <= begin + 0.02:
        assert time.monotonic() < begin + PATIENCE_SECONDS
        liveness.ask_after(here, liveness.URGENT)  # again and again: that must not delay the probe
        time.sleep(0.05)
    assert heard is not None


def test_usual_times_ask_for_nothing_within_seconds(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    here, _ = ends
    liveness.ask_after(here, liveness.USUAL)
    begin = time.monotonic()
    time.sleep(0.2)
    heard = liveness.last_heard(here)
    assert heard is not None and heard < begin + 0.02


def test_a_connection_that_its_user_has_given_up_is_not_live(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    here, there = ends
    there.shutdown(socket.SHUT_WR)
    assert here.recv(1) == b""
    assert liveness.last_heard(here) is None


class Preempted:
    """A socket whose process gets no CPU for a while after it was asked for its state."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        found = self._sock.getsockopt(level, option, size)
        time.sleep(0.3)
        return found


def test_a_busy_server_does_not_take_a_dead_peer_for_a_live_one(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    here, there = ends
    there.sendall(b"last words")
    assert here.recv(10) == b"last words"
    died = time.monotonic()
    heard = liveness.last_heard(cast(socket.socket, Preempted(here)))
    assert heard is not None and heard < died + 0.02


# Loopback is cut while data are under way; the test says how long the kernel goes on.
CUT = """import socket, subprocess, sys, time
from netboot.pages import liveness
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
listener = socket.create_server(("127.0.0.1", 0))
there = socket.create_connection(listener.getsockname())
here = listener.accept()[0]
liveness.ask_after(here, (1, 1, 1))
subprocess.run(["ip", "link", "set", "lo", "down"], check=True)
here.send(b"a page")
here.settimeout(20)
begin = time.monotonic()
try:
    here.recv(1)
except OSError as error:
    print(type(error).__name__, error.errno, time.monotonic() - begin)"""


@pytest.mark.root
def test_data_that_nobody_acknowledges_end_a_connection_as_probes_do() -> None:
    """Swap 5: a PC that lost its link in the middle of a page was attached for 15 minutes."""
    command = ["unshare", "--net", sys.executable, "-c", CUT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    name, number, seconds = done.stdout.split()
    assert int(number) == errno.ETIMEDOUT, name
    assert 1.5 < float(seconds) < 10


def test_a_probe_that_decides_may_be_lost_once(ends: tuple[socket.socket, socket.socket]) -> None:
    here, _ = ends
    for times, most in (
        (liveness.USUAL, 60_000),
        (list(liveness.URGENT), 0),
        ([30, 10, 3], 60_000),
    ):
        liveness.ask_after(here, times)
        assert here.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == most
