"""DhcpServer: answers ports 67 and 4011, and keeps the lease file and the journal."""

import asyncio
import logging
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from errno import EPERM
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Protocol

from netboot.boot.client import Client, is_played
from netboot.boot.events import BootEvent, Journal
from netboot.boot.plan import BootPlan
from netboot.errors import Ignored, OperatorError, ProtocolError
from netboot.host import faults
from netboot.host.complaints import Complaints, Lasting
from netboot.host.interfaces import Interface, named_networks
from netboot.profile.profile import Profile
from netboot.serve.dhcp import record, refusal, sockets
from netboot.serve.dhcp.addresses import Route, choose
from netboot.serve.dhcp.answer import SERVER_PORT, Claim, Context, Reply, Shortage
from netboot.serve.dhcp.conversation import Conversations
from netboot.serve.dhcp.doubles import Doubles
from netboot.serve.dhcp.leasefile import LeaseFile
from netboot.serve.dhcp.neighbourhood import Neighbourhood
from netboot.serve.dhcp.packet import ANY, MessageType, Option, Packet, parse, serialize
from netboot.serve.dhcp.ports import Ports
from netboot.serve.dhcp.queue import Queue
from netboot.serve.dhcp.responder import respond
from netboot.serve.dhcp.scope import Scope, make_scopes, owner_of
from netboot.serve.dhcp.sockets import PRIVILEGED_BELOW
from netboot.serve.dhcp.standby import GRACE_SECONDS, Standby, Turn

log = logging.getLogger(__name__)

# A second server must be known before the first PC is answered. proxyDHCP servers answer in
# milliseconds; a slower server causes a warning when it answers.
RIVAL_PATIENCE = 0.5
# Before other servers have their turn: packets taken from a socket, 1 ms, and PCs that are not
# known, 2 ms. An HTTP answer takes some turns, so a turn must be short while all doors are attacked.
TAKEN_AT_ONCE, ANSWERED_AT_ONCE = 64, 16
REST_SECONDS = 0.05  # in a flood, between two looks at the queue
NOBODY = str(ANY)  # the source of a PC without an address
BESIDE = "to serve beside it anyway: --set dhcp.beside=yes, or 'beside: yes' below dhcp"


@dataclass(slots=True)  # not frozen: see netboot.serve.dhcp.packet
class _Arrived:
    """A datagram that waits for its turn; ``received`` is of time.perf_counter().

    ``left`` is the time (of time.monotonic()) at which it was left to another boot server for a
    moment; None if it was not.
    """

    arrival: sockets.Arrival
    bound: sockets.Port
    port: int
    received: float
    left: float | None = None


@dataclass(slots=True)  # not frozen: see netboot.serve.dhcp.packet
class _Answered:
    """A reply to ``asked`` that waits for the leases to be on disk.

    ``received`` is of time.perf_counter().
    """

    asked: Packet
    reply: Reply
    data: bytes
    interface: Interface
    received: float


class Plan(Protocol):
    """The decision on a client's boot (Room.plan)."""

    def __call__(self, client: Client, server: IPv4Address, *, privileged: bool) -> BootPlan:
        """Return the plan for a client that asked our address ``server``.

        ``privileged``: it asked from a port that no user of a seat can use.
        """


class Notes(Protocol):
    """The notes of our answers: they tell which PC has an address behind a router."""

    def answered(self, reply: Reply) -> None:
        """Note what an answer says about its PC."""

    def restore(self, owner: str, address: IPv4Address, expires: float) -> None:
        """Note a lease that an earlier server gave."""


