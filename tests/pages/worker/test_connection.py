"""Single turns of a connection, over a socket pair."""

import socket
import threading

import pytest

from netboot.pages.nbd.export import Export
from netboot.pages.worker.connection import TURN_BYTES, Connection
from netboot.pages.worker.exchange import Area, Buffers, Exchange
from netboot.pages.worker.lookout import prepare
from tests.support.two_ways import READ, ArrayFile, request

PAGE = bytes(range(256)) * 16


class Broken(ArrayFile):
    """A page file with a bug: it raises another exception than OSError."""

    def view(self, offset: int, length: int) -> memoryview | None:
        if offset:
            raise RuntimeError("a bug")
        return super().view(offset, length)


def connected(pages: ArrayFile) -> tuple[Connection, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    pages.write(0, memoryview(PAGE))
    area = Area("lease", Export("a", pages.size_bytes), pages)
    exchange = Exchange(area)
    exchange.hungry = True
    return Connection(ours, area, exchange, {}, b"", b""), theirs


def test_what_a_failed_turn_leaves_behind_reaches_no_other_client() -> None:
    buffers = Buffers()
    failing, one = connected(Broken(mapped=True))
    healthy, other = connected(ArrayFile(mapped=True))
    with failing.sock, one, healthy.sock, other:
        one.sendall(request(READ, 0, 4096) + request(READ, 4096, 4096))
        with pytest.raises(RuntimeError):
            failing.serve(buffers, TURN_BYTES)
        other.sendall(request(READ, 0, 16))
        assert healthy.serve(buffers, TURN_BYTES) is None
        assert other.recv(8192)[16:] == PAGE[:16]


def test_a_receive_that_filled_its_room_is_followed_by_another_one() -> None:
    buffers = Buffers()
    connection, client = connected(ArrayFile(mapped=True))
    read = request(READ, 0, 16)
    with connection.sock, client:
        client.sendall(read)
        assert connection.serve(buffers, TURN_BYTES, alone=True) is None
        assert connection.modest, "the second look found nothing"
        client.sendall(4 * read)
        assert connection.serve(buffers, 2 * len(read), alone=True) is None
        assert connection.area.counters.reads == 1 + 4


def test_a_turn_that_sleeps_in_the_socket_answers_what_comes_and_ends_without_more() -> None:
    connection, client = connected(ArrayFile(mapped=True))
    prepare(connection.sock)
    buffers, asked = Buffers(), 20

    def ask() -> None:
        for _ in range(asked):
            client.sendall(request(READ, 0, 16))
            assert client.recv(8192)[16:] == PAGE[:16]

    with connection.sock, client:
        asking = threading.Thread(target=ask)
        asking.start()
        while connection.area.counters.reads < asked:
            assert connection.serve(buffers, TURN_BYTES, alone=True, sleeps=True) is None
        asking.join()
        # Nobody asks: the kernel ends the only sleep.
        assert connection.serve(buffers, TURN_BYTES, alone=True, sleeps=True) is None
        assert connection.slept == 1
        client.sendall(request(READ, 0, 16))
        client.shutdown(socket.SHUT_WR)
        assert connection.serve(buffers, TURN_BYTES, alone=True, sleeps=True) == (
            "closed by the client"
        )


def test_a_client_that_reads_nothing_is_not_slept_for() -> None:
    connection, client = connected(ArrayFile(mapped=True))
    prepare(connection.sock)
    buffers = Buffers()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with connection.sock, client:
        client.sendall(64 * request(READ, 0, 4096))
        assert connection.serve(buffers, TURN_BYTES, alone=True, sleeps=True) is None
        assert connection.unsent and not connection.slept
