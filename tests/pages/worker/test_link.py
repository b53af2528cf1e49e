"""A worker's end of the control socket: a break does no harm, and another one can follow."""

import os
import select
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from netboot.pages import control
from netboot.pages.worker.link import Link


class Ends:
    """A link and the other end of its control socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.epoll = select.epoll()
        self.theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener, self.name = control.listen(folder)
        self.breaks = 0
        self.link = Link(self.epoll, ours, listener, self.broke)

    def broke(self) -> None:
        self.breaks += 1

    def ready(self) -> bool:
        """Return whether epoll has an event of the link."""
        return any(self.link.owns(descriptor) for descriptor, _ in self.epoll.poll(0))

    def state(self) -> tuple[bool, bool]:
        """Return whether the link is adrift, and whether it is busy."""
        return self.link.adrift, self.link.busy

    def close(self) -> None:
        self.link.close()
        self.epoll.close()
        self.theirs.close()


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    with closing(Ends(tmp_path)) as made:
        yield made


def test_orders_come_and_reports_go(ends: Ends) -> None:
    assert not ends.ready() and ends.link.order() is None
    control.send(ends.theirs, {"do": "drop"})
    assert ends.ready() and ends.link.order() == ({"do": "drop"}, [])
    ends.link.report({"event": "closed"})
    assert ends.state() == (False, True)
    ends.link.deliver()
    assert ends.state() == (False, False)
    assert control.receive(ends.theirs) == ({"event": "closed"}, [])


def test_reports_wait_for_a_slow_control_plane_in_order(ends: Ends) -> None:
    for number in range(2000):  # more than the socket's buffer holds
        ends.link.report({"number": number, "padding": "." * 500})
    seen = []
    while ends.link.busy:
        ends.link.deliver()
        received = control.receive(ends.theirs)
        assert received is not None
        seen.append(received[0]["number"])
    assert seen == list(range(len(seen)))


@pytest.mark.parametrize("noticed", ["order", "deliver"])
def test_a_link_that_broke_is_joined_by_the_next_control_plane(ends: Ends, noticed: str) -> None:
    ends.link.report({"event": "closed"})
    ends.theirs.close()
    ends.link.give({"event": "moved"}, [])  # no error, although the control plane is gone
    getattr(ends.link, noticed)()
    assert ends.state() == (True, False) and ends.breaks == 1
    ends.link.report({"event": "closed"})
    assert ends.state() == (True, False), "without a control plane no report is queued"
    successor = control.meet(ends.folder, ends.name)
    assert successor is not None
    with successor:
        assert ends.ready() and ends.link.order() is None
        assert ends.state() == (False, False)
        control.send(successor, {"do": "leave"})
        assert ends.link.order() == ({"do": "leave"}, [])
        ends.link.give({"event": "moved"}, [])
        assert control.receive(successor) == ({"event": "moved"}, [])


def test_a_message_whose_descriptors_do_not_fit_comes_without_any(ends: Ends) -> None:
    """As for a process that has no descriptor left. Some of them would be mistaken for others."""
    before = os.listdir("/proc/self/fd")
    control.send(ends.theirs, {"do": "connect"}, [0] * (control.MAX_DESCRIPTORS + 1))
    assert ends.link.order() == ({"do": "connect"}, [])
    assert os.listdir("/proc/self/fd") == before
