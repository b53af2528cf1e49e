"""One PC of a storm: it sends the requests of a real PC in their order, each after an answer."""

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
from netboot.lab.storm.sources import towards
from netboot.pages.nbd.backing import PAGE_BYTES
from netboot.pages.nbd.client import PageClient, SwapEntry
from netboot.pages.nbd.export import Refused
from netboot.serve.dhcp.client import Asking, ask_boot_server
from netboot.serve.dhcp.packet import ANY, MessageType, Option, Packet
from netboot.serve.dhcp.question import Asker
from netboot.serve.http.client import http_download, http_read
from netboot.serve.leases import IN_USE, Granted, parse, serialize
from netboot.serve.tftp.client import fetch

# PXE 2.1 section 2.2.5 (table 2-2): a lost question costs a PC these times.
DHCP_WAITS = (4.0, 8.0, 16.0, 32.0)
TFTP_WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)
# A page server allows 128 connections per address, and all may be from ours. Retry, as a PC does.
ATTACH_SECONDS, ATTACH_PAUSE = 30.0, 0.5
# Their TFTP options blksize and windowsize: boot ROMs (PXE 2.1), EDK2 (MdeModulePkg), iPXE.
TERMS = {Firmware.BIOS: (1456, 1), Firmware.UEFI: (1468, 4)}
IPXE_TERMS = (1432, 1)
# iPXE's HTTP waits as long as TCP does; a person would switch the PC off earlier.
DOWNLOAD_PATIENCE = 30.0
MAX_WAITS = 100  # scripts in a row that have the PC wait
RAM_BYTES = 256 << 20
PAGE = bytes(PAGE_BYTES)
END_TRIES, END_PAUSE = 10, 0.2  # seconds; a page server notices a closed connection a moment later
RELEASE_PAUSE = 0.005  # seconds; a RELEASE has no answer, so none may be lost in a full queue


