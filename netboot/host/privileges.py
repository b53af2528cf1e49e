"""The privileges that the server needs, and a command line that grants no others. Pure."""

from collections.abc import Sequence

# For ports 67 and 69, which a SIGHUP opens again, and for packet sockets (netboot.serve.dhcp.link),
# which look for addresses in use and for other DHCP servers.
CAPABILITIES = ("CAP_NET_BIND_SERVICE", "CAP_NET_RAW")


def command_as(user: str, command: Sequence[str]) -> list[str]:
    """Return a command line with which root runs ``command`` as ``user`` (a name).

    The program gets these capabilities and no others (setpriv(1)).
    """
    names = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in CAPABILITIES)
    return [
        *("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--no-new-privs"),
        *(f"--inh-caps=-all,{names}", f"--ambient-caps=-all,{names}"),
        *(f"--bounding-set=-all,{names}", *command),
    ]
