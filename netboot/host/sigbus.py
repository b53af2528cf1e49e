"""The access to a mapped file that became shorter costs that mapping, and not the process.

The kernel sends SIGBUS then. A handler of Python's own would run after the access, which is repeated
for ever. So this one is called by the kernel, through ctypes. An access to a mapped file is a copy of
bytes, in which Python holds no lock but its own, so the handler may run Python's code. It puts
zeroed memory in the place of the file, and the copy goes on. The caller must use nothing of it.
"""

import ctypes
import logging
import mmap
import os
import signal
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

_SA_SIGINFO = 4  # asm-generic/signal-defs.h
_MAP_FIXED, _MAP_NORESERVE = 0x10, 0x4000  # asm-generic/mman.h
_DELETED = " (deleted)"  # proc(5), /proc/pid/maps


class _Info(ctypes.Structure):
    """The begin of siginfo_t of a fault."""

    _fields_ = (
        ("number", ctypes.c_int),
        ("error", ctypes.c_int),
        ("code", ctypes.c_int),
        ("address", ctypes.c_void_p),
    )


_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.POINTER(_Info), ctypes.c_void_p)


class _Action(ctypes.Structure):
    """struct sigaction of glibc (bits/sigaction.h)."""

    _fields_ = (
        ("handler", _HANDLER),
        ("mask", ctypes.c_ulong * (1024 // (8 * ctypes.sizeof(ctypes.c_ulong)))),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int),
    *(ctypes.c_int, ctypes.c_int, ctypes.c_longlong),
)
_installed: list[_Action] = []  # the kernel has its address


def survive(on_fault: Callable[[str, int], bool]) -> None:
    """Call ``on_fault`` with path and inode of the file at which an access to a mapping fails.

    It runs in the middle of that access, with all that the access has locked. If it returns False, or
    the fault is none of a file, the process ends as without this. Raises OSError if the kernel or
    the machine's policy allows no such handler.
    """

    def handle(number: int, info: "ctypes._Pointer[_Info]", context: object) -> None:
        try:
            found = _mapping_at(info.contents.address or 0)
            if found is not None and on_fault(found[2], found[3]) and _replace(*found[:2]):
                return
        except Exception:
            log.exception("a mapped file cannot be read, and cannot be given up")
        signal.signal(signal.SIGBUS, signal.SIG_DFL)  # the access is repeated

    try:
        action = _Action(_HANDLER(handle), flags=_SA_SIGINFO)
    except MemoryError as error:  # no memory may be made executable
        raise PermissionError(str(error)) from error
    if _libc.sigaction(int(signal.SIGBUS), ctypes.byref(action), None):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    _installed[:] = [action]


def _mapping_at(address: int) -> tuple[int, int, str, int] | None:
    """Return begin, end, path and inode of the file that is mapped at ``address``."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, _, _, inode, *path = line.split(maxsplit=5)
        begin, end = (int(text, 16) for text in span.split("-"))
        if begin <= address < end and int(inode):
            return begin, end, path[0].removesuffix(_DELETED), int(inode)
    return None


def _replace(begin: int, end: int) -> bool:
    """Put zeroed memory of this process in the place of a mapping."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED | _MAP_NORESERVE
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    return bool(_libc.mmap(begin, end - begin, protection, flags, -1, 0) == begin)
