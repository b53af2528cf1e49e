"""The client's half of NBD: a connection as a booting PC opens it."""

import asyncio
import secrets
import struct

from netboot.errors import AnswerError, ProtocolError
from netboot.pages.nbd import wire

SECONDS = 4.0  # enough for a server under load; an idle one answers in milliseconds


class PageClient:
    """One NBD connection with simple replies, as Linux uses it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def attach(cls, server: str, port: int, export: str) -> "PageClient":
        """Connect to ``export`` (``NAME@TOKEN``). Raises AnswerError."""
        try:
            async with asyncio.timeout(SECONDS):
                client = cls(*await asyncio.open_connection(server, port))
        except OSError as error:  # a timeout is one
            reason = error.strerror or "no connection"
            raise AnswerError(f"page server {server} port {port}: {reason}") from None
        try:
            await client._attach(export)
        except BaseException:
            client.close()
            raise
        return client

    async def _attach(self, export: str) -> None:
        magics = wire.GREETING.unpack(await self._receive(wire.GREETING.size))[:2]
        if magics != (wire.GREETING_MAGIC, wire.OPTION_MAGIC):
            raise AnswerError("page server: no NBD greeting")
        flags = wire.HandshakeFlag.FIXED_NEWSTYLE | wire.HandshakeFlag.NO_ZEROES
        name = export.encode()
        data = struct.pack(">I", len(name)) + name + struct.pack(">H", 0)
        header = wire.OptionHeader(wire.Option.GO, len(data)).serialize()
        self._writer.write(wire.CLIENT_FLAGS.pack(flags) + header + data)
        while True:
            reply = wire.OptionReply.parse(await self._receive(wire.OPTION_REPLY.size))
            message = await self._receive(reply.length)
            if reply.type == wire.Reply.ACK:
                return
            if reply.type != wire.Reply.INFO:
                raise AnswerError(f"page server: refused: {message.decode('utf-8', 'replace')}")

    async def write(self, offset: int, data: bytes) -> None:
        """Write ``data``. Raises AnswerError."""
        await self._request(wire.Command.WRITE, offset, len(data), data)

    async def read(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes. Raises AnswerError."""
        await self._request(wire.Command.READ, offset, length)
        return await self._receive(length)

    def close(self) -> None:
        """Close the connection."""
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
