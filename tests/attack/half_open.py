"""Half handshakes, dialled again when they are hung up on.

``python -m tests.attack.half_open HOST PORT COUNT ADDRESS...``: COUNT connections from each address,
until standard input ends. A line says that it has begun; the number of calls is written at the end.
"""

import contextlib
import select
import socket
import sys
import time

PAUSE_SECONDS = 0.02
# Of each address, when they are hung up on: the security review's four had 1400 refused in a second.
DIALS_PER_SECOND = 350


def dial(server: tuple[str, int], address: str) -> socket.socket:
    """Return a connection that is never used."""
    sock = socket.socket()
    sock.bind((address, 0))
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        sock.connect(server)
    return sock


def hung_up(sock: socket.socket) -> bool:
    """Return whether the server closed the connection. Drops what it sent."""
    try:
        return not sock.recv(100)
    except BlockingIOError:
        return False
    except OSError:
        return True


def main(host: str, port: str, count: str, *addresses: str) -> None:
    """Hold the connections until standard input ends."""
    server, calls = (host, int(port)), 0
    held: dict[int, tuple[socket.socket, str]] = {}
    poll = select.poll()
    poll.register(0, select.POLLIN)
    wanted = [address for address in addresses for _ in range(int(count))]
    most, begin = len(wanted), time.monotonic()
    while True:
        due = most + int((time.monotonic() - begin) * DIALS_PER_SECOND * len(addresses)) - calls
        now, wanted = wanted[:due], wanted[due:]
        for address in now:
            sock = dial(server, address)
            held[sock.fileno()] = sock, address
            poll.register(sock, select.POLLIN)
            calls += 1
            if calls == most:
                sys.stdout.write("begun\n")
                sys.stdout.flush()
        for descriptor, _ in poll.poll(PAUSE_SECONDS * 1000):
            if descriptor == 0:
                sys.stdout.write(f"{calls}\n")
                return
            sock, address = held[descriptor]
            if hung_up(sock):
                poll.unregister(sock)
                sock.close()
                del held[descriptor]
                wanted.append(address)


if __name__ == "__main__":
    main(*sys.argv[1:])
