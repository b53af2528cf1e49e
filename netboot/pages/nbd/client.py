"""One NBD connection as a PC opens it on its way to userland."""

import asyncio
import secrets
import struct

from netboot.errors import AnswerError, ProtocolError
from netboot.pages.nbd import wire

SECONDS = 4.0  # a server under load; a healthy one answers in milliseconds


class PageClient:
    """One NBD connection, as Linux speaks it: simple replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def attach(cls, server: str, port: int, export: str) -> "PageClient":
        """Connects to ``export`` (``NAME@TOKEN``). Raises AnswerError."""
        try:
            async with asyncio.timeout(SECONDS):
                client = cls(*await asyncio.open_connection(server, port))
        except OSError as error:  # a timeout is one
            reason = error.strerror or "no connection"
            raise AnswerError(f"pages {server} port {port}: {reason}") from None
        try:
            await client._attach(export)
        except BaseException:
            client.close()
            raise
        return client

    async def _attach(self, export: str) -> None:
        magics = wire.GREETING.unpack(await self._receive(wire.GREETING.size))[:2]
        if magics != (wire.GREETING_MAGIC, wire.OPTION_MAGIC):
            raise AnswerError("pages: the server does not speak NBD")
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
                raise AnswerError(f"pages: refused: {message.decode('utf-8', 'replace')}")

    async def write(self, offset: int, data: bytes) -> None:
        """Raises AnswerError."""
        await self._request(wire.Command.WRITE, offset, len(data), data)

    async def read(self, offset: int, length: int) -> bytes:
        """Raises AnswerError."""
        await self._request(wire.Command.READ, offset, length)
        return await self._receive(length)

    def close(self) -> None:
        """Hangs up."""
        self._writer.close()

    async def _request(
        self, command: wire.Command, offset: int, length: int, data: bytes = b""
    ) -> None:
        cookie = secrets.randbits(64)
        self._writer.write(wire.Request(0, command, cookie, offset, length).serialize() + data)
        reply = wire.SimpleReply.parse(await self._receive(wire.SIMPLE_REPLY.size))
        if (reply.cookie, reply.error) != (cookie, wire.Error.NONE):
            raise AnswerError(f"pages: {command.name} failed with error {reply.error}")

    async def _receive(self, length: int) -> bytes:
        try:
            async with asyncio.timeout(SECONDS):
                return await self._reader.readexactly(length)
        except TimeoutError:
            raise AnswerError(f"pages: no answer in {SECONDS:g} s") from None
        except asyncio.IncompleteReadError:
            raise AnswerError("pages: the server closed the connection") from None
        except (OSError, ProtocolError) as error:
            raise AnswerError(f"pages: {error}") from None
