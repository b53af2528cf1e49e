"""Neighbourhood: the other machines on our links, and warnings about them for the operator.

Other DHCP servers, addresses that are in use already, and PCs that wait for an IPv6 router.
"""

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from netboot.boot.client import Stage
from netboot.boot.events import BootEvent, Journal
from netboot.boot.limits import LOOKED_FOR
from netboot.errors import OperatorError, ProtocolError
from netboot.host import faults
from netboot.host.complaints import Complaints, Lasting
from netboot.host.interfaces import Interface, one_of_each
from netboot.serve.dhcp import findings
from netboot.serve.dhcp.answer import EVERYONE, SERVER_PORT, Claim, Reply, Shortage
from netboot.serve.dhcp.link import Link
from netboot.serve.dhcp.packet import (
    ANY,
    BOOTREQUEST,
    BROADCAST_FLAG,
    MessageType,
    Option,
    Packet,
    parse,
    serialize,
)
from netboot.serve.dhcp.ports import Ports
from netboot.serve.dhcp.pxe import PXE_CLIENT
from netboot.serve.dhcp.scope import Scope
from netboot.serve.dhcp.standby import Standby

log = logging.getLogger(__name__)

# Our own DISCOVER finds the other servers. dnsmasq pings for 3 s before it answers one.
SURVEY_SECONDS = (0.0, 4.0)
SURVEY_PATIENCE = 10.0
BOOT_SERVER = b"netboot-server"  # the host name in a survey of one of boot.servers
SURVEY_ARCHITECTURES = (0, 7)  # a proxy may know BIOS only; the trap of option 60 is for UEFI
# A machine in use answers an ARP probe within milliseconds, asleep on Wi-Fi within a second.
PROBE_PATIENCE = 2.0
# A PC sends its RELEASE before it takes the address off its card: dhclient by some 100 ms.
LEAVE_SECONDS = 1.0
# A PC of the profile waits for the end of a look. A frame may be lost, so each address is asked twice.
LOOK_SECONDS = LOOKED_FOR.seconds or 0.0
LOOK_AGAIN_SECONDS = 0.7
# A bridge of virtual machines or of Wi-Fi may answer for some PCs, a router with proxy ARP for all.
MANY_ADDRESSES = 8


@dataclass(slots=True)  # not frozen: see netboot.serve.dhcp.packet
class _Probe:
    """An address that was offered to ``mac`` and probed. ``until`` is of time.monotonic()."""

    mac: str
    scope: Scope
    until: float


@dataclass(slots=True)
class _Look:
    """A look for the machines of leases. ``answers``: the machine at each address, or none yet."""

    scope: Scope
    answers: dict[IPv4Address, str]
    waiting: dict[str, None] = field(default_factory=dict)  # owners without an address, in order