class Pc:
    """A played PC. ``boot`` switches it on; ``end`` gives its address and swap back.

    All PCs share ``asking``. ``here`` is this machine's address on their network. ``source`` is the
    address from which this PC asks over TFTP, HTTP and NBD, empty for the one that leads to the
    server. If it may ``hold`` them, the PC keeps the connections to its swap until its end. ``files``
    are the loader and the first script of a PC that does not ask for them by DHCP.
    """

    def __init__(
        self,
        asker: Asker,
        asking: Asking,
        server: IPv4Address,
        here: IPv4Address,
        *,
        source: str = "",
        hold: bool = True,
        files: tuple[str, str] | None = None,
    ) -> None:
        self._files = files
        self._firmware = asker
        self._asking = asking
        self._server = server
        self._here = here
        self._source = source
        self._pages_source = source  # the pages may be on another server
        self._hold = hold
        self._address = ANY
        self._boot_file = ""
        self._lease_url = ""
        self._entry: SwapEntry | None = None
        self._connections: list[PageClient] = []
        self.outcome = Outcome(asker.mac)

    async def boot(self) -> None:
        """Boot from power-on to swap. Raises AnswerError, ProtocolError; see ``outcome``."""
        await self._ask(self._firmware, 0)
        with self._stage("loader"):
            await self._loader()
        await self._ask(self._firmware.chained(), 1)
        with self._stage("script"):
            first = self._read(await self._tftp(*IPXE_TERMS))
            if not isinstance(first, Chain):
                raise AnswerError("the first script names no boot script")
            script = self._read(await self._http(first.url))
        if isinstance(script, Chain):
            with self._stage("wait"):
                script = await self._wait(script)
        with self._stage("images"):
            for url in script.files:
                await self._download(url)
        if script.page_server() is not None:
            with self._stage("swap"):
                await self._attach(script)

    async def _ask(self, asker: Asker, number: int) -> None:
        """Learn the name of a boot file: by DHCP, or it is that ``number`` of ``files``."""
        if self._files is not None:
            self._boot_file = _of(asker.mac, self._files[number])
            return
        before = "ipxe " * number
        with self._stage(f"{before}dhcp"):
            offer = await self._lease(asker)
        await self._boot_server(asker, offer, f"{before}4011")

    async def end(self) -> None:
        """Close the connections and give swap and address back."""
        self._hang_up()
        if self._lease_url:
            with contextlib.suppress(NetbootError):
                for _ in range(END_TRIES):
                    answer = await http_read(self._lease_url, "DELETE", source=self._pages_source)
                    ended = parse(answer.decode("utf-8", "replace"))
                    if not (isinstance(ended, Refused) and IN_USE in ended.reason):
                        break
                    await asyncio.sleep(END_PAUSE)
        if self._address != ANY:
            xid = secrets.randbits(32)
            self._asking.tell(self._firmware.release(xid, self._address, self._server))
            await asyncio.sleep(RELEASE_PAUSE)

    async def _lease(self, asker: Asker) -> Packet:
        """Get an address from a server in full mode, and from a proxy its offer alone.

        No address of the LAN's own DHCP server is requested, so that they are not used up.
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
        self._boot_file = _named(offer, asker.mac)
        return offer

    async def _boot_server(self, asker: Asker, offer: Packet, stage: str) -> None:
        """Ask a proxy on port 4011 for the boot file, as UEFI does."""
        if offer.yiaddr == ANY and asker.arch.firmware is Firmware.UEFI:
            with self._stage(stage):
                question = asker.boot_server_request(secrets.randbits(32), self._here)
                answer = await ask_boot_server(question, self._server, DHCP_WAITS)
                self._boot_file = _named(answer, asker.mac)

    async def _loader(self) -> None:
        if self._boot_file.startswith("http://"):
            await self._download(self._boot_file)
        else:
            await self._tftp(*TERMS.get(self._firmware.arch.firmware, IPXE_TERMS))

    def _read(self, script: str) -> Boot | Chain:
        return read(script, self._firmware.mac)

    async def _tftp(self, blksize: int, windowsize: int) -> str:
        if not self._boot_file:
            raise AnswerError("the answer names no boot file")
        content = await fetch(
            self._server,
            self._boot_file,
            blksize=blksize,
            windowsize=windowsize,
            waits=TFTP_WAITS,
            source=self._source,
        )
        self._received(len(content))
        return content.decode("ascii", "replace")

    async def _download(self, url: str) -> None:
        size = await http_download(url, len, patience=DOWNLOAD_PATIENCE, source=self._source)
        self._received(size)

    async def _http(self, url: str) -> str:
        content = await http_read(url, patience=DOWNLOAD_PATIENCE, source=self._source)
        self._received(len(content))
        return content.decode("ascii", "replace")

    async def _wait(self, script: Chain) -> Boot:
        """Wait for this PC's turn to download; return the boot script."""
        for _ in range(MAX_WAITS):
            await asyncio.sleep(script.wait)
            following = self._read(await self._http(script.url))
            if isinstance(following, Boot):
                return following
            script = following
        raise AnswerError(f"no boot script after {MAX_WAITS} waits")

    async def _attach(self, boot: Boot) -> None:
        """Get a lease, open all connections, write and read a page, as mkswap and swapon do."""
        pages = boot.page_server()
        assert pages is not None, "asked before"
        host, port, export = pages
        words, ticket = boot.arguments, boot.arguments.get("netboot.ticket", "")
        server = urlsplit(words.get("netboot.server", ""))
        # If there are several servers, each makes a token with its lease.
        token, fresh = (
            words.get("netboot.token", ""),
            "" if "netboot.token" in words else "&fresh=1",
        )
        source = self._pages_source = towards(IPv4Address(host), self._source)
        lease = f"http://{host}:{server.port or 80}/lease/{ticket}"
        self._lease_url = f"{lease}?area=1"
        answer = await http_read(
            f"{lease}?ram={RAM_BYTES}{fresh}", patience=DOWNLOAD_PATIENCE, source=source
        )
        granted = parse(answer.decode("utf-8", "replace"))
        if not isinstance(granted, Granted):
            raise AnswerError(f"no lease: {serialize(granted)}")
        self._entry = SwapEntry(host, port, export, granted.token or token, source)
        await self._connect(int(words.get("netboot.connections", "1")))
        await self._connections[0].write(0, PAGE)
        await self._connections[-1].read(0, len(PAGE))
        if not self._hold or source != self._source:  # that server takes all PCs for one machine
            self._hang_up()
        # Otherwise the server assumes that this boot failed, and sends all drivers next time.
        # Of two boot servers, the one that is asked first.
        boot_server = server.netloc.split(",")[0].split(":")[0]
        beacon = f"http://{boot_server}:{server.port or 80}/beacon/{ticket}/storm"
        await http_read(beacon, "POST", DOWNLOAD_PATIENCE, self._source)

    async def _connect(self, count: int) -> None:
        """Open ``count`` connections to the swap, as one set. Raises AnswerError."""
        assert self._entry is not None, "no lease yet"
        self._entry.begin_set()
        for _ in range(count):
            self._connections.append(await _connected(self._entry))

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


def _named(answer: Packet, mac: str) -> str:
    """Return the boot file of an answer, with the played PC's name in it.

    The server knows real PCs by their addresses, but all played ones ask from ours.
    """
    return _of(mac, answer.file.decode("ascii", "replace"))


def _of(mac: str, file: str) -> str:
    """Return the path or URL of a boot file with a PC's name in it; empty if there is no file."""
    before, boot, name = file.rpartition("boot/")
    return f"{before}{boot or 'boot/'}{mac}/{name}" if file else ""


async def _connected(entry: SwapEntry) -> PageClient:
    end = time.monotonic() + ATTACH_SECONDS
    while True:
        try:
            return await entry.connect()
        except AnswerError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(ATTACH_PAUSE)
