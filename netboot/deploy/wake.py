"""Wake-on-LAN for a classroom: packets in waves, and an outcome for each PC."""

import time
from collections.abc import Sequence

from netboot.deploy.report import Outcome
from netboot.deploy.roster import Host
from netboot.host.wake import open_socket, send

PAUSE_SECONDS = 2.0  # between waves: a room that starts at once may trip its fuse


def wake(hosts: Sequence[Host], broadcast: str, wave: int) -> list[Outcome]:
    """Send packets for ``wave`` hosts at a time to the LAN's ``broadcast`` address."""
    outcomes = []
    with open_socket() as sock:
        for number, host in enumerate(hosts):
            if number and number % wave == 0:
                time.sleep(PAUSE_SECONDS)
            result, ok = "sent; a PC does not confirm it", bool(host.mac)
            if not host.mac:
                result = "no MAC address given for it"
            else:
                try:
                    send(sock, host.mac, broadcast)
                except OSError as error:
                    result, ok = f"{broadcast}: {error.strerror}", False
            outcomes.append(Outcome(host.seat, "wake", ok, result, 0.0))
    return outcomes