class Neighbourhood:
    """Watches ``interfaces`` for other servers and for addresses in use.

    ``scopes`` are full mode's networks, none in proxy mode. Other servers are asked from
    ``ports``, which the caller closes. Leases end by ``clock``. ``standby`` notes the offers
    of other boot servers, which are no finding.
    """

    def __init__(
        self,
        interfaces: Sequence[Interface],
        scopes: Sequence[Scope],
        ports: Ports,
        journal: Journal,
        clock: Callable[[], float],
        standby: Standby,
    ) -> None:
        self._standby = standby
        self._name = {Option.HOST_NAME: BOOT_SERVER} if standby.servers else {}
        self._adopt(interfaces, scopes)
        self._ports = ports
        self._journal = journal
        self._clock = clock
        self._complaints = Complaints(log)
        self._lasting = Lasting(log)
        self._claims: dict[IPv4Address, Claim] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._looks: dict[IPv4Network, _Look] = {}
        self._links: dict[int, Link] = {}
        self._probes: dict[IPv4Address, _Probe] = {}
        self._surveys: set[asyncio.Task[None]] = set()
        self._answering: set[int] = set()  # interfaces on which another server gives addresses
        self._lent: dict[int, IPv4Address] = {}  # the last address that another server gave
        self._rival: asyncio.Future[findings.Finding] | None = None

    def _adopt(self, interfaces: Sequence[Interface], scopes: Sequence[Scope]) -> None:
        self._interfaces = {each.index: each for each in one_of_each(interfaces)}
        self._own = frozenset(each.address for each in interfaces)
        self._scopes = scopes

    def start(self) -> None:
        """Watch the links, and begin the survey. Raises OperatorError if watching fails."""
        new = [index for index in self._interfaces if index not in self._links]
        failed: OperatorError | None = None
        for index in new:
            link = Link(self._interfaces[index], self._met, self._overheard)
            try:
                link.start()
            except OperatorError as error:  # the others are watched all the same
                link.stop()
                failed = error
            else:
                self._links[index] = link
        self._begin_survey(new)
        if failed is not None:
            raise failed

    def _begin_survey(self, indexes: Sequence[int]) -> None:
        if not indexes:
            return
        survey = asyncio.create_task(self._look_around(indexes))
        self._surveys.add(survey)
        survey.add_done_callback(self._surveys.discard)
        faults.watch(survey)

    def follow(self, interfaces: Sequence[Interface], scopes: Sequence[Scope]) -> None:
        """Watch these interfaces from now on, and survey those that are new.

        Raises OperatorError if watching fails.
        """
        before = self._interfaces
        self._adopt(interfaces, scopes)
        for index in list(self._links):
            now, was = self._interfaces.get(index), before.get(index)
            if now is None or was is None or (now.name, now.mac) != (was.name, was.mac):
                self._links.pop(index).stop()
                self._answering.discard(index)
                self._lent.pop(index, None)
            elif now.has_carrier and not was.has_carrier:
                self._begin_survey([index])  # the cable may lead elsewhere now
        self.start()

    def lent(self, index: int) -> IPv4Address | None:
        """Return the last address that another server gave on an interface, None if unknown."""
        return self._lent.get(index)

    async def rival(self, seconds: float) -> findings.Finding | None:
        """Return a server that does the same work as ours, or None if none is heard in ``seconds``.

        The caller must report it.
        """
        self._rival = asyncio.get_running_loop().create_future()
        try:
            return await asyncio.wait_for(self._rival, seconds)  # cancels it after that time
        except TimeoutError:
            return None

    def stop(self) -> None:
        """Close all sockets but ``ports``."""
        for survey in self._surveys:
            survey.cancel()
        for timer in self._timers:
            timer.cancel()
        for link in self._links.values():
            link.stop()

    def asked(self, packet: Packet, interface: Interface) -> bool:
        """Return True if ``packet`` is a survey: our own, which a broadcast brings back to us, or
        that of the other boot server.
        """
        if self._standby.servers and packet.options.get(Option.HOST_NAME) == BOOT_SERVER:
            return True
        link = self._links.get(interface.index)
        return link is not None and packet.chaddr[:6] == link.mac

    def replying(self, reply: Reply, interface: Interface) -> None:
        """Act on a reply that is about to be sent: probe its address, release iPXE. Never wait."""
        if reply.unproven:
            self._look_for(reply, interface)
        client = reply.client
        if client is not None and client.stage is Stage.IPXE and self._is_ours_alone(interface):
            link = self._links.get(interface.index)
            if link is not None:
                link.release(client.mac)

    def _look_for(self, reply: Reply, interface: Interface) -> None:
        """Probe an address while it is offered."""
        address, mac = reply.packet.yiaddr, reply.packet.mac or ""
        scope = next(scope for scope in self._scopes if address in scope.network)
        self._probes[address] = _Probe(mac, scope, time.monotonic() + PROBE_PATIENCE)
        self._probe(interface, address)

    def _probe(self, interface: Interface, address: IPv4Address) -> None:
        """Look for a machine at ``address``, if the interface is still there."""
        link = self._links.get(interface.index)
        if link is not None:
            link.probe(address)

    def verify(self, claim: Claim, interface: Interface) -> None:
        """Look for a machine at the address of ``claim``, and believe the claim or not. Never wait.

        A declined address rests if another machine answers there. A released one is free if no
        machine answers, after the PC had ``LEAVE_SECONDS`` to take it off its card. A requested one
        is held for the PC unless another machine answers: it asks again.
        """
        if claim.address in self._claims:
            return  # being looked at already
        self._claims[claim.address] = claim
        pause = LEAVE_SECONDS if claim.kind is MessageType.DHCPRELEASE else 0.0
        self._later(pause, lambda: self._probe(interface, claim.address))
        self._later(pause + PROBE_PATIENCE, lambda: self._silent(claim))

    def make_room(self, shortage: Shortage, interface: Interface) -> None:
        """Look for machines that hold addresses, and offer a silent one's. Never wait.

        The PC gets the address when it asks again. One look is under way at a time in a network.
        """
        scope = shortage.scope
        if scope is None:
            return
        look = self._looks.get(scope.network)
        if look is None:
            found = scope.pool.held(
                shortage.owner, shortage.is_spared, self._clock(), LOOKED_FOR.in_total or 0
            )
            look = self._looks[scope.network] = _Look(scope, dict.fromkeys(found, ""))
            ending = look
            self._ask(look, interface)
            self._later(LOOK_AGAIN_SECONDS, lambda: self._ask(ending, interface))
            self._later(LOOK_SECONDS, lambda: self._looked(ending))
        look.waiting[shortage.owner] = None

    def _ask(self, look: _Look, interface: Interface) -> None:
        for address, mac in look.answers.items():
            if not mac:
                self._probe(interface, address)

    def _looked(self, look: _Look) -> None:
        """Offer the addresses of silent machines to the PCs that wait."""
        network, now = look.scope.network, self._clock()
        del self._looks[network]
        silent = [address for address, mac in look.answers.items() if not mac]
        for owner, address in zip(look.waiting, silent, strict=False):
            look.scope.pool.hand_over(address, owner, now)
        self._complaints.warn(
            str(network),
            "%s: no address is free for %d PCs of the profile; %d of %d leases that ARP looked for "
            "are of machines that do not answer, and make room",
            network,
            len(look.waiting),
            len(silent),
            len(look.answers),
        )
        for mac, count in Counter(filter(None, look.answers.values())).most_common(1):
            if count > MANY_ADDRESSES:
                self._complaints.warn(
                    mac,
                    "%s: the one machine %s answers at %d leased addresses; find it, or have the "
                    "switch limit the addresses of a port",
                    network,
                    mac,
                    count,
                )

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(timer)
            act()

        timer = asyncio.get_running_loop().call_later(seconds, run)
        self._timers.add(timer)

    def _silent(self, claim: Claim) -> None:
        """Act on a claim about an address at which no machine answered."""
        if self._claims.get(claim.address) is not claim:
            return
        del self._claims[claim.address]
        if claim.scope is None:
            return
        pool, now = claim.scope.pool, self._clock()
        if claim.kind is MessageType.DHCPRELEASE:
            pool.release(claim.owner, claim.address, now)
        elif claim.kind is MessageType.DHCPREQUEST:
            pool.adopt(claim.owner, claim.address, now, proven=False)

    def _answered(self, mac: str, address: IPv4Address) -> None:
        """Act on the claim about ``address``, if there is one: the machine ``mac`` is there."""
        claim = self._claims.pop(address, None)
        if claim is None or claim.scope is None:
            return
        pool = claim.scope.pool
        if claim.kind is MessageType.DHCPREQUEST:
            if mac == claim.mac:
                pool.adopt(claim.owner, address, self._clock(), proven=True)
        elif claim.kind is MessageType.DHCPRELEASE or mac == claim.mac:
            pool.like(claim.owner)
            log.info("%s: not believed, because %s answers there", claim.reason, mac)
        else:
            pool.decline(claim.owner, address, self._clock())

    def _met(self, mac: str, address: IPv4Address) -> None:
        """Withdraw ``address``, which a machine uses, if it was just offered to another PC."""
        self._answered(mac, address)
        for look in self._looks.values():
            if address in look.answers:
                look.answers[address] = mac
        probe = self._probes.get(address)
        if probe is None or probe.mac == mac:
            return
        del self._probes[address]
        if time.monotonic() > probe.until:
            return
        withdrawn = probe.scope.pool.occupied(address, self._clock())
        end = "the PC gets another address" if withdrawn else "boot one of the two again"
        self._complaints.warn(
            mac, "%s, offered to %s, is in use by %s: %s", address, probe.mac, mac, end
        )

    def _overheard(self, interface: Interface, server: IPv4Address, data: bytes) -> None:
        """Take another server's answer to a DHCP client, or to our own survey."""
        is_here = server in self._own
        if is_here and self._scopes:
            return  # our own answer
        try:
            packet = parse(data)
            if is_here and packet.yiaddr == ANY:
                return  # our own answer; any other is of a server beside us, on this machine
            if server in self._standby.servers:
                if packet.message_type is MessageType.DHCPOFFER:
                    self._standby.offered(server, packet.card, time.monotonic())
                return
            full = bool(self._scopes)
            finding = findings.inspect(packet, server, interface.name, full=full)
        except ProtocolError:
            return
        if packet.message_type is MessageType.DHCPOFFER and int(packet.yiaddr):
            self._answering.add(interface.index)
            self._lent[interface.index] = packet.yiaddr
        if finding is None or packet.mac is None:
            return
        if finding.rival and self._rival is not None and not self._rival.cancelled():
            if not self._rival.done():
                self._rival.set_result(finding)
            return
        self._lasting.warn(finding.advice)
        if not self.asked(packet, interface):
            self._journal.record(BootEvent(time.time(), packet.mac, "dhcp", finding.event))

    def _is_ours_alone(self, interface: Interface) -> bool:
        """Return True if we give out the addresses on ``interface``, and without a router."""
        return any(
            interface.address in scope.network and scope.router is None for scope in self._scopes
        )

    async def _look_around(self, indexes: Sequence[int]) -> None:
        """Ask the LAN for an address as a PC does, to find the other servers."""
        begin = time.monotonic()
        for index in indexes:
            if not self._scopes and index in self._links:
                self._links[index].overhear_ourselves(begins=True)
        for delay in SURVEY_SECONDS:
            await asyncio.sleep(begin + delay - time.monotonic())
            for index in indexes:
                self._ask_around(index)
        await asyncio.sleep(begin + SURVEY_PATIENCE - time.monotonic())
        for index in indexes:
            interface, link = self._interfaces.get(index), self._links.get(index)
            if interface is None or link is None:
                continue  # gone meanwhile
            link.overhear_ourselves(begins=False)
            if not self._scopes and index not in self._answering and interface.has_carrier:
                self._complaints.warn(
                    interface.name,
                    "no DHCP server answers on %s: PCs on this network get no address to boot "
                    "with; start a DHCP server there, or set dhcp.mode: full",
                    interface.name,
                )

    def _ask_around(self, index: int) -> None:
        interface, link = self._interfaces.get(index), self._links.get(index)
        if interface is None or link is None:
            return  # gone meanwhile
        try:
            for architecture in SURVEY_ARCHITECTURES:
                question = serialize(_survey(link.mac, architecture, self._name))
                self._ports.send(question, interface, (EVERYONE, SERVER_PORT))
        except OSError as error:
            self._complaints.warn(
                interface.name,
                "cannot look for DHCP servers on %s: %s",
                interface.name,
                error,
            )


def _survey(mac: bytes, architecture: int, name: dict[int, bytes]) -> Packet:
    """Return a DHCPDISCOVER of a PC with our own MAC address. It asks for a broadcast answer.

    ``name`` is the option with our host name, none if other servers must take us for a PC.
    """
    return Packet(
        op=BOOTREQUEST,
        xid=secrets.randbits(32),
        chaddr=mac.ljust(16, b"\0"),
        flags=BROADCAST_FLAG,
        options={
            Option.DHCP_MESSAGE_TYPE: bytes((MessageType.DHCPDISCOVER,)),
            Option.PARAMETER_REQUEST_LIST: bytes((1, 3, 43, 54, 60, 66, 67)),
            Option.VENDOR_CLASS_IDENTIFIER: PXE_CLIENT + b":Arch:%05d:UNDI:003016" % architecture,
            Option.CLIENT_SYSTEM_ARCHITECTURE: architecture.to_bytes(2, "big"),
            Option.CLIENT_MACHINE_IDENTIFIER: bytes(17),
            **name,
        },
    )
