"""Socket options that Python does not name."""

import socket

SO_RCVBUFFORCE = 33  # asm-generic/socket.h


def widen_receive_buffer(sock: socket.socket, size_bytes: int) -> None:
    """Let datagrams of ``size_bytes`` wait in ``sock``, as the kernel counts them.

    A process without CAP_NET_ADMIN gets at most net.core.rmem_max. Raises OSError.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size_bytes)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size_bytes)
