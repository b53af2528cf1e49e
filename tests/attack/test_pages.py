"""Attacks on the page server: to take swap that is in use, or to keep others from attaching."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from netboot.boot.events import Journal
from netboot.pages.exports import LeasedExports
from netboot.pages.lease import LeaseTable
from netboot.pages.rivals import PROBE_SECONDS, RETURN_SECONDS
from netboot.pages.stores.disk import DiskStore
from netboot.pages.stores.memory import MemoryStore
from netboot.pages.worker.buffers import BUFFER_BYTES
from netboot.profile.profile import Profile
from netboot.serve.boot_files import BootFiles
from netboot.serve.http.lease_request import LeaseRequest
from netboot.serve.room import Room
from tests import ROOT
from tests.attack.machines import Machine, bridged
from tests.pages.test_server import anonymous_bytes
from tests.support import scapy_nbd as nbd
from tests.support.nbd_client import NbdClient
from tests.support.page_server import Running, running

MIB = 1 << 20
SEAT, EXPORT = "52:54:99:00:00:10", "seat-525499000010"
SERVER, VICTIM, ATTACKER = "10.99.0.1", "10.99.0.10", "10.99.0.66"
IN_USE = b"another PC with this address is running"
UNKNOWN = b"no such export, or wrong token"
PAGE = bytes(range(256)) * 16
SWAP_SECONDS = 10.0  # a rebooted PC must have its swap by then
AGENT_SECONDS = 10.0  # then the agent gives a handshake up (STEP_MS in stream.c)
ATTACHMENTS = 40
TCP_REPAIR = 19


class Site:
    """A server with a leased area, its victim and its attacker."""

    def __init__(
        self, machines: dict[str, Machine], server: Running, table: LeaseTable, store: MemoryStore
    ) -> None:
        self.victim, self.attacker = machines["victim"], machines["attacker"]
        self.machines, self.server, self.table, self.store = machines, server, table, store

    def grant(self, token: str, size: int = MIB, connections: int = 2, seat: str = SEAT) -> str:
        export, now = f"seat-{seat.replace(':', '')}", time.time()
        self.server.ask(
            lambda: self.table.grant(seat, export, token, size, now, connections=connections)
        )
        return f"{export}@{token}"

    def client(self, machine: Machine) -> NbdClient:
        return machine.do(lambda: NbdClient(self.server.address))

    def attach(self, machine: Machine, name: str, count: int = 1) -> list[NbdClient]:
        return [self.client(machine).attach(name) for _ in range(count)]

    def key(self, machine: Machine, name: str) -> str:
        """Ask for the key of a lease, which is told once the lease is saved."""
        until = time.monotonic() + SWAP_SECONDS
        while True:
            with self.client(machine) as asking:
                told = bytes(asking.option(nbd.go(name.encode(), 2, option=6))[-2].data)
            _, separator, key = told.rpartition(b", key ")
            if separator:
                return key.decode()
            assert time.monotonic() < until, told
            time.sleep(0.02)

    def refusal(self, machine: Machine, name: str) -> bytes:
        """Return the reason of the refusal; the server closes the connection after it."""
        with self.client(machine) as client:
            reason = bytes(client.go(name)[-1].data)
            with pytest.raises(EOFError):
                client.receive(1)
        return reason

    def kinds(self) -> list[str]:
        return [event.kind for event in self.server.events]


@contextmanager
def site(**more: str) -> Iterator[Site]:
    addresses = {"server": SERVER, "victim": VICTIM, "attacker": ATTACKER, **more}
    with ExitStack() as stack:
        store = stack.enter_context(closing(MemoryStore()))
        machines = stack.enter_context(bridged(**addresses))
        table, here = LeaseTable(1024 * MIB), machines["server"]
        context = running(LeasedExports(store, table), SERVER, workers=2)
        server = here.do(context.__enter__)
        stack.callback(lambda: here.do(lambda: context.__exit__(None, None, None)))
        yield Site(machines, server, table, store)


@pytest.fixture
def lan() -> Iterator[Site]:
    with site() as found:
        yield found


def forget(clients: list[NbdClient]) -> None:
    """End connections as a reset does: no FIN, and the kernel knows nothing of them any more."""
    for client in clients:
        client.sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        client.sock.close()


@pytest.mark.root
def test_swap_in_use_is_not_taken_by_a_fresh_lease(lan: Site) -> None:
    """a2_takeover.py: all within a second, and the victim's pages were gone."""
    first, second = lan.attach(lan.victim, lan.grant("t1") + ".1", 2)
    assert first.write(0, PAGE) == 0
    stolen = lan.grant("t2")
    begin = time.monotonic()
    assert lan.refusal(lan.attacker, stolen) == IN_USE
    assert time.monotonic() - begin < PROBE_SECONDS, "a kernel that lives answers at once"
    event = lan.server.event("in-use")
    assert (event.seat, event.data["address"]) == (SEAT, ATTACKER)
    assert event.data["running"] == [VICTIM]
    assert ATTACKER in event.message and VICTIM in event.message
    for _ in range(3):
        assert lan.refusal(lan.attacker, stolen) == IN_USE
    assert lan.kinds().count("in-use") == 1, "one a minute"
    assert second.read(0, 4096) == PAGE
    for client in (first, second):
        client.sock.close()


