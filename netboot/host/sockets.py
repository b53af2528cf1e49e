"""Socket options that Python does not name."""

import socket

SO_RCVBUFFORCE = 33  # asm-generic/socket.h
IP_MTU_DISCOVER, IP_PMTUDISC_DONT, IP_MTU = 10, 0, 14  # linux/in.h


def widen_receive_buffer(sock: socket.socket, size_bytes: int) -> None:
    """Let datagrams of ``size_bytes`` wait in ``sock``, as the kernel counts them.

    A process without CAP_NET_ADMIN gets at most net.core.rmem_max. Raises OSError.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size_bytes)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size_bytes)


def let_fragment(sock: socket.socket) -> None:
    """Send datagrams without the bit that forbids routers to fragment them. Raises OSError.

    Where ICMP is filtered, a router drops them without a word if they have that bit.
    """
    sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)


def path_mtu(sock: socket.socket) -> int:
    """Return the MTU to the peer of a connected ``sock``, in bytes, as far as the kernel knows it.

    It is that of the interface, or of the route if that has a smaller one. Raises OSError.
    """
    return sock.getsockopt(socket.IPPROTO_IP, IP_MTU)
