"""The privileges that the server needs, a command line that grants no others, and giving all up."""

import contextlib
import ctypes
import os
import struct
import sys
from collections.abc import Sequence

# For ports 67 and 69, which a SIGHUP opens again, and for packet sockets (netboot.serve.dhcp.link),
# which look for addresses in use and for other DHCP servers.
CAPABILITIES = ("CAP_NET_BIND_SERVICE", "CAP_NET_RAW")
_NUMBERS = (10, 13)  # linux/capability.h

# linux/prctl.h, linux/capability.h.
PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
_HEADER = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)  # 0: this thread
_SETS = struct.Struct("=6I")  # effective, permitted and inheritable, of capabilities 0-31 and 32-63
_NONE = bytes(_SETS.size)

# Runs the program of its arguments.
_LAST_RIGHTS = f"""import ctypes, os, signal, sys
prctl = ctypes.CDLL(None).prctl
prctl({PR_SET_NO_NEW_PRIVS}, 1, 0, 0, 0)
prctl({PR_SET_PDEATHSIG}, signal.SIGTERM, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])"""

_libc = ctypes.CDLL(None, use_errno=True)


def command_as(user: str, group: int, command: Sequence[str]) -> list[str]:
    """Return a command line with which root runs ``command`` as ``user`` and its ``group``.

    The program gets these capabilities and no others (setpriv(1)).
    """
    names = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in CAPABILITIES)
    return [
        *("setpriv", f"--reuid={user}", f"--regid={group}", "--init-groups", "--no-new-privs"),
        *(f"--inh-caps=-all,{names}", f"--ambient-caps=-all,{names}"),
        *(f"--bounding-set=-all,{names}", *command),
    ]


def command_without(user: tuple[str, int] | None, command: Sequence[str]) -> list[str]:
    """Return a command line with which ``command`` has no capability, nor ever gets one.

    If we are root it runs as ``user``, a name and a group; None is root without a capability. It gets
    SIGTERM when the thread that starts it ends, also by a kill. Call ``keep_from_programs`` before.
    """
    if os.geteuid() != 0:
        # setpriv(1) calls capset(2) whatever it is asked to do, and a service's unit has none.
        return [sys.executable, "-I", "-S", "-c", _LAST_RIGHTS, *command]
    words = ["setpriv", "--no-new-privs", "--pdeathsig", "TERM"]
    words += ["--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all"]
    if user is not None:
        words += [f"--reuid={user[0]}", f"--regid={user[1]}", "--init-groups"]
    return [*words, *command]


def keep_from_programs() -> None:
    """Let no program that this thread starts have our capabilities, unless root runs it."""
    _checked(_libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))


def give_to_programs() -> None:
    """Let the program that replaces this one have CAPABILITIES, as far as we were given them."""
    for number in _NUMBERS:
        with contextlib.suppress(PermissionError):
            _checked(_libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0))


def drop_all() -> None:
    """Give up all capabilities of this thread, and of all programs that it will run.

    Call it before the process has other threads. Raises OSError.
    """
    _checked(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    keep_from_programs()
    try:
        _checked(_libc.capset(_HEADER, _NONE))
    except PermissionError:  # a service's unit has no capset(2)
        held = ctypes.create_string_buffer(len(_NONE))
        _checked(_libc.capget(_HEADER, held))
        effective, permitted, _, *more = _SETS.unpack(held.raw)
        if effective or permitted or any(more):
            raise  # what may be left are inheritable ones, which are worth nothing by themselves


def _checked(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
