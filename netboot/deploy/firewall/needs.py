"""The packets that a firewall must let through for a room, and how to have it do so. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from types import MappingProxyType
from typing import Literal

from netboot.deploy.firewall.rules import Opinion, Packet, Table, judge

Manager = Literal["firewalld", "ufw", "firehol", "iptables", "nft"]

NO_PORTS: Mapping[str, int] = MappingProxyType({})
NOBODY, ALL = IPv4Address("0.0.0.0"), IPv4Address("255.255.255.255")
INPUT = "inet filter input"  # the chain that a table of one's own mostly has
# A boot ROM's port, and one that Linux gives to a transfer (net.ipv4.ip_local_port_range).
ROM_PORT, TRANSFER_PORT = 2070, 40000


@dataclass(frozen=True, slots=True)
class Need:
    """A packet that has to pass. ``name`` is for a person.

    ``port`` is the one to open. It is 0 if the packet belongs to a transfer that has begun. No PC needs
    an ``is_optional`` one.
    """

    name: str
    packet: Packet
    port: int = 0
    is_optional: bool = False


def likely_pc(here: IPv4Address, network: IPv4Network, known: Iterable[IPv4Address]) -> IPv4Address:
    """Return an address of a PC in the server's network: the first of ``known`` there, or the middle.

    A network's first and last addresses are mostly routers', which a firewall may treat otherwise.
    """
    middle = network[network.num_addresses // 2]
    likely = (*known, middle, *network.hosts())
    return next((each for each in likely if each in network and each != here), here)


def needs(
    interface: str,
    here: IPv4Address,
    pc: IPv4Address,
    ports: Mapping[str, int],
    *,
    dhcp: str,
    optional: Mapping[str, int] = NO_PORTS,
) -> tuple[Need, ...]:
    """Return what has to pass on ``interface``. ``ports``: TCP ports by their use; ``dhcp``: the mode.

    ``here`` is the server's address, ``pc`` one of the same network. ``optional`` ports are for people.
    """

    def asks(name: str, protocol: str, port: int, source_port: int) -> Need:
        packet = Packet(interface, protocol, pc, here, source_port, port)
        return Need(f"{protocol.upper()} {port} ({name})", packet, port)

    question = Packet(interface, "udp", NOBODY, ALL, 68, 67)
    offer = Packet(interface, "udp", here, ALL, 67, 68, answer=True)
    data = Packet(interface, "udp", here, pc, TRANSFER_PORT, ROM_PORT, answer=True)
    acknowledgement = Packet(interface, "udp", pc, here, ROM_PORT, TRANSFER_PORT, is_new=False)
    return (
        *((Need("UDP 67 (DHCP)", question, 67),) if dhcp != "none" else ()),
        asks("TFTP", "udp", 69, ROM_PORT),
        *((asks("proxyDHCP of UEFI", "udp", 4011, 4011),) if dhcp == "proxy" else ()),
        *((Need("outgoing DHCP answers", offer),) if dhcp != "none" else ()),
        Need("outgoing TFTP data", data),
        Need("acknowledgements of TFTP data", acknowledgement),
        *(asks(name, "tcp", port, TRANSFER_PORT) for name, port in ports.items()),
        *(
            replace(asks(name, "tcp", port, TRANSFER_PORT), is_optional=True)
            for name, port in optional.items()
        ),
    )


def judge_need(tables: Sequence[Table], need: Need) -> Opinion:
    """Return the fate of a need's packet, and of its answer if it begins a TCP connection."""
    packet = need.packet
    opinion = judge(tables, packet)
    if packet.protocol != "tcp" or not opinion.is_open:
        return opinion
    answer = replace(
        packet,
        source=packet.target,
        target=packet.source,
        source_port=packet.target_port,
        target_port=packet.source_port,
        is_new=False,
        answer=True,
    )
    opinion = judge(tables, answer)
    return opinion if opinion.is_open else replace(opinion, of_answer=True)


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The opinion on all needs together. ``is_open`` is None if it is not known."""

    is_open: bool | None
    detail: str


def conclude(found: Sequence[tuple[Need, Opinion]], manager: Manager) -> Conclusion:
    """Return one line on all needs: what is closed, by which rule, and how to open it.

    If only optional ports are closed, that is a hint, and the firewall counts as open.
    """
    shut = [(need, opinion) for need, opinion in found if opinion.is_open is False]
    closed = [each for each in shut if not each[0].is_optional]
    if closed:
        names = ", ".join(need.name for need, _ in closed)
        rule, command = closed[0][1].rule, remedy(closed, manager)
        return Conclusion(False, f"the firewall is closed for {names} ({rule}): {command}")
    hint = ""
    if shut:
        names = ", ".join(need.name for need, _ in shut)
        hint = f"; closed for {names}, which no PC needs; to open it: {remedy(shut, manager)}"
    doubts = [each for each in found if each[1].is_open is None and not each[0].is_optional]
    if doubts:
        names = ", ".join(need.name for need, _ in doubts)
        return Conclusion(None, f"cannot tell for {names} ({doubts[0][1].rule}){hint}")
    is_open = [need.name for need, opinion in found if need.port and opinion.is_open]
    return Conclusion(True, f"open: {', '.join(is_open)}{hint}")


def remedy(closed: Sequence[tuple[Need, Opinion]], manager: Manager) -> str:
    """Return the command that opens what is closed."""
    interface = closed[0][0].packet.interface
    ports: dict[str, list[int]] = {}
    bases: dict[str, str] = {}  # of nft: the chain that a protocol is closed in
    for need, opinion in closed:
        if need.port and not opinion.of_answer:
            ports.setdefault(need.packet.protocol, []).append(need.port)
            bases.setdefault(need.packet.protocol, opinion.base)
    if not ports:
        answers = [str(need.port) for need, opinion in closed if opinion.of_answer]
        more = f", and TCP from port {', '.join(answers)}" if answers else ""
        return (
            f"let out UDP from port 67 and ports above 32767{more}, and let in "
            "'ct state established'"
        )
    joined = {protocol: ",".join(map(str, each)) for protocol, each in ports.items()}
    match manager:
        case "firewalld":
            words = " ".join(
                f"--add-port={p}/{proto}" for proto, each in ports.items() for p in each
            )
            zone = (
                f"$(firewall-cmd --get-zone-of-interface={interface} || "
                "firewall-cmd --get-default-zone)"
            )
            return f"firewall-cmd --permanent --zone={zone} {words} && firewall-cmd --reload"
        case "ufw":
            return " && ".join(
                f"ufw allow in on {interface} proto {protocol} to any port {each}"
                for protocol, each in joined.items()
            )
        case "firehol":
            words = " ".join(f"{protocol}/{each}" for protocol, each in joined.items())
            return (
                f"add to the interface in /etc/firehol/firehol.conf, and restart firehol: "
                f'server custom netboot "{words}" any accept'
            )
        case "iptables":
            return " && ".join(
                f"iptables -I INPUT -i {interface} -p {protocol} -m multiport --dports {each} "
                "-j ACCEPT"
                for protocol, each in joined.items()
            )
        case "nft":
            return " && ".join(
                f"nft insert rule {bases[protocol] or INPUT} iifname {interface} {protocol} dport '{{ {each} }}' accept"
                for protocol, each in joined.items()
            )


def manager_of(tables: Sequence[Table]) -> Manager:
    """Return the program that made these rules, as its chains show."""
    chains = [chain for table in tables for chain in table.values()]
    if any(chain.place.endswith(" firewalld") for chain in chains):
        return "firewalld"
    if any(chain.name == "ufw-user-input" for chain in chains):
        return "ufw"
    if any("UNMATCHED IN" in rule.text for chain in chains for rule in chain.rules):
        return "firehol"  # the text that its rules log
    is_nft = any(" " in chain.place for chain in chains)
    return "nft" if is_nft or not chains else "iptables"
