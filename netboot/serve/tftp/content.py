"""Content: a requested file as a descriptor that a worker can read, or the ERROR for the client."""

import logging
import os
import stat
from pathlib import Path

from netboot.serve.tftp import packet
from netboot.serve.tftp.packet import ErrorCode

log = logging.getLogger(__name__)

MAX_NETASCII_BYTES = 1 << 20  # of text, which is translated in memory
NO_SUCH_FILE = "no such file"


class Refusal(Exception):
    """The answer to a request is an ERROR."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def open_file(path: Path) -> int:
    """Open a regular file, but not through a symbolic link. Raises Refusal."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        log.warning("TFTP: %s: %s", path, error.strerror)
        raise Refusal(ErrorCode.FILE_NOT_FOUND, NO_SUCH_FILE) from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        log.warning("TFTP: %s is not a regular file", path)
        raise Refusal(ErrorCode.FILE_NOT_FOUND, NO_SUCH_FILE)
    return file


def in_memory(content: bytes) -> int:
    """Return a descriptor of a file in memory."""
    file = os.memfd_create("netboot-tftp")
    with os.fdopen(os.dup(file), "wb") as writer:
        writer.write(content)
    return file


def translated(file: int) -> int:
    """Return the text of ``file`` in netascii, and close ``file``.

    Raises Refusal if it has more than ``MAX_NETASCII_BYTES``.
    """
    with os.fdopen(file, "rb") as reader:
        content = os.pread(reader.fileno(), MAX_NETASCII_BYTES + 1, 0)
    if len(content) > MAX_NETASCII_BYTES:
        raise Refusal(ErrorCode.NOT_DEFINED, "file too long for netascii; use mode octet")
    return in_memory(packet.to_netascii(content))
