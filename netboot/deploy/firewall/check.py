"""The doctor's look at the firewall of one interface: what its rules say, and a try in a copy."""

import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address

from netboot.deploy.firewall import reading, replica
from netboot.deploy.firewall.needs import (
    NO_PORTS,
    Conclusion,
    Need,
    conclude,
    judge_need,
    likely_pc,
    manager_of,
    needs,
)
from netboot.deploy.firewall.rules import Opinion
from netboot.host.interfaces import Interface

TRIED = "a copy of the rules drops it"


def check(
    interface: Interface,
    ports: Mapping[str, int],
    pcs: Iterable[IPv4Address],
    *,
    dhcp: str,
    optional: Mapping[str, int] = NO_PORTS,
) -> Conclusion:
    """Return whether the firewall lets PCs of ``interface`` in.

    ``ports``: TCP ports by their use; ``dhcp``: the mode. The PC that is asked for is the first one of ``pcs``, addresses of PCs, in the network. An
    ``optional`` port that is closed is a hint in the detail.
    """
    if os.geteuid():
        return Conclusion(None, "skipped: only root sees the rules of the firewall")
    firewall = reading.read()
    here = interface.address
    pc = likely_pc(here, interface.network, pcs)
    wanted = needs(interface.name, here, pc, ports, dhcp=dhcp, optional=optional)
    found = [(need, judge_need(firewall.tables, need)) for need in wanted]
    note = ""
    if firewall.tables:
        passed = replica.ask(_order(found, interface, firewall))
        if isinstance(passed, str):
            note = f"; not tried in a copy of the rules: {passed}"
        else:
            found = corrected(found, passed)
    result = conclude(found, manager_of(firewall.tables))
    if firewall.unread and result.is_open is not False:
        return Conclusion(None, "cannot tell: " + "; ".join(firewall.unread))
    return Conclusion(result.is_open, f"from {pc}: {result.detail}{note}")


def _order(
    found: list[tuple[Need, Opinion]], interface: Interface, firewall: reading.Firewall
) -> replica.Order:
    names = [name for _, name in socket.if_nameindex()]
    return replica.Order(
        interface.name,
        str(interface.address),
        interface.network.prefixlen,
        replica.names_of(names, interface.name),
        firewall.texts,
        firewall.saved,
        [replica.as_order(need) for need, _ in found],
    )


def corrected(found: list[tuple[Need, Opinion]], passed: list[bool]) -> list[tuple[Need, Opinion]]:
    """Return the opinions with the kernel's verdicts, each with the rule that explains it.

    A rule that varies stays in doubt: the kernel was asked once, and not for a whole room.
    """
    return [
        (need, opinion)
        if opinion.varies or opinion.is_open is passes
        else (need, replace(opinion, is_open=passes, rule=opinion.rule or TRIED))
        for (need, opinion), passes in zip(found, passed, strict=True)
    ]
