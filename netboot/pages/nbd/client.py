"""The client's half of NBD: a connection as a booting PC opens it."""

import asyncio
import contextlib
import re
import secrets
import struct
import time

from netboot.errors import AnswerError, ProtocolError
from netboot.pages.nbd import wire

# As our agent. An idle server answers in milliseconds. But a new boot of a seat waits for 4 s after the
# last connection of the old one has ended, or for a probe of 5 s (pages/rivals.py).
SECONDS = 10.0
_KEY = re.compile(r"key ([0-9a-f]{32})$")  # the end of a description (handshake.py)


class RefusedError(AnswerError):
    """The server refused the export."""


class PageClient:
    """One NBD connection with simple replies, as Linux uses it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._attached = False

    @classmethod
    async def attach(cls, server: str, port: int, export: str) -> "PageClient":
        """Connect to ``export`` (``NAME@TOKEN``). Raises AnswerError."""
        client = await cls._dial(server, port)
        try:
            await client._ask(wire.Option.GO, export)
        except BaseException:
            client.close()
            raise
        return client

    @classmethod
    async def _dial(cls, server: str, port: int, source: str = "") -> "PageClient":
        ours = (source, 0) if source else None
        try:
            async with asyncio.timeout(SECONDS):
                client = cls(*await asyncio.open_connection(server, port, local_addr=ours))
        except OSError as error:  # a timeout is one
            reason = error.strerror or "no connection"
            raise AnswerError(f"page server {server} port {port}: {reason}") from None
        try:
            await client._greet()
        except BaseException:
            client.close()
            raise
        return client

    async def _greet(self) -> None:
        magics = wire.GREETING.unpack(await self._receive(wire.GREETING.size))[:2]
        if magics != (wire.GREETING_MAGIC, wire.OPTION_MAGIC):
            raise AnswerError("page server: no NBD greeting")
        flags = wire.HandshakeFlag.FIXED_NEWSTYLE | wire.HandshakeFlag.NO_ZEROES
        self._writer.write(wire.CLIENT_FLAGS.pack(flags))

    async def _ask(self, option: wire.Option, export: str) -> str:
        """Send INFO or GO; return the export's description, if the server sends one."""
        name, description = export.encode(), ""
        data = struct.pack(">I", len(name)) + name + struct.pack(">HH", 1, wire.Info.DESCRIPTION)
        self._writer.write(wire.OptionHeader(option, len(data)).serialize() + data)
        while True:
            reply = wire.OptionReply.parse(await self._receive(wire.OPTION_REPLY.size))
            message = await self._receive(reply.length)
            if reply.type == wire.Reply.ACK:
                self._attached = option == wire.Option.GO
                return description
            if reply.type != wire.Reply.INFO:
                raise RefusedError(f"page server: refused: {message.decode('utf-8', 'replace')}")
            if message[:2] == struct.pack(">H", wire.Info.DESCRIPTION):
                description = message[2:].decode("utf-8", "replace")

    async def write(self, offset: int, data: bytes) -> None:
        """Write ``data``. Raises AnswerError."""
        await self._request(wire.Command.WRITE, offset, len(data), data)

    async def read(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes. Raises AnswerError."""
        await self._request(wire.Command.READ, offset, length)
        return await self._receive(length)

    async def ended(self) -> None:
        """Wait until the server has closed the connection, which has no request under way."""
        with contextlib.suppress(OSError):
            await self._reader.read(1)

    def close(self) -> None:
        """Close the connection. If it is attached, tell the server: an orderly end."""
        if self._attached:
            self._writer.write(wire.Request(0, wire.Command.DISC, 0, 0, 0).serialize())
        self._writer.close()

    async def _request(
        self, command: wire.Command, offset: int, length: int, data: bytes = b""
    ) -> None:
        cookie = secrets.randbits(64)
        self._writer.write(wire.Request(0, command, cookie, offset, length).serialize() + data)
        reply = wire.SimpleReply.parse(await self._receive(wire.SIMPLE_REPLY.size))
        if (reply.cookie, reply.error) != (cookie, wire.Error.NONE):
            raise AnswerError(f"page server: {command.name} failed with error {reply.error}")

    async def _receive(self, length: int) -> bytes:
        try:
            async with asyncio.timeout(SECONDS):
                return await self._reader.readexactly(length)
        except TimeoutError:
            raise AnswerError(f"page server: no answer in {SECONDS:g} s") from None
        except asyncio.IncompleteReadError:
            raise AnswerError("page server: connection closed early") from None
        except (OSError, ProtocolError) as error:
            raise AnswerError(f"page server: {error}") from None


class SwapEntry:
    """The way into a leased export, as the swap agent goes it (initramfs/agent/handshake.c).

    The first connection asks for the key with the ``token``, and attaches with the key. The others
    use the key at once. ``source`` is our address, by default the one that leads to the server.
    """

    def __init__(self, server: str, port: int, export: str, token: str, source: str = "") -> None:
        self._place = server, port, source
        self._export = export
        self._token = token
        self._key = ""
        self._proven = False
        self.begin_set()

    @property
    def secret(self) -> str:
        """The key, or the token while there is no key."""
        return self._key or self._token

    def begin_set(self, number: int | None = None) -> None:
        """Begin a set, whose connections end all of earlier ones. Without a number, by the clock."""
        self._set = time.monotonic_ns() // 1_000_000 if number is None else number

    def _name(self, secret: str) -> str:
        return f"{self._export}@{secret}.{self._set:x}"

    async def connect(self) -> PageClient:
        """Open a connection. After an AnswerError it may be tried again."""
        client = await PageClient._dial(*self._place)
        try:
            if not self._proven:
                await self._learn_key(client)
            await client._ask(wire.Option.GO, self._name(self.secret))
        except BaseException:
            client.close()
            raise
        self._proven = bool(self._key)
        return client

    async def _learn_key(self, client: PageClient) -> None:
        try:
            told = await client._ask(wire.Option.INFO, self._name(self._token))
        except RefusedError:
            if not self._key:
                raise
            return  # the server took the key, and its answer was lost
        found = _KEY.search(told)
        self._key = found[1] if found else ""
