"""A worker's end of the control socket, which carries orders and reports and may break.

When the socket breaks, the worker is *adrift* until the next control plane connects (control.py).
Reports of that time are dropped: no control plane has asked for them.
"""

import contextlib
import select
import socket
from collections import deque
from collections.abc import Callable, Sequence

from netboot.pages import control


class Link:
    """The control socket and the ``meeting`` socket, registered in ``epoll``.

    The next control plane connects to ``meeting``; None if the worker must not outlive this one.
    ``on_break`` is called when the control plane is gone.
    """

    def __init__(
        self,
        epoll: select.epoll,
        control_socket: socket.socket,
        meeting: socket.socket | None,
        on_break: Callable[[], None],
    ) -> None:
        self._epoll = epoll
        self._meeting = meeting
        self._on_break = on_break
        self._reports: deque[control.Message] = deque()
        self._control: socket.socket | None = None
        self._join(control_socket)

    @property
    def adrift(self) -> bool:
        """True if the control plane is gone."""
        return self._control is None

    @property
    def can_be_met(self) -> bool:
        """True if another control plane can find this worker."""
        return self._meeting is not None

    @property
    def busy(self) -> bool:
        """True if reports wait for the control plane to take them."""
        return bool(self._reports)

    def owns(self, descriptor: int) -> bool:
        """Return whether an event of ``descriptor`` is for ``order``."""
        return any(
            sock is not None and sock.fileno() == descriptor
            for sock in (self._control, self._meeting)
        )

    def order(self) -> tuple[control.Message, list[int]] | None:
        """Return the next order and its descriptors; None if there is none or the link broke."""
        if self._control is None:
            assert self._meeting is not None, "only its event leads here"
            self._epoll.unregister(self._meeting)
            self._join(self._meeting.accept()[0])
            assert self._control is not None
        try:
            received = control.receive(self._control)
        except BlockingIOError:
            return None
        except ConnectionError:
            received = None
        if received is None:
            self._break()
        return received

    def report(self, message: control.Message) -> None:
        """Queue a report for ``deliver``."""
        if self._control is not None:
            self._reports.append(message)

    def deliver(self) -> None:
        """Send as many reports as the control plane takes now."""
        while self._reports and self._control is not None:
            try:
                control.send(self._control, self._reports[0])
            except BlockingIOError:
                return
            except OSError:
                self._break()
                return
            self._reports.popleft()

    def give(self, message: control.Message, descriptors: Sequence[int]) -> None:
        """Send a message with descriptors and wait until the socket takes it.

        Does nothing if the control plane is gone; ``order`` notices a break of the link.
        """
        if self._control is None:
            return
        self._control.setblocking(True)
        with contextlib.suppress(OSError):
            control.send(self._control, message, descriptors)
        self._control.setblocking(False)

    def close(self) -> None:
        """Close both sockets."""
        for sock in (self._control, self._meeting):
            if sock is not None:
                sock.close()

    def _join(self, control_socket: socket.socket) -> None:
        control_socket.setblocking(False)
        self._control = control_socket
        self._epoll.register(control_socket, select.EPOLLIN)

    def _break(self) -> None:
        assert self._control is not None
        self._epoll.unregister(self._control)
        self._control.close()
        self._control = None
        self._reports.clear()
        if self._meeting is not None:
            self._epoll.register(self._meeting, select.EPOLLIN)
        self._on_break()
