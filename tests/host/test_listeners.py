"""Listeners follow the addresses of a machine, and their connections may be fragmented."""

import errno
import socket

import pytest

from netboot.errors import OperatorError
from netboot.host.listeners import Address, Listeners
from netboot.host.sockets import IP_MTU_DISCOVER, IP_PMTUDISC_DONT

ONE, TWO, THREE = (("127.0.0.1", 0), ("127.0.0.2", 0), ("127.0.0.3", 0))


class Server:
    """A server that notes what it was told to read."""

    def __init__(self) -> None:
        self.taken: set[Address] = set()
        self.told: list[tuple[str, Address]] = []
        self.listeners = Listeners(
            self._open, begin=self._begin, end=self._end, failure=self._failure
        )

    def _open(self, address: Address) -> socket.socket:
        if address in self.taken:
            raise OSError(errno.EADDRINUSE, "taken")
        return socket.create_server(address)

    def _begin(self, address: Address, listener: socket.socket) -> None:
        self.told.append(("begin", address))

    def _end(self, address: Address, listener: socket.socket) -> None:
        self.told.append(("end", address))
        listener.close()

    def _failure(self, address: Address, error: OSError) -> OperatorError:
        return OperatorError(f"{address[0]}: {error.strerror}")


def test_a_change_leaves_the_others_alone() -> None:
    server = Server()
    server.listeners.follow([ONE, TWO, TWO])
    first = server.listeners.sockets[1]
    server.listeners.follow([TWO, THREE])
    assert server.listeners.sockets[0] is first
    assert server.told == [("begin", ONE), ("begin", TWO), ("end", ONE), ("begin", THREE)]
    server.listeners.close()
    assert server.listeners.in_use == []


def test_an_address_that_is_taken_does_not_keep_the_others() -> None:
    server = Server()
    server.taken = {ONE, TWO}
    with pytest.raises(OperatorError, match=r"127\.0\.0\.1: taken"):
        server.listeners.follow([ONE, TWO, THREE])
    assert [host for host, _ in server.listeners.in_use] == ["127.0.0.3"]
    server.listeners.close()


@pytest.mark.parametrize("is_inherited", [False, True])
def test_a_router_may_fragment_what_a_connection_sends(is_inherited: bool) -> None:
    """Without ICMP, a router with a smaller MTU swallowed each full segment, for ever."""
    server = Server()
    if is_inherited:
        server.listeners.adopt(ONE, socket.create_server(ONE))
    else:
        server.listeners.follow([ONE])
    with socket.create_connection(server.listeners.in_use[0]):
        accepted, _ = server.listeners.sockets[0].accept()
        with accepted:
            way = accepted.getsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER)
    server.listeners.close()
    assert way == IP_PMTUDISC_DONT
