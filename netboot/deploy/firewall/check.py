"""The doctor's look at the firewall of one interface: what its rules say, and a try in a copy."""

import os
import shutil
import socket
from collections.abc import Mapping

from netboot.deploy.firewall import reading, replica
from netboot.deploy.firewall.needs import Conclusion, Need, conclude, manager_of, needs
from netboot.deploy.firewall.rules import Opinion, judge
from netboot.host.interfaces import Interface


def check(interface: Interface, ports: Mapping[str, int], *, proxy: bool) -> Conclusion:
    """Return whether the firewall lets PCs of ``interface`` in. ``ports``: TCP ports by their use."""
    if os.geteuid():
        return Conclusion(None, "skipped: only root sees the rules of the firewall")
    firewall = reading.read()
    here = interface.address
    pc = next((each for each in interface.network.hosts() if each != here), here)
    wanted = needs(interface.name, here, pc, ports, proxy=proxy)
    found = [(need, judge(firewall.tables, need.packet)) for need in wanted]
    if firewall.tables:
        found = _tried(found, interface, firewall)
    result = conclude(found, manager_of(firewall.tables))
    if firewall.unread and result.is_open is not False:
        return Conclusion(None, "cannot tell: " + "; ".join(firewall.unread))
    return result


def _tried(
    found: list[tuple[Need, Opinion]], interface: Interface, firewall: reading.Firewall
) -> list[tuple[Need, Opinion]]:
    """Return the opinions, corrected by what the kernel does in a copy of the rules."""
    if not all(shutil.which(program) for program in ("unshare", "ip")):
        return found
    names = [name for _, name in socket.if_nameindex()]
    passed = replica.ask(
        replica.Order(
            interface.name,
            str(interface.address),
            interface.network.prefixlen,
            replica.names_of(names, interface.name),
            firewall.texts,
            firewall.saved,
            [replica.as_order(need) for need, _ in found],
        )
    )
    if isinstance(passed, str):
        return found
    return [
        (need, opinion if opinion.is_open is passes else Opinion(passes, opinion.rule or TRIED))
        for (need, opinion), passes in zip(found, passed, strict=True)
    ]


TRIED = "it is dropped in a copy of the rules"
