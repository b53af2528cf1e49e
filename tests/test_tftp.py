"""The TFTP server against tftpy's client, against bytes made by hand, and against scapy's layer."""

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import tftpy
from scapy.layers.tftp import TFTP, TFTP_ERROR, TFTP_OACK, TFTP_RRQ, TFTP_WRQ
from scapy.layers.tftp import TFTP_Option as Option
from scapy.layers.tftp import TFTP_Options as Options

from netboot.tftp import TftpServer, Transfer

LOCALHOST = IPv4Address("127.0.0.1")
FILES = {"loader.efi": bytes(range(256)) * 700, "empty": b"", "dir/boot.ipxe": b"#!ipxe\n"}


class Rig:
    def __init__(self) -> None:
        self.transfers: list[Transfer] = []
        self.server = TftpServer(self.read, self.transfers.append, port=0)

    def read(self, name: str, server: IPv4Address) -> bytes | None:
        assert server == LOCALHOST
        return FILES.get(name)


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    rig.server.start([LOCALHOST])
    yield rig
    rig.server.stop()


def ask(rig: Rig, request: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(3)
        peer.sendto(request, (str(LOCALHOST), rig.server.port))
        answer, sender = peer.recvfrom(70_000)
        assert sender[0] == str(LOCALHOST)
        assert sender[1] != rig.server.port, "a transfer has a port (TID) of its own"
        if TFTP(answer).op != 5:
            peer.sendto(bytes(TFTP(op=5) / TFTP_ERROR(errorcode=8)), sender)
        return answer


def rrq(name: str, **options: int) -> bytes:
    asked = [Option(oname=key, value=str(value)) for key, value in options.items()]
    return bytes(TFTP() / TFTP_RRQ(filename=name, mode="octet") / Options(options=asked))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("blksize", [512, 1468])
def test_tftpys_client_reads_every_file(rig: Rig, tmp_path: Path, name: str, blksize: int) -> None:
    client = tftpy.TftpClient(str(LOCALHOST), rig.server.port, {"blksize": blksize})
    client.download(name, str(tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == FILES[name]


@pytest.mark.parametrize("name", ["\\dir\\boot.ipxe", "/dir/boot.ipxe"])
def test_dos_separators_and_leading_slash_are_understood(rig: Rig, name: str) -> None:
    assert TFTP(ask(rig, rrq(name))).op == 3


def test_blksize_is_clamped_to_the_mtu(rig: Rig) -> None:
    answer = TFTP(ask(rig, rrq("loader.efi", blksize=65464)))
    options = {bytes(o.oname): bytes(o.value) for o in answer[TFTP_OACK].payload.options}
    assert options[b"blksize"] == b"1468"


def test_size_probe_of_uefi_is_no_failure(rig: Rig) -> None:
    answer = TFTP(ask(rig, rrq("loader.efi", tsize=0)))
    options = {bytes(o.oname): bytes(o.value) for o in answer[TFTP_OACK].payload.options}
    assert options[b"tsize"] == str(len(FILES["loader.efi"])).encode()
    rig.server.stop()
    assert [transfer.outcome for transfer in rig.transfers] == ["probe"]


@pytest.mark.parametrize("name", ["nothing", "../../etc/passwd", "/etc/passwd", "dir/../../x"])
def test_names_not_served_are_refused(rig: Rig, name: str) -> None:
    assert TFTP(ask(rig, rrq(name))).op == 5


def test_uploads_are_refused(rig: Rig) -> None:
    request = bytes(TFTP() / TFTP_WRQ(filename="loader.efi", mode="octet"))
    assert TFTP(ask(rig, request)).op == 5


@pytest.mark.parametrize(
    "hostile",
    [b"", b"\0", b"\0\1", b"\0\1\xff\xfe\0octet\0", b"\0\1a\0octet\0blksize\0many\0", b"\0\x09zz"],
)
def test_a_hostile_packet_stops_nothing(rig: Rig, hostile: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.sendto(hostile, (str(LOCALHOST), rig.server.port))
    assert TFTP(ask(rig, rrq("loader.efi"))).op == 3
