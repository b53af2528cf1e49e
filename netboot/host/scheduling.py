"""The share of the CPU that the processes of a server get.

The control plane of a server that root starts runs at nice -10 (cli/user.py). DHCP and handshakes take
little time and must not wait. Its workers, its sending threads and the programs that it runs inherit
that priority. They need much more time, so they give the priority up.
"""

import contextlib
import os


def give_way(pid: int = 0, least: int = 0) -> None:
    """Let the process ``pid``, or this thread for 0, precede no other program (nice 0, SCHED_BATCH).

    ``least`` is its nice value if it is to come after others.

    A waking process of SCHED_BATCH does not preempt the running one, and still gets an idle CPU at
    once. A client that shares the CPU can send all its requests before they are answered together:
    20 to 40 % less CPU for each request (docs/explanation/page-server.md). If the process has ended,
    or the kernel refuses, nothing happens.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))
        nice = os.getpriority(os.PRIO_PROCESS, pid)
        os.setpriority(os.PRIO_PROCESS, pid, max(nice, least))
