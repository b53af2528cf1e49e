"""A port above 1023 is ours alone: any user's program could bind it too."""

import errno
import socket

import pytest

from netboot.serve.dhcp.sockets import Port


def test_no_program_of_a_user_takes_a_port_from_us() -> None:
    """With SO_REUSEADDR on both sockets, the last one got what was for port 4011."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("0.0.0.0", 0))
            number = free.getsockname()[1]
        port = Port(number)
        with pytest.raises(OSError) as caught:
            other.bind(("0.0.0.0", number))
        port.close()
    assert caught.value.errno == errno.EADDRINUSE
