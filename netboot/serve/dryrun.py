"""``netboot plan``: rehearse one PC's boot with the objects of the servers. Nothing is sent."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from netboot.boot import arch as architectures
from netboot.boot import grub, own_image, raspberry, seat_files, ticket
from netboot.boot.arch import LOADERS, OWN_FILES, Architecture, Firmware, is_grub
from netboot.boot.client import Client, Stage
from netboot.boot.events import Journal
from netboot.boot.host_key import HostKey
from netboot.boot.plan import (
    ANY_SCRIPT,
    BootPlan,
    HashTree,
    RootVersion,
    has_own_files,
    version_export,
)
from netboot.boot.seat_files import Facts
from netboot.errors import Ignored
from netboot.pages.lease import LeaseTable
from netboot.profile.profile import Profile
from netboot.roots.shelf import Shelf
from netboot.serve.boot_files import BootFiles
from netboot.serve.dhcp import packet as dhcp
from netboot.serve.dhcp.answer import BOOT_SERVER_PORT, SERVER_PORT, Context, Reply
from netboot.serve.dhcp.packet import MessageType, Option
from netboot.serve.dhcp.question import Asker
from netboot.serve.dhcp.responder import respond
from netboot.serve.dhcp.scope import make_scopes
from netboot.serve.dhcp.sender import client_from_packet
from netboot.serve.room import Room
from netboot.serve.tftp_files import TftpFiles

CLIENT_PORT = 68
SOMEWHERE = IPv4Network("192.0.2.0/24")  # RFC 5737
TEXT_OPTIONS = {
    Option.HOST_NAME,
    Option.DOMAIN_NAME,
    Option.VENDOR_CLASS_IDENTIFIER,
    Option.TFTP_SERVER_NAME,
    Option.BOOTFILE_NAME,
}
ADDRESS_OPTIONS = {
    Option.SUBNET_MASK,
    Option.ROUTER,
    Option.DOMAIN_NAME_SERVER,
    Option.NTP_SERVERS,
    Option.SERVER_IDENTIFIER,
}


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """All answers in the order in which a PC would get them: a title and its text."""

    parts: tuple[tuple[str, str], ...]

    def as_json(self) -> dict[str, Any]:
        """Return the answers JSON-ready, as a list so that they keep their order."""
        return {"answers": [{"to": title, "answer": text} for title, text in self.parts]}


def rehearse(profile: Profile, mac: str, arch: str, server: IPv4Address | None = None) -> Rehearsal:
    """Play the PC ``mac`` against ``profile``. Show keys as ``<session>`` and ``<token>``.

    ``server`` is our address. Its default is in dhcp.range's network, or else in a network for
    documentation. Raises OperatorError if ``arch`` is neither a name nor a code of arch.py.
    """
    if server is None:
        pool = profile.dhcp.range
        network = SOMEWHERE if pool is None else IPv4Network(f"{pool.first}/24", strict=False)
        server = network.network_address + 1
    return _Rehearsal(profile, mac, architectures.parse(arch), server).play()


class _AnyVersion(Shelf):
    """A shelf that has each image: the rehearsal may run on another machine than the server."""

    def boots(self, name: str) -> RootVersion:
        """Return a stand-in for the version that is current when the PC boots."""
        return RootVersion(version_export(f"<version-of-{name}>"), HashTree(0, "<hash>"))

    def obstacle(self, name: str, processors: Iterable[str]) -> str:
        """Return nothing: every PC can boot."""
        return ""


class _Rehearsal:
    def __init__(self, profile: Profile, mac: str, arch: Architecture, server: IPv4Address) -> None:
        self._profile = profile
        self._mac = mac
        self._firmware = Asker(mac, arch)
        self._ipxe = self._firmware.chained()
        proxy = profile.dhcp.mode == "proxy"
        self._loader = arch.loader_at(0, profile.seat_of(mac).boot.loader, proxy=proxy)
        self._server = server
        self._room = Room(
            profile,
            BootFiles(Path(), profile, lacks=frozenset()),
            bytes(ticket.SECRET_BYTES),
            Journal(),
            LeaseTable(capacity_bytes=0),
        )
        # The hash needs all of an image, which may be of another machine.
        self._room.trees = {path: HashTree(0, "<hash>") for path in profile.images}
        self._room.shelf = _AnyVersion()
        self._tftp = TftpFiles(self._room)
        network = IPv4Network(f"{server}/24", strict=False)
        self._scopes = make_scopes(profile, [network], [server])

    def play(self) -> Rehearsal:
        """Return all answers, from the firmware's first packet to the last script."""
        parts = [*self._dhcp("firmware", self._firmware)]
        self._room.fetched(self._mac, self._loader)
        if self._firmware.arch.firmware is Firmware.RASPBERRY_PI:
            parts += self._files_of_a_pi()
        elif self._loader in OWN_FILES:
            parts.append(self._words())
        else:
            parts += self._grub() if is_grub(self._loader) else self._ipxe_and_scripts()
        if has_own_files(self._profile.seat_of(self._mac)):
            parts.append(self._own_files())
        return Rehearsal(tuple((title, self._redact(text)) for title, text in parts))

    def _dhcp(self, program: str, asker: Asker) -> Iterator[tuple[str, str]]:
        if self._profile.dhcp.mode == "none":
            yield f"{program}'s DHCPDISCOVER, by the LAN's own DHCP server", self._left(asker)
            return
        yield f"{program}'s DHCPDISCOVER, port 67", self._ask(asker, SERVER_PORT)
        if self._profile.dhcp.mode == "proxy" and asker.arch.firmware is Firmware.UEFI:
            title = f"{program}'s DHCPREQUEST, port {BOOT_SERVER_PORT}"
            yield title, self._ask(asker, BOOT_SERVER_PORT)

    def _files_of_a_pi(self) -> Iterator[tuple[str, str]]:
        for path in raspberry.MADE_FILES:
            content = self._tftp.raspberry_pi(path, self._mac, self._server)
            text = content.decode() if isinstance(content, bytes) else f"{content or 'refused'}"
            yield f"TFTP read of {path}, with or without a folder", text

    def _grub(self) -> Iterator[tuple[str, str]]:
        first = [grub.FIRST_FILE] if LOADERS[self._loader].signed else []
        for path in (*first, f"boot/{self._mac}/{self._firmware.arch.grub}.cfg"):
            content = self._tftp.file(path, self._server)
            yield f"TFTP read of {path}", _text(content)

    def _ipxe_and_scripts(self) -> Iterator[tuple[str, str]]:
        yield from self._dhcp("iPXE", self._ipxe)
        script = f"{self._ipxe.arch.name}.ipxe"
        first = ANY_SCRIPT if self._profile.dhcp.mode == "none" else script
        yield f"TFTP read of {first}", _text(self._tftp.script(first, self._server))
        text = self._room.script(self._mac, script, self._server)
        yield f"HTTP GET /boot/{self._mac}/{script}", text or ""

    def _words(self) -> tuple[str, str]:
        """Return what a signed image is told."""
        plan = self._room.plan_of(
            Client(self._mac, self._firmware.arch, Stage.FIRMWARE), self._server
        )
        files = "<SHA-256>" if has_own_files(plan.seat) else ""
        words = own_image.seat_words(plan, files)
        text = own_image.document("<number>", self._mac, "<image>", words)
        return f"HTTP GET /words/{self._mac}, by /init, after the signature", text.decode()

    def _own_files(self) -> tuple[str, str]:
        """Return the names of the seat's own files. Some hold secrets."""
        seat = self._profile.seat_of(self._mac)
        facts = Facts(self._server, self._server + 1, HostKey("", ""))
        names = [each.name for each in seat_files.render(seat, self._profile.dhcp, facts)]
        names += [place.lstrip("/") for place in seat.own.files]
        return "HTTP GET /seat/<session>, by /init", "\n".join(
            f"/{name}" for name in sorted(set(names))
        )

    def _ask(self, asker: Asker, port: int) -> str:
        """Return the answer to a packet of this PC, which has an address on port 4011 only."""
        on_4011 = port == BOOT_SERVER_PORT
        address = self._server + 1 if on_4011 else dhcp.ANY
        question = asker.boot_server_request(1, address) if on_4011 else asker.discover(1)
        context = Context(
            profile=self._profile,
            server=self._server,
            port=port,
            source=(address, BOOT_SERVER_PORT if on_4011 else CLIENT_PORT),
            plan=self._plan,
            networks=[IPv4Network("0.0.0.0/0")],  # the rehearsed PC is wherever it is
            scopes=self._scopes,
        )
        # Encoded and parsed, as on the wire.
        answer = respond(dhcp.parse(dhcp.serialize(question)), context, now=0.0)
        return f"no answer: {answer.reason}" if isinstance(answer, Ignored) else _describe(answer)

    def _left(self, asker: Asker) -> str:
        """Return what another DHCP server must tell this PC."""
        client = client_from_packet(asker.discover(1))
        if isinstance(client, Ignored):
            return f"no answer: {client.reason}"
        return f"must name\n  siaddr   {self._server}\n  file     {self._plan(client).bootfile}"

    def _plan(self, client: Client) -> BootPlan:
        return self._room.plan(client, self._server)

    def _redact(self, text: str) -> str:
        session = self._room.seats.of(self._mac).session
        if not session:
            return text
        token = self._room.keys.swap_token(session)
        return text.replace(session, "<session>").replace(token, "<token>")


