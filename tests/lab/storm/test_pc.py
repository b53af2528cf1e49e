"""One PC of a storm: how long it waits for a server that is silent."""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address
from typing import cast

import pytest

from netboot.boot.arch import BY_NAME
from netboot.errors import AnswerError
from netboot.lab.storm import pc
from netboot.serve.dhcp.client import Asking
from netboot.serve.dhcp.packet import MessageType, Packet
from netboot.serve.dhcp.question import Asker
from netboot.serve.tftp.client import fetch

SERVER = IPv4Address("127.0.0.2")
TRIES = 5


class Offering:
    """DHCP that works: a boot file, and no address of ours."""

    async def ask(
        self,
        question: Packet,
        server: IPv4Address,
        kinds: Sequence[MessageType],
        waits: Sequence[float],
    ) -> Packet:
        return replace(question, file=b"undionly.kpxe")


def test_a_silent_tftp_server_is_asked_as_long_as_a_pc_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert sum(pc.TFTP_WAITS) == 31 and len(pc.TFTP_WAITS) == TRIES
    monkeypatch.setattr(pc, "TFTP_WAITS", (0.01,) * TRIES)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((str(SERVER), 0))
        monkeypatch.setattr(pc, "fetch", partial(fetch, port=silent.getsockname()[1]))
        asker = Asker("52:54:00:00:00:01", BY_NAME["bios"])
        played = pc.Pc(asker, cast(Asking, Offering()), SERVER, SERVER)
        with pytest.raises(AnswerError, match=r"^TFTP 127.0.0.2: no answer in 0\.05 s$"):
            asyncio.run(played.boot())
        silent.setblocking(False)
        assert len({silent.recv(100) for _ in range(TRIES)}) == 1
        with pytest.raises(BlockingIOError):
            silent.recv(100)
    assert played.outcome.stage == "loader"
