"""A blocking NBD client for tests. scapy makes and parses its bytes (scapy_nbd.py)."""

import socket
from typing import Any, Self

from tests.support import scapy_nbd as nbd

TIMEOUT_SECONDS = 60  # of a busy machine


class NbdClient:
    """One connection, after the exchange of greetings."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.sock = socket.create_connection(address, timeout=TIMEOUT_SECONDS)
        self._cookie = 0
        try:
            greeting = nbd.Greeting(self.receive(18))
        except BaseException:
            self.sock.close()
            raise
        assert (greeting.magic, greeting.option_magic) == (0x4E42444D41474943, 0x49484156454F5054)
        self.sock.sendall(bytes(nbd.ClientFlags()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        self.sock.close()

    def receive(self, length: int) -> bytes:
        """Return exactly ``length`` bytes. Raises EOFError if the server closes the connection."""
        data = bytearray()
        while len(data) < length:
            piece = self.sock.recv(min(length - len(data), 1 << 20))
            if not piece:
                raise EOFError(f"{len(data)} of {length} bytes")
            data += piece
        return bytes(data)

    def option(self, data: bytes) -> list[Any]:
        """Send an option; return its replies, the last one ACK or an error."""
        self.sock.sendall(data)
        replies = []
        while True:
            header = self.receive(20)
            reply = nbd.OptionReply(header + self.receive(nbd.OptionReply(header).length))
            replies.append(reply)
            if reply.type not in (2, 3):
                return replies

    def go(self, export: str) -> list[Any]:
        """Send NBD_OPT_GO; return its replies."""
        return self.option(nbd.go(export.encode()))

    def attach(self, export: str) -> Self:
        """Send NBD_OPT_GO, which must succeed."""
        reply = self.go(export)[-1]
        assert reply.type == 1, reply.data
        return self

    def request(self, command: int, offset: int = 0, length: int = 0, flags: int = 0) -> bytes:
        """Return the header of a request with a new cookie."""
        self._cookie += 1
        return bytes(
            nbd.Request(
                type=command, offset=offset, length=length, flags=flags, cookie=self._cookie
            )
        )

    def _error(self) -> int:
        reply = nbd.SimpleReply(self.receive(16))
        assert (reply.magic, reply.cookie) == (0x67446698, self._cookie)
        return int(reply.error)

    def read(self, offset: int, length: int) -> bytes:
        """Send NBD_CMD_READ, which must succeed; return the data."""
        self.sock.sendall(self.request(0, offset, length))
        assert self._error() == 0
        return self.receive(length)

    def write(self, offset: int, data: bytes, flags: int = 0) -> int:
        """Send NBD_CMD_WRITE; return the error."""
        self.sock.sendall(self.request(1, offset, len(data), flags) + data)
        return self._error()

    def command(self, command: int, offset: int = 0, length: int = 0, flags: int = 0) -> int:
        """Send a command without payloads in request and reply; return the error."""
        self.sock.sendall(self.request(command, offset, length, flags))
        return self._error()
