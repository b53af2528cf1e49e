"""One PC of a storm: asks what a real one asks, in that order, each after the answer before."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from urllib.parse import urlsplit

from netboot.boot.arch import Firmware
from netboot.boot.ipxe import Boot, Chain, read
from netboot.errors import AnswerError, NetbootError
from netboot.lab.storm.report import Outcome
from netboot.pages.nbd.backing import PAGE_BYTES
from netboot.pages.nbd.client import PageClient
from netboot.pages.nbd.export import Refused
from netboot.serve.dhcp.client import Asking, ask_boot_server
from netboot.serve.dhcp.packet import ANY, MessageType, Option, Packet
from netboot.serve.dhcp.question import Asker
from netboot.serve.http.client import http_download, http_read
from netboot.serve.leases import IN_USE, Granted, parse, serialize
from netboot.serve.tftp.client import fetch

# PXE 2.1 section 2.2.5 (table 2-2): a question that is lost costs a PC that long.
DHCP_WAITS = (4.0, 8.0, 16.0, 32.0)
TFTP_WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)
# A page server has 128 connections for one address, ours: who is refused comes again, as a PC does.
ATTACH_SECONDS, ATTACH_PAUSE = 30.0, 0.5
# What each asks TFTP for: blksize, windowsize. Boot ROMs (PXE 2.1), EDK2 (MdeModulePkg), iPXE.
TERMS = {Firmware.BIOS: (1456, 1), Firmware.UEFI: (1468, 4)}
IPXE_TERMS = (1432, 1)
# iPXE's HTTP waits as long as TCP does; a person switches the PC off before.
DOWNLOAD_PATIENCE = 30.0
MAX_WAITS = 100  # scripts that have it wait, one after the other
RAM_BYTES = 256 << 20
PAGE = bytes(PAGE_BYTES)
END_TRIES, END_PAUSE = 10, 0.2  # seconds; a page server hears a moment later that nobody is there


class Pc:
    """A PC that is switched on with ``boot`` and gives back what it was given with ``end``.

    ``asking`` is shared by all; ``here`` is this machine's address on their network. It keeps the
    connections to its swap until its end if it may ``hold`` them.
    """

    def __init__(
        self,
        asker: Asker,
        asking: Asking,
        server: IPv4Address,
        here: IPv4Address,
        *,
        hold: bool = True,
    ) -> None:
        self._firmware = asker
        self._asking = asking
        self._server = server
        self._here = here
        self._hold = hold
        self._address = ANY
        self._boot_file = ""
        self._lease_url = ""
        self._connections: list[PageClient] = []
        self.outcome = Outcome(asker.mac)

    async def boot(self) -> None:
        """From power-on to swap. Raises AnswerError or ProtocolError; ``outcome`` says where."""
        with self._stage("dhcp"):
            offer = await self._lease(self._firmware)
        await self._boot_server(self._firmware, offer, "4011")
        with self._stage("loader"):
            await self._loader()
        ipxe = self._firmware.chained()
        with self._stage("ipxe dhcp"):
            offer = await self._lease(ipxe)
        await self._boot_server(ipxe, offer, "ipxe 4011")
        with self._stage("script"):
            first = read(await self._tftp(*IPXE_TERMS))
            if not isinstance(first, Chain):
                raise AnswerError("the first script leads nowhere")
            script = read(await self._http(first.url))
        if isinstance(script, Chain):
            with self._stage("wait"):
                script = await self._wait(script)
        with self._stage("images"):
            for url in script.files:
                size = await http_download(url, len, patience=DOWNLOAD_PATIENCE)
                self._received(size)
        if script.page_server() is not None:
            with self._stage("swap"):
                await self._attach(script)

    async def end(self) -> None:
        """Hangs up and gives its swap and its address back."""
        self._hang_up()
        if self._lease_url:
            with contextlib.suppress(NetbootError):
                for _ in range(END_TRIES):
                    answer = await http_read(self._lease_url, "DELETE")
                    ended = parse(answer.decode("utf-8", "replace"))
                    if not (isinstance(ended, Refused) and IN_USE in ended.reason):
                        break
                    await asyncio.sleep(END_PAUSE)
        if self._address != ANY:
            xid = secrets.randbits(32)
            self._asking.tell(self._firmware.release(xid, self._address, self._server))

    async def _lease(self, asker: Asker) -> Packet:
        """An address from a full server, from a proxy its offer alone: that of the LAN's own DHCP
        server is left, so that nobody's addresses are used up.
        """
        question = asker.discover(secrets.randbits(32))
        offer = await self._asking.ask(question, self._server, [MessageType.DHCPOFFER], DHCP_WAITS)
        if offer.yiaddr != ANY:
            kinds = [MessageType.DHCPACK, MessageType.DHCPNAK]
            answer = await self._asking.ask(asker.request(offer), self._server, kinds, DHCP_WAITS)
            if answer.message_type is MessageType.DHCPNAK:
                text = answer.options.get(Option.MESSAGE, b"").decode("ascii", "replace")
                raise AnswerError(f"NAK: {text}")
            self._address = answer.yiaddr
        self._boot_file = offer.file.decode("ascii", "replace")
        return offer

    async def _boot_server(self, asker: Asker, offer: Packet, stage: str) -> None:
        """UEFI asks a proxy on port 4011 where its file is."""
        if offer.yiaddr == ANY and asker.arch.firmware is Firmware.UEFI:
            with self._stage(stage):
                question = asker.boot_server_request(secrets.randbits(32), self._here)
                answer = await ask_boot_server(question, self._server, DHCP_WAITS)
                self._boot_file = answer.file.decode("ascii", "replace")

    async def _loader(self) -> None:
        if self._boot_file.startswith("http://"):
            size = await http_download(self._boot_file, len, patience=DOWNLOAD_PATIENCE)
            self._received(size)
        else:
            await self._tftp(*TERMS.get(self._firmware.arch.firmware, IPXE_TERMS))

    async def _tftp(self, blksize: int, windowsize: int) -> str:
        if not self._boot_file:
            raise AnswerError("an answer without a boot file")
        content = await fetch(
            self._server,
            self._boot_file,
            blksize=blksize,
            windowsize=windowsize,
            waits=TFTP_WAITS,
        )
        self._received(len(content))
        return content.decode("ascii", "replace")

    async def _http(self, url: str) -> str:
        content = await http_read(url, patience=DOWNLOAD_PATIENCE)
        self._received(len(content))
        return content.decode("ascii", "replace")

    async def _wait(self, script: Chain) -> Boot:
        """Until it is this PC's turn to download."""
        for _ in range(MAX_WAITS):
            await asyncio.sleep(script.wait)
            following = read(await self._http(script.url))
            if isinstance(following, Boot):
                return following
            script = following
        raise AnswerError(f"told to wait {MAX_WAITS} times")

    async def _attach(self, boot: Boot) -> None:
        """A lease, all connections, the first page written and read, as mkswap and swapon do."""
        pages = boot.page_server()
        assert pages is not None, "asked before"
        host, port, export = pages
        words, ticket = boot.arguments, boot.arguments.get("netboot.ticket", "")
        server = urlsplit(words.get("netboot.server", ""))
        # Of several servers each makes a token of its own when it is asked for a lease.
        token, fresh = (
            words.get("netboot.token", ""),
            "" if "netboot.token" in words else "&fresh=1",
        )
        lease = f"http://{host}:{server.port or 80}/lease/{ticket}"
        self._lease_url = f"{lease}?area=1"
        answer = await http_read(f"{lease}?ram={RAM_BYTES}{fresh}")
        granted = parse(answer.decode("utf-8", "replace"))
        if not isinstance(granted, Granted):
            raise AnswerError(f"no lease: {serialize(granted)}")
        name = f"{export}@{granted.token or token}.{time.monotonic_ns() // 1_000_000:x}"
        for _ in range(int(words.get("netboot.connections", "1"))):
            self._connections.append(await _connected(host, port, name))
        await self._connections[0].write(0, PAGE)
        await self._connections[-1].read(0, len(PAGE))
        if not self._hold:
            self._hang_up()
        # Else the server takes it that this boot went wrong, and sends all drivers the next time.
        await http_read(f"http://{server.netloc}/beacon/{ticket}/storm", "POST")

    def _hang_up(self) -> None:
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self.outcome.stage, begin = name, time.monotonic()
        yield
        self.outcome.seconds[name] = time.monotonic() - begin

    def _received(self, size: int) -> None:
        received, stage = self.outcome.received, self.outcome.stage
        received[stage] = received.get(stage, 0) + size


async def _connected(host: str, port: int, name: str) -> PageClient:
    end = time.monotonic() + ATTACH_SECONDS
    while True:
        try:
            return await PageClient.attach(host, port, name)
        except AnswerError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(ATTACH_PAUSE)
