"""The TFTP client: read files as a PC's firmware does."""

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address

from netboot.errors import AnswerError, ProtocolError
from netboot.serve.tftp.download import DEFAULT_BLKSIZE, Download

PORT = 69
WAITS = (1.0, 2.0, 4.0)  # seconds until each retransmission, and until the client gives up
MAX_DATAGRAM = 1 << 16


async def fetch(
    server: IPv4Address,
    filename: str,
    *,
    blksize: int = DEFAULT_BLKSIZE,
    windowsize: int = 1,
    waits: Sequence[float] = WAITS,
    port: int = PORT,
    source: str = "",
) -> bytes:
    """Return the content of ``filename``.

    ``blksize`` is in bytes, ``windowsize`` in blocks. ``waits`` are the seconds until the last
    packet is sent again, and at the end until the client gives up. ``source`` is our address, by
    default the one that leads to the server. Raises AnswerError if the server refuses, breaks the
    protocol, or stops answering.
    """
    download = Download(filename, blksize, windowsize)
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        peer, met = (str(server), port), False
        try:
            if source:
                sock.bind((source, 0))
            sock.sendto(download.again, peer)
            patience = iter(waits)
            wait = next(patience)
            while not download.done:
                answered = None
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        answered = await loop.sock_recvfrom(sock, MAX_DATAGRAM)
                if answered is None:
                    wait = next(patience, 0.0)
                    if not wait:
                        raise AnswerError(f"TFTP {server}: no answer in {sum(waits):g} s")
                    sock.sendto(download.again, peer)
                    continue
                datagram, sender = answered
                if not met and sender[0] == peer[0]:
                    peer, met = sender, True  # the transfer's own port (RFC 1350 section 4)
                if sender != peer:
                    continue
                reply = download.receive(datagram)
                patience = iter(waits)
                wait = next(patience)
                if reply is not None:
                    sock.sendto(reply, peer)
        except (OSError, ProtocolError) as error:
            raise AnswerError(f"TFTP {server}: {error}") from None
    return bytes(download.content)