class DhcpServer:
    """Answers DHCP on ``interfaces``.

    ``plan`` decides on a client's boot. ``lease_file`` keeps full mode's leases. ``notes`` gets each
    lease and each answer. PCs for which ``is_known(mac)`` is True never wait for others
    (dhcp/queue.py). Leases end by ``clock``, in seconds since the epoch. ``standby`` decides which
    PCs are left to another boot server; without it none is.
    """

    def __init__(
        self,
        profile: Profile,
        interfaces: Sequence[Interface],
        plan: Plan,
        journal: Journal,
        lease_file: Path | None = None,
        notes: Notes | None = None,
        is_known: Callable[[str], bool] = lambda mac: False,
        clock: Callable[[], float] = time.time,
        standby: Standby | None = None,
    ) -> None:
        self._profile = profile
        self._standby = Standby() if standby is None else standby
        self._clock = clock
        self._queue: Queue[_Arrived] = Queue(is_known)
        self._serving: asyncio.Handle | None = None  # of strangers that wait
        self._interfaces: Mapping[int, Sequence[Interface]] = {}
        self._addresses = interfaces
        self._plan = plan
        self._journal = journal
        self._notes = notes
        self._scopes: tuple[Scope, ...] = ()
        self._leases = LeaseFile(lease_file) if lease_file is not None else None
        self._waiting: set[asyncio.Task[None]] = set()  # for leases that are not on disk yet
        # In proxy mode other servers give the addresses, and one of them may be on this machine.
        self._ports = Ports(self._readable, shared=profile.dhcp.mode == "proxy")
        self._complaints = Complaints(log)
        self._lasting = Lasting(log)
        self._conversations = Conversations(time.monotonic)
        self._networks: Sequence[IPv4Network] = ()
        self._neighbourhood: Neighbourhood | None = None

    async def start(self, *, alone: bool = False, complete: bool = True) -> None:
        """Read the leases, open ports 67 and 4011, and look for other servers.

        With ``alone``, answer no PC for ``RIVAL_PATIENCE`` seconds, in which others can show up.
        ``complete`` is False if interfaces are still missing. Raises OperatorError if a port is
        taken or not permitted, if full mode's addresses are on none of the interfaces, or if
        another server shows up.
        """
        self._adopt(self._addresses)
        if complete:
            self._profile.check_networks(named_networks(self._addresses))
        self._load_leases()
        for scope in self._scopes:
            scope.pool.shorten(self._clock())
        self._ports.follow(self._interfaces)
        self._neighbourhood = Neighbourhood(
            self._addresses,
            self._scopes,
            self._ports,
            self._journal,
            self._clock,
            self._standby,
        )
        self._neighbourhood.start()
        rival = await self._neighbourhood.rival(RIVAL_PATIENCE) if alone else None
        if rival is not None:
            raise OperatorError(rival.advice, hint=BESIDE)
        self._ports.read()

    def follow(self, interfaces: Sequence[Interface]) -> None:
        """Answer on these interfaces from now on. Leases stay.

        Raises OperatorError if one of them cannot be watched or heard, or if full mode's addresses
        are on none of them.
        """
        self._adopt(interfaces)
        try:
            self._ports.follow(self._interfaces)
        finally:
            if self._neighbourhood is not None:
                self._neighbourhood.follow(interfaces, self._scopes)
        if interfaces:
            self._profile.check_networks(named_networks(self._addresses))

    def _adopt(self, interfaces: Sequence[Interface]) -> None:
        self._addresses = interfaces
        by_index: dict[int, list[Interface]] = {}
        for each in interfaces:
            by_index.setdefault(each.index, []).append(each)
        self._interfaces = by_index
        networks = [each.network for each in interfaces]
        self._networks = (*dict.fromkeys(networks), *self._profile.dhcp.networks)
        self._doubles = Doubles()  # a cable may lead elsewhere now
        own = [each.address for each in interfaces]
        self._standby.follow(own)
        self._scopes = make_scopes(self._profile, networks, own, self._scopes)

    async def stop(self) -> None:
        """Close the ports, when the leases are on disk."""
        await asyncio.gather(*self._waiting, return_exceptions=True)
        if self._leases is not None:
            await self._leases.keeper.stop()
        if self._neighbourhood is not None:
            self._neighbourhood.stop()
        if self._serving is not None:
            self._serving.cancel()
        self._ports.close()

    def _load_leases(self) -> None:
        if not self._scopes or self._leases is None:
            return
        for row in self._leases.restore([scope.pool for scope in self._scopes]):
            if self._notes is not None:
                self._notes.restore(row["client"], IPv4Address(row["address"]), row["expires"])

    def save(self) -> None:
        """Save now what is not saved yet: this process is about to end."""
        if self._leases is not None:
            self._leases.keeper.flush()

    def _readable(self, bound: sockets.Port, port: int) -> None:
        """Answer known PCs, and queue the others. Empty the socket: it holds packets of both."""
        known: list[_Arrived] = []
        for _ in range(TAKEN_AT_ONCE):
            try:
                arrival = bound.receive()
            except OSError as error:
                self._complaints.warn(f"port {port}", "port %d: %s", port, error)
                continue
            if arrival is None:
                break
            if arrival.index not in self._interfaces:
                continue
            received = time.perf_counter()
            arrived = _Arrived(arrival, bound, port, received)
            if self._queue.put(arrival.data, arrived, received):
                known.append(arrived)
        self._answer_all(known)
        if len(self._queue) and self._serving is None:
            self._serve_strangers()

    def _serve_strangers(self) -> None:
        """Answer some of the PCs that wait, and the rest when others have had their turn."""
        self._serving = None
        taken = self._queue.take(ANSWERED_AT_ONCE, time.perf_counter())
        self._answer_all(taken)
        if len(self._queue):
            loop = asyncio.get_running_loop()
            self._serving = (
                loop.call_soon(self._serve_strangers)
                if taken
                else loop.call_later(REST_SECONDS, self._serve_strangers)
            )

    def _answer_all(self, batch: Sequence[_Arrived]) -> None:
        """Answer these; an ACK waits until its lease is on disk, if it is a new one."""
        answered = []
        for each in batch:
            if each.bound.fileno() == -1:
                continue  # the server stopped while they waited
            item = self._answer(each)
            if item is not None:
                answered.append((each, item))
        if self._leases is not None:
            self._leases.note()
        new = []
        for each, item in answered:
            # fsync(2) takes a second on a busy disk: no other PC waits for it.
            if item.reply.answer is MessageType.DHCPACK and not self._is_saved(item.reply):
                new.append((each, item))
            else:
                self._release(each, item)
        if new:
            task = asyncio.get_running_loop().create_task(self._release_saved(new))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)
            faults.watch(task)

    def _is_saved(self, reply: Reply) -> bool:
        return self._leases is None or self._leases.has(reply.packet.yiaddr)

    async def _release_saved(self, new: Sequence[tuple[_Arrived, _Answered]]) -> None:
        """Send these answers when their leases are on disk. Otherwise the PCs have to ask again."""
        assert self._leases is not None, "else none waits"
        is_saved = await self._leases.saved()
        for each, item in new:
            if is_saved:
                self._release(each, item)
            else:
                self._unanswered(
                    each.port, item, "its lease cannot be saved; make room on the disk"
                )

    def _release(self, each: _Arrived, item: _Answered) -> None:
        """Send an answer when its delay is over."""
        if item.reply.delay:
            loop = asyncio.get_running_loop()
            loop.call_later(item.reply.delay, self._send, each.bound, each.port, item)
        else:
            self._send(each.bound, each.port, item)

    def _answer(self, each: _Arrived) -> _Answered | None:
        arrival, port = each.arrival, each.port
        address, source_port = arrival.source
        sender = address  # a PC without an address has 0.0.0.0, until its packet is read
        own = self._interfaces.get(arrival.index)
        if own is None:
            return None  # the interface has gone while the packet waited
        try:
            packet = self._conversations.follow(parse(arrival.data))
            sender = packet.mac or sender
            interface = self._address_for(packet, arrival, own)
            if interface is None:
                return None
            if self._neighbourhood is not None and self._neighbourhood.asked(packet, interface):
                return None
            if self._is_left(packet, each, interface):
                return None
            context = Context(
                profile=self._profile,
                server=interface.address,
                port=port,
                source=(ANY if address == NOBODY else IPv4Address(address), source_port),
                plan=partial(self._plan_from, interface.address, source_port < PRIVILEGED_BELOW),
                networks=self._networks,
                scopes=self._scopes,
            )
            result = respond(packet, context, self._clock())
            self._record(record.of_request(packet, port, result, time.time()))
            if isinstance(result, Ignored):
                self._refused(packet, result, interface, address)
                return None
            return _Answered(packet, result, serialize(result.packet), interface, each.received)
        except ProtocolError as error:
            self._damaged(arrival, port, error)
        except Exception:  # noqa: BLE001 - a bug of ours must cost one seat and not the room
            message = "port %d: cannot answer a packet from %s\n%s"
            self._complaints.warn(sender, message, port, sender, traceback.format_exc())
        return None

    def _is_left(self, packet: Packet, each: _Arrived, interface: Interface) -> bool:
        """Return True if the packet is left to another boot server, or for a moment to see."""
        if each.left is not None:
            return self._standby.was_answered(packet.card, each.left)
        if self._standby.superior is None:
            return False  # as of nearly all servers: their packets need no look
        is_relayed = packet.giaddr != ANY
        if each.arrival.to == interface.address.packed and not is_relayed:
            return False  # the PC has chosen us
        # A storm or the doctor asks one server, and takes no other's answer.
        if each.port != SERVER_PORT or is_played(packet.mac or ""):
            return False
        now = time.monotonic()
        turn = self._standby.turn(packet, interface.address, now)
        if turn is Turn.IF_SILENT:
            # An offer may have come before its question, which waited here.
            again = replace(each, left=now - GRACE_SECONDS)
            asyncio.get_running_loop().call_later(GRACE_SECONDS, self._answer_all, [again])
        return turn is not Turn.OURS

    def _refused(self, packet: Packet, result: Ignored, interface: Interface, address: str) -> None:
        """Ask the link if that can help, and name a PC that gets no answer and should."""
        if isinstance(result, Claim) and self._neighbourhood is not None:
            self._neighbourhood.verify(result, interface)
        if isinstance(result, Shortage) and self._neighbourhood is not None:
            self._neighbourhood.make_room(result, interface)
        if result.serious:
            asker = refusal.sender(packet, IPv4Address(address))
            sender = packet.mac or address
            self._complaints.warn(sender, "%s (asked by %s)", result.told, asker)

    def _damaged(self, arrival: sockets.Arrival, port: int, error: ProtocolError) -> None:
        """Name the sender of a message that cannot be parsed, also in its seat's history."""
        address, mac = arrival.source[0], refusal.mac_in(arrival.data)
        message = "port %d: bad packet from %s, which gets no answer: %s"
        asker = f"{mac} at {address}" if mac else address
        if self._complaints.warn(mac or address, message, port, asker, error):
            self._record(record.of_damage(arrival.data, port, error, time.time()))

    def _unanswered(self, port: int, item: _Answered, reason: str) -> None:
        """Name a PC whose answer this server could not give, also in its seat's history."""
        event = record.of_failure(
            item.asked, item.reply, port, self._profile.dhcp.mode, reason, time.time()
        )
        self._complaints.warn(event.seat, "port %d: %s: %s", port, event.seat, event.message)
        self._record(event)

    def _address_for(
        self, packet: Packet, arrival: sockets.Arrival, own: Sequence[Interface]
    ) -> Interface | None:
        """Return the one of our addresses that answers; None if another card of ours answers."""
        if len(self._addresses) == 1:
            return own[0]
        for each in self._addresses:
            if each.address.packed == arrival.to and each.index != arrival.index:
                # The PC has heard of this card that the address is here: Linux answers ARP for all
                # its addresses on each card.
                return _moved(each, own[0])
        lent = None if self._neighbourhood is None else self._neighbourhood.lent(arrival.index)
        route = Route(IPv4Address(arrival.source[0]), IPv4Address(arrival.to), lent)
        owner = owner_of(packet, packet.mac or "", self._profile)
        # Cards on one LAN are as good as one card with the addresses of all.
        beside = self._doubles.beside(arrival.index)
        others = [
            _moved(each, own[0])
            for each in self._addresses
            if each.index != arrival.index
            and (each.index in beside or (lent is not None and lent in each.network))
        ]
        chosen = choose(packet, owner, route, [*own, *others], self._scopes)
        several = len(self._interfaces) > 1
        return None if several and self._is_of_another_card(packet, chosen) else chosen

    def _is_of_another_card(self, packet: Packet, interface: Interface) -> bool:
        """Return True if another card of ours, which is on the same LAN, answers ``packet``."""
        named = packet.address(Option.SERVER_IDENTIFIER)
        if named != interface.address and any(named == each.address for each in self._addresses):
            return True
        first = self._doubles.first(packet, interface, time.monotonic())
        if first is None:
            return False
        one, other = sorted((first.name, interface.name))
        networks = [each.network for each in self._addresses if each.name in (one, other)]
        self._lasting.warn(
            f"{one} and {other} are on one LAN, {' and '.join(map(str, dict.fromkeys(networks)))}: "
            f"PCs are answered on one of them; unplug the other one, or name one: "
            f"--set interface={one}"
        )
        return True

    def _plan_from(self, server: IPv4Address, privileged: bool, client: Client) -> BootPlan:
        return self._plan(client, server, privileged=privileged)

    def _send(self, bound: sockets.Port, port: int, item: _Answered) -> None:
        if bound.fileno() == -1:
            return  # the server stopped while the reply waited
        try:
            self._send_now(bound, port, item)
        except Exception:  # noqa: BLE001 - the other replies of this batch must go out
            sender, message = str(item.reply.packet.mac), "port %d: cannot reply to %s\n%s"
            self._complaints.warn(sender, message, port, sender, traceback.format_exc())

    def _send_now(self, bound: sockets.Port, port: int, item: _Answered) -> None:
        reply, interface = item.reply, item.interface
        if self._neighbourhood is not None:
            self._neighbourhood.replying(reply, interface)
        if self._notes is not None:
            self._notes.answered(reply)
        try:
            bound.send(item.data, interface, (reply.address, reply.port))
        except OSError as error:
            cause = ": this machine's firewall does not let it out" if error.errno == EPERM else ""
            self._unanswered(port, item, f"{error.strerror}{cause}")
            return
        milliseconds = (time.perf_counter() - item.received) * 1000
        self._record(record.of_reply(reply, port, milliseconds, time.time()))

    def _record(self, event: BootEvent | None) -> None:
        if event is not None:
            self._journal.record(event)


def _moved(interface: Interface, card: Interface) -> Interface:
    """Return the address of one card as one of ``card``, on whose LAN it is."""
    return replace(card, address=interface.address, network=interface.network)