def _text(content: object) -> str:
    return content.decode() if isinstance(content, bytes) else ""


def _describe(reply: Reply) -> str:
    packet = dhcp.parse(dhcp.serialize(reply.packet))
    lines = [f"{reply.answer.name} to {reply.address} port {reply.port}"]
    for name in ("yiaddr", "siaddr", "ciaddr", "giaddr"):
        value = getattr(packet, name)
        if value != dhcp.ANY:
            lines.append(f"  {name:<8} {value}")
    lines += [
        f"  {name:<8} {value.decode('ascii', 'replace')}"
        for name, value in (("sname", packet.sname), ("file", packet.file))
        if value
    ]
    lines += [f"  option {code:<3} {_value(code, value)}" for code, value in packet.options.items()]
    return "\n".join(lines)


def _value(code: int, value: bytes) -> str:
    name = dhcp.OPTION_NAMES.get(code, "?").lower()
    if code in ADDRESS_OPTIONS:
        text = ", ".join(str(IPv4Address(value[at : at + 4])) for at in range(0, len(value), 4))
    elif code in TEXT_OPTIONS:
        text = value.rstrip(b"\0").decode("ascii", "replace")
    elif code == Option.DHCP_MESSAGE_TYPE:
        text = MessageType(value[0]).name
    elif code == Option.IP_ADDRESS_LEASE_TIME:
        text = f"{int.from_bytes(value, 'big')} s"
    else:
        text = value.hex(" ")
    return f"{name} {text}"
