"""The TFTP client of doctor and storm, against our server and against a silent one."""

import asyncio
import socket
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from netboot.errors import AnswerError
from netboot.serve.tftp.client import fetch
from netboot.serve.tftp.server import TftpServer

pytestmark = pytest.mark.system

SERVER = IPv4Address("127.0.0.2")
CONTENT = bytes(range(256)) * 700


def _serving(folder: Path, wanted: str, blksize: int = 512, windowsize: int = 1) -> bytes:
    (folder / "loader.efi").write_bytes(CONTENT)

    def read(name: str, server: IPv4Address, client: IPv4Address) -> Path | None:
        return folder / name if name == "loader.efi" else None

    async def run() -> bytes:
        server = TftpServer(
            read, lambda transfer: None, networks=[IPv4Network("127.0.0.0/8")], port=0
        )
        await server.start([SERVER])
        try:
            return await fetch(
                SERVER, wanted, blksize=blksize, windowsize=windowsize, port=server.port
            )
        finally:
            await server.stop()

    return asyncio.run(run())


@pytest.mark.parametrize(("blksize", "windowsize"), [(512, 1), (1456, 1), (1468, 4), (1468, 16)])
def test_a_file_comes_whole(tmp_path: Path, blksize: int, windowsize: int) -> None:
    assert _serving(tmp_path, "loader.efi", blksize, windowsize) == CONTENT


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AnswerError, match="TFTP error 1"):
        _serving(tmp_path, "nothing")


def test_a_server_that_is_silent_is_asked_again_and_given_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((str(SERVER), 0))
        asked = fetch(SERVER, "a", waits=(0.01, 0.01), port=silent.getsockname()[1])
        with pytest.raises(AnswerError, match=r"no answer in 0\.02 s"):
            asyncio.run(asked)
        assert silent.recv(100) == silent.recv(100)