@pytest.mark.root
def test_swap_in_use_is_not_taken_with_its_own_token(lan: Site) -> None:
    """a26_set.py from another PC: a higher set number locked the victim out of its swap."""
    name = lan.grant("t1")
    (victim,) = lan.attach(lan.victim, f"{name}.1")
    for number in ("1", "2", "ffffffffffffffff"):
        assert lan.refusal(lan.attacker, f"{name}.{number}") == IN_USE
    assert victim.write(0, PAGE) == 0
    victim.sock.close()


@pytest.mark.root
def test_nobody_takes_swap_while_its_agent_attaches_again(
    lan: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user of the seat has its address, and waits for the moment without connections."""
    monkeypatch.setattr("netboot.pages.rivals.RETURN_SECONDS", 60.0)  # this machine may be busy
    name = lan.grant("t1")
    (first,) = lan.attach(lan.victim, f"{name}.1")
    assert first.write(0, PAGE) == 0
    stolen = lan.grant("t2")
    first.sock.close()
    lan.server.event("detach")
    with lan.client(lan.victim) as user:
        user.sock.sendall(nbd.go(stolen.encode()))
        time.sleep(1.0)
        (again,) = lan.attach(lan.victim, f"{name}.2")
        reply = nbd.OptionReply(user.receive(20))
        assert user.receive(reply.length) == IN_USE
    assert again.read(0, 4096) == PAGE
    again.sock.close()


@pytest.mark.root
def test_swap_that_moves_to_another_address_is_told(lan: Site) -> None:
    """A forger of the MAC address got the victim's packets, so the victim's agent gave up."""
    (first,) = lan.attach(lan.victim, lan.grant("t1") + ".1")
    begin = time.monotonic()
    first.sock.close()
    lan.server.event("detach")
    (other,) = lan.attach(lan.attacker, lan.grant("t2") + ".1")
    assert RETURN_SECONDS < time.monotonic() - begin < SWAP_SECONDS
    event = lan.server.event("moved")
    assert event.seat == SEAT and f"by {ATTACKER} from {VICTIM}" in event.message
    other.sock.close()


@pytest.mark.root
def test_a_busy_victim_keeps_its_swap(lan: Site) -> None:
    """TCP sends no keepalive probe while data are on their way; acknowledgements are as good."""
    (victim,) = lan.attach(lan.victim, lan.grant("t1", size=64 * MIB) + ".1")
    stolen = lan.grant("t2", size=64 * MIB)
    with ExitStack() as stack:
        other = lan.client(lan.attacker)
        stack.callback(other.sock.close)
        other.sock.sendall(nbd.go(stolen.encode()))
        end = time.monotonic() + 2
        while time.monotonic() < end:
            assert len(victim.read(0, 4 * MIB)) == 4 * MIB
        reply = nbd.OptionReply(other.receive(20))
        assert other.receive(reply.length) == IN_USE
    victim.sock.close()


def rebooted(lan: Site, clients: list[NbdClient]) -> Machine:
    forget(clients)
    return lan.victim


def unplugged(lan: Site, clients: list[NbdClient]) -> Machine:
    lan.victim.run("ip link set eth0 down")
    return lan.attacker  # the same PC, with an address that it has got since


def unplugged_while_it_reads(lan: Site, clients: list[NbdClient]) -> Machine:
    """Cut the cable while replies are on their way: such connections get no keepalive probes."""
    for client in clients:
        client.sock.sendall(client.request(0, 0, 32 * MIB))
    time.sleep(0.5)
    return unplugged(lan, clients)


def unreachable(lan: Site, clients: list[NbdClient]) -> Machine:
    """Lose the connections in a switch: no answer and no reset."""
    lan.machines["server"].run("bridge link set dev victim isolated on || true; ip link del victim")
    return lan.attacker


@pytest.mark.root
@pytest.mark.parametrize("die", [rebooted, unplugged, unplugged_while_it_reads, unreachable])
def test_a_dead_pc_gets_its_swap_again(
    lan: Site, die: Callable[[Site, list[NbdClient]], Machine]
) -> None:
    clients = lan.attach(lan.victim, lan.grant("t1", size=64 * MIB) + ".1", 2)
    assert clients[0].write(0, PAGE) == 0
    machine = die(lan, clients)
    name = lan.grant("t2", size=64 * MIB)
    begin = time.monotonic()
    (again,) = lan.attach(machine, name + ".1")
    assert time.monotonic() - begin < SWAP_SECONDS
    assert again.read(0, 4096) == bytes(4096)
    assert "in-use" not in lan.kinds()
    assert ("moved" in lan.kinds()) == (machine is lan.attacker), "never silently"
    assert len(lan.store.names()) == 1
    for client in (again, *clients):
        client.sock.close()


@pytest.mark.root
def test_a_twin_does_not_take_the_swap_of_a_pc_that_comes_back(
    lan: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two PCs with one MAC and IP address: the newcomer's kernel resets the other's connections."""
    monkeypatch.setattr("netboot.pages.rivals.RETURN_SECONDS", 60.0)  # this machine may be busy
    name = lan.grant("t1")
    (victim,) = lan.attach(lan.victim, f"{name}.1")
    assert victim.write(0, PAGE) == 0
    forget([victim])
    stolen = lan.grant("t2")
    with ThreadPoolExecutor(1) as pool:
        refusal = pool.submit(lan.refusal, lan.victim, stolen)
        lan.server.event("detach")
        (again,) = lan.attach(lan.victim, f"{name}.2")  # as the agent does within 3 s
        assert refusal.result() == IN_USE
    assert again.read(0, 4096) == PAGE
    assert lan.server.event("in-use").seat == SEAT
    again.sock.close()


@pytest.mark.root
def test_the_same_boot_with_another_address_gets_its_swap_again(lan: Site) -> None:
    """A DHCP server gave the PC another address: its pages are still there."""
    name = lan.grant("t1")
    (first,) = lan.attach(lan.victim, f"{name}.1")
    assert first.write(0, PAGE) == 0
    unplugged(lan, [first])
    begin = time.monotonic()
    (again,) = lan.attach(lan.attacker, f"{name}.2")
    assert time.monotonic() - begin < SWAP_SECONDS
    assert again.read(0, 4096) == PAGE
    for client in (again, first):
        client.sock.close()


@pytest.mark.root
def test_a_user_of_the_seat_neither_learns_the_set_nor_attaches_beside_the_agent(lan: Site) -> None:
    """a26_set.py on the seat itself: 16 questions found the number, a third connection read all."""
    name = lan.grant("t1")
    clients = lan.attach(lan.victim, f"{name}.1f", 2)
    assert lan.refusal(lan.victim, f"{name}.1f").endswith(
        b"has 2 connections, the most for one area"
    )
    assert lan.server.event("refused").seat == SEAT
    answers = set()
    with lan.client(lan.victim) as asking:
        for number in (0, 1, 0x1E, 0x1F, 0x20, (1 << 64) - 1):
            replies = asking.option(nbd.go(f"{name}.{number:x}".encode(), option=6))
            answers.add(b"".join(bytes(reply) for reply in replies))
    assert len(answers) == 1, "INFO tells nothing of sets"
    assert clients[1].write(0, PAGE) == 0
    for client in clients:
        client.sock.close()


@pytest.mark.root
def test_the_token_of_the_command_line_opens_nothing_beside_an_agent(lan: Site) -> None:
    """pupil.c: a user of the seat read 11,928 pages of root's secret, and could write them."""
    name = lan.grant("t1")
    key = lan.key(lan.victim, f"{name}.1")
    clients = lan.attach(lan.victim, f"{EXPORT}@{key}.1f", 2)
    assert clients[0].write(0, PAGE) == 0
    for machine in (lan.victim, lan.attacker):
        for number in (0, 0x1F, 0x20, (1 << 64) - 1):
            dead = f"{name}.{number:x}"
            with lan.client(machine) as asking:
                for option in (6, 7):
                    (reply,) = asking.option(nbd.go(dead.encode(), 0, 1, 2, 3, option=option))
                    assert (reply.sprintf("%type%"), reply.data) == ("ERR_UNKNOWN", UNKNOWN)
                asking.option(bytes(nbd.Option(option=8)))
                (reply,) = asking.option(nbd.meta_context(dead.encode(), b"base:allocation"))
                assert (reply.sprintf("%type%"), reply.data) == ("ERR_UNKNOWN", UNKNOWN)
                asking.sock.sendall(bytes(nbd.Option(option=1, data=dead.encode())))
                with pytest.raises(EOFError):
                    asking.receive(1)
    lan.grant("t1")
    with lan.client(lan.victim) as asking:
        assert asking.go(name)[-1].data == UNKNOWN, "nor after another request for a lease"
        replies = asking.option(nbd.go(f"{EXPORT}@{key}.1f".encode(), 2, option=6))
    assert key.encode() not in b"".join(bytes(reply) for reply in replies), "not even to itself"
    assert clients[1].read(0, 4096) == PAGE
    assert lan.kinds().count("detach") == 0, "and nobody was fenced"
    for client in clients:
        client.sock.close()


@pytest.mark.root
def test_a_key_that_was_learned_ends_nobody_at_another_address(lan: Site) -> None:
    """A PC that an older release booted has its token for good, and another machine has it too."""
    name = lan.grant("t1")
    (victim,) = lan.attach(lan.victim, f"{name}.1")
    key = lan.key(lan.attacker, f"{name}.1")
    assert lan.refusal(lan.attacker, f"{EXPORT}@{key}.ff") == IN_USE
    (again,) = lan.attach(lan.victim, f"{name}.2")
    assert again.write(0, PAGE) == 0, "its token is as good as before"
    for client in (victim, again):
        client.sock.close()


@pytest.mark.root
def test_nobody_learns_which_seats_are_on(lan: Site) -> None:
    """466 questions a second, a log line each."""
    lan.grant("t1")
    with lan.client(lan.attacker) as asking:
        for option in (6, 7):
            for name in (EXPORT, f"{EXPORT}@guess", "seat-525499000011@guess"):
                reply = asking.option(nbd.go(name.encode(), option=option))[-1]
                assert (reply.sprintf("%type%"), reply.data) == ("ERR_UNKNOWN", UNKNOWN)
    assert lan.kinds() == ["refused"]


@pytest.mark.root
@pytest.mark.parametrize(("addresses", "each"), [(4, 125), (20, 25)])
def test_half_handshakes_keep_nobody_from_attaching(addresses: int, each: int) -> None:
    """a10_nbd.py: of 99 attachments in 30 s 3 succeeded, with 41,821 lines in the log."""
    with site() as lan:
        name = lan.grant("t1")
        rows = [f"10.99.0.{100 + number}" for number in range(addresses)]
        lan.attacker.run("; ".join(f"ip address add {row}/24 dev eth0" for row in rows))
        words = [sys.executable, "-m", "tests.attack.half_open", *map(str, lan.server.address)]
        attack = subprocess.Popen(
            ["nsenter", "-t", str(lan.attacker.pid), "-n", *words, str(each), *rows],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert attack.stdout is not None and attack.stdout.readline() == "begun\n"
        for number in range(1, ATTACHMENTS + 1):
            begin = time.monotonic()
            (client,) = lan.attach(lan.victim, f"{name}.{number:x}")
            assert client.read(0, 1) == b"\0"
            client.sock.close()
            # No figure for an idle machine: how fast it is beside others is not this test's matter.
            assert time.monotonic() - begin < AGENT_SECONDS
            time.sleep(0.05)
        calls, _ = attack.communicate()
        assert int(calls) > addresses * each, "none was hung up on"
        assert lan.kinds().count("refused") <= addresses


@pytest.mark.root
def test_what_clients_ask_for_and_do_not_read_takes_no_memory(lan: Site) -> None:
    """a19_nbdmem.py: 16 connections of one lease, 200 READs of 32 MiB each."""
    name = lan.grant("t1", size=64 * MIB, connections=16) + ".1"
    clients = lan.attach(lan.attacker, name, 16)
    assert lan.refusal(lan.attacker, name).endswith(b"16 connections, the most for one area")
    before = sum(map(anonymous_bytes, lan.server.server.worker_pids))
    for client in clients:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sock.sendall(b"".join(client.request(0, 0, 32 * MIB) for _ in range(200)))
    time.sleep(2)
    held = sum(map(anonymous_bytes, lan.server.server.worker_pids)) - before
    assert held < (16 + 1) * 2 * BUFFER_BYTES + 4 * MIB
    with lan.client(lan.victim) as victim:
        assert victim.attach(lan.grant("t", seat=f"{SEAT[:-1]}1")).read(0, 1) == b"\0"
    for client in clients:
        client.sock.close()


def test_made_up_pcs_do_not_take_the_rooms_swap(tmp_path: Path) -> None:
    """a4_capacity.py: eight requests took all for 24 hours, also after a restart."""
    for start in range(2):
        with closing(DiskStore(tmp_path, "room")) as store:
            table = LeaseTable(1024 * MIB)
            room = Room(Profile(), BootFiles(tmp_path, Profile()), b"s" * 32, Journal(), table)
            LeasedExports(store, table)
            for number, ram in enumerate([400, 400, 200, 100, 30, 8, 1, 1 << 200] * 3):
                mac = f"02:00:00:00:0{start}:{number:02x}"
                room.lease(mac, LeaseRequest(ram * MIB, fresh=True, address=ATTACKER))
            honest = room.lease(SEAT, LeaseRequest(256 * MIB, fresh=True, address=VICTIM))
            assert honest.startswith(f"size={512 * MIB} token=")
            assert len(table.generations()) <= 5, "four of the attacker, and the honest one"
