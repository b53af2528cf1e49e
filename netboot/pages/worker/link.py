"""A worker's end of the control socket: orders come, reports go, and it may break.

When it breaks the worker is *adrift* until the next control plane meets it (control.py); what it
would have reported meanwhile nobody has asked for.
"""

import contextlib
import select
import socket
from collections import deque
from collections.abc import Callable, Sequence

from netboot.pages import control


class Link:
    """The control socket and, if the worker can be met, the ``meeting`` socket, in ``epoll``.

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
        """Whether the control plane is gone."""
        return self._control is None

    @property
    def can_be_met(self) -> bool:
        """Whether there is any point in going on without one."""
        return self._meeting is not None

    @property
    def busy(self) -> bool:
        """Whether there are reports that the control plane has not taken yet."""
        return bool(self._reports)

    def owns(self, descriptor: int) -> bool:
        """Whether what epoll says of ``descriptor`` is for ``order``."""
        return any(
            sock is not None and sock.fileno() == descriptor
            for sock in (self._control, self._meeting)
        )

    def order(self) -> tuple[control.Message, list[int]] | None:
        """The next order and its descriptors; None if there is none, or if the link broke."""
        if self._control is None:
            assert self._meeting is not None, "who else could have called?"
            self._epoll.unregister(self._meeting)
            self._join(self._meeting.accept()[0])
            return None
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
        """Queues a report for ``deliver``."""
        if self._control is not None:
            self._reports.append(message)

    def deliver(self) -> None:
        """Sends as many reports as the control plane takes now."""
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
        """Sends a message with descriptors, and waits until it is taken. Does nothing if there is
        nobody to take it: that the link broke is seen by ``order``.
        """
        if self._control is None:
            return
        self._control.setblocking(True)
        with contextlib.suppress(OSError):
            control.send(self._control, message, descriptors)
        self._control.setblocking(False)

    def close(self) -> None:
        """Closes both sockets."""
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
