"""TFTP (RFC 1350, 2347-2349): tftpy behind our own rules. The only module that imports tftpy.

What tftpy 0.8.7 does by itself and we must not have, read in its source:
a WRQ is accepted unless ``upload_open`` refuses; any exception that is not its own (a blksize that
is no number, a file name that is no ASCII) ends its receive loop; sessions lock their file, which
a file in memory has no descriptor for; blksize is not bounded by the MTU, and many boot ROMs do
not put IP fragments together again.
"""

import importlib
import io
import logging
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import tftpy

from netboot.errors import OperatorError

log = logging.getLogger(__name__)

IP_UDP_TFTP_HEADERS = 20 + 8 + 4  # bytes of an MTU that are not payload of a DATA packet
ETHERNET_MTU = 1500
RETRANSMIT_SECONDS = 1
RETRIES = 10  # a boot ROM gives up after about 10 s as well

_server_module = importlib.import_module("tftpy.TftpServer")
_states_module = importlib.import_module("tftpy.TftpStates")


@dataclass(frozen=True, slots=True)
class Transfer:
    """One finished read request. ``sent`` and ``size`` are bytes, ``size`` None if refused."""

    client: str
    filename: str
    size: int | None
    sent: int
    seconds: float

    @property
    def outcome(self) -> str:
        """``refused``, ``done``, ``probe`` (size asked, then aborted: UEFI does) or ``broken``."""
        if self.size is None:
            return "refused"
        if self.sent >= self.size:
            return "done"
        return "probe" if self.sent == 0 else "broken"


class _Files:
    """What tftpy calls to open a name; carries what its sessions need to know of the server."""

    def __init__(
        self,
        address: str,
        read: Callable[[str, IPv4Address], bytes | None],
        report: Callable[[Transfer], None],
    ) -> None:
        self.address = address
        self.report = report
        self._read = read

    def __call__(self, filename: str, *, raddress: str, rport: int) -> io.BytesIO | None:
        # Old boot ROMs write paths the DOS way, or with a slash in front.
        path = filename.replace("\\", "/").lstrip("/")
        content = self._read(path, IPv4Address(self.address))
        return None if content is None else io.BytesIO(content)


class _Session(tftpy.TftpContexts.TftpContextServer):  # type: ignore[misc] # tftpy has no types
    """One transfer: answers from the address it was asked at, and no exception but tftpy's."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options, flock=False)
        self.sock.bind((self.dyn_file_func.address, 0))

    def start(self, buffer: bytes) -> None:
        self._guarded(super().start, buffer)

    def cycle(self) -> None:
        self._guarded(super().cycle)

    def _guarded(self, step: Callable[..., None], *args: bytes) -> None:
        try:
            step(*args)
        except tftpy.TftpException:
            raise
        except Exception as error:
            log.warning("TFTP: dropped a request from %s: %s", self.host, error)
            raise tftpy.TftpException(str(error)) from error

    def end(self) -> None:
        size = None if self.fileobj is None else len(self.fileobj.getbuffer())
        super().end()
        if self.file_to_transfer is not None:
            seconds = time.time() - self.metrics.start_time
            self.dyn_file_func.report(
                Transfer(self.host, self.file_to_transfer, size, self.metrics.bytes, seconds)
            )


# tftpy makes its sessions and bounds blksize by module globals; there is no other way in.
_server_module.TftpContextServer = _Session  # type: ignore[attr-defined]


class TftpServer:
    """Read-only TFTP server for names that ``read`` knows, one thread for each address.

    ``read(filename, server)`` returns the content or None, where ``server`` is the address that
    was asked; ``report(transfer)`` hears of each finished transfer. Both are called in a server
    thread. ``mtu`` (bytes) bounds blksize.
    """

    def __init__(
        self,
        read: Callable[[str, IPv4Address], bytes | None],
        report: Callable[[Transfer], None],
        *,
        port: int = 69,
        mtu: int = ETHERNET_MTU,
    ) -> None:
        self._read = read
        self._report = report
        self._port = port
        self._running: list[tuple[tftpy.TftpServer, threading.Thread]] = []
        self._empty_root = tempfile.TemporaryDirectory(prefix="netboot-tftp-")
        Path(self._empty_root.name).chmod(0o755)
        _states_module.MAX_BLKSIZE = mtu - IP_UDP_TFTP_HEADERS  # type: ignore[attr-defined]
        logging.getLogger("tftpy").setLevel(logging.CRITICAL + 1)  # we report every transfer

    def start(self, addresses: Sequence[IPv4Address]) -> None:
        """Listens on ``addresses``. Raises OperatorError if one of them cannot be had."""
        for address in addresses:
            files = _Files(str(address), self._read, self._report)
            server = tftpy.TftpServer(
                self._empty_root.name, dyn_file_func=files, upload_open=lambda *_: None
            )
            failed: list[OSError] = []
            thread = threading.Thread(
                target=self._listen, args=(server, str(address), failed), name="tftp", daemon=True
            )
            thread.start()
            while not server.is_running.wait(0.01):
                if not thread.is_alive():
                    self.stop()
                    raise OperatorError(
                        f"cannot serve TFTP on {address} port {self._port}: {failed[0].strerror}",
                        hint="is another TFTP server running (tftpd-hpa, atftpd, dnsmasq)? "
                        "Ports below 1024 need root.",
                    )
            self._running.append((server, thread))

    @property
    def port(self) -> int:
        """The port in use (a free one if 0 was asked for)."""
        return int(self._running[0][0].listenport) if self._running else self._port

    def _listen(self, server: tftpy.TftpServer, address: str, failed: list[OSError]) -> None:
        try:
            server.listen(address, self._port, timeout=RETRANSMIT_SECONDS, retries=RETRIES)
        except OSError as error:
            failed.append(error)

    def stop(self) -> None:
        """Drops what is under way; returns within two seconds."""
        for server, _ in self._running:
            address = server.sock.getsockname()
            server.stop(now=True)
            # It looks at that when its select() returns: an empty packet makes it return now.
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
                waker.sendto(b"", address)
        for _, thread in self._running:
            thread.join(2 * RETRANSMIT_SECONDS)
        self._running.clear()
        self._empty_root.cleanup()
