"""What the server may do that any user may not, and a command line that leaves it no more. Pure."""

from collections.abc import Sequence

# Ports 67, 69, also after a SIGHUP, when it opens them again; and packet sockets (dhcp.link), which
# look for addresses in use and hear other DHCP servers.
CAPABILITIES = ("CAP_NET_BIND_SERVICE", "CAP_NET_RAW")


def command_as(user: str, command: Sequence[str]) -> list[str]:
    """``command`` for root to run as ``user`` (a name), with these capabilities (setpriv(1))."""
    names = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in CAPABILITIES)
    return [
        *("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--no-new-privs"),
        *(f"--inh-caps=-all,{names}", f"--ambient-caps=-all,{names}"),
        *(f"--bounding-set=-all,{names}", *command),
    ]
