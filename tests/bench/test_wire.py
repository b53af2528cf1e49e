"""Requests counted from captures, which scapy makes: it shares no line with the counter."""

from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet
from scapy.utils import wrpcap

from bench import wire
from tests.support import scapy_nbd

PC, SERVER = "10.77.0.50", "10.77.0.1"


def option(name: str, export: str) -> bytes:
    data = len(export).to_bytes(4) + export.encode() + bytes(2)
    number = {"INFO": 6, "GO": 7}[name]
    return b"IHAVEOPT" + number.to_bytes(4) + len(data).to_bytes(4) + data


def request(kind: int, offset: int, length: int) -> bytes:
    return written(offset, b"\x25\x60\x95\x13" * (length // 4), kind)


def written(offset: int, data: bytes, kind: int = 1) -> bytes:
    header = bytes(scapy_nbd.Request(type=kind, offset=offset, length=len(data)))
    return header + (data if kind == wire.WRITE else b"")


def frames(port: int, data: bytes, to: int = wire.PAGES_PORT, cut: int = 1000) -> list[Packet]:
    """Return a connection's frames, of ``cut`` bytes each, near the end of sequence numbers."""
    sequence = 2**32 - 20
    opened = _frame(port, to, sequence - 1, "S", b"")
    cuts = range(0, len(data), cut)
    return [opened] + [
        _frame(port, to, (sequence + at) % 2**32, "PA", data[at : at + cut]) for at in cuts
    ]


def _frame(port: int, to: int, sequence: int, flags: str, data: bytes) -> Packet:
    segment = TCP(sport=port, dport=to, seq=sequence, flags=flags) / data
    return Ether() / IP(src=PC, dst=SERVER) / segment


def image_stream(requests: bytes) -> bytes:
    asked = option("INFO", "image-0123@secret") + option("GO", "image-0123@secret")
    return bytes(4) + asked + requests


def swap_stream(requests: bytes) -> bytes:
    return bytes(4) + option("GO", "seat-525400770001@secret.1") + requests


def traffic_of(tmp_path: Path, *packets: Packet) -> wire.Traffic:
    path = tmp_path / "pc1.pcap"
    wrpcap(str(path), list(packets))
    return wire.read(path, "screen:shown")


@pytest.mark.parametrize("cut", [1, 7, 28, 60000])
def test_requests_are_counted_however_they_are_cut(tmp_path: Path, cut: int) -> None:
    image = image_stream(request(0, 0, 8192) + request(0, 4096, 4096) + request(0, 65536, 32768))
    found = traffic_of(tmp_path, *frames(1000, image, cut=cut))
    assert (found.image.requests, found.image.bytes, found.image.again) == (3, 45056, 4096)
    assert not found.swapped_out.requests and not found.ended


def test_swap_is_told_from_the_image_and_out_from_in(tmp_path: Path) -> None:
    swap = swap_stream(request(1, 0, 4096) + request(0, 0, 4096) + request(4, 0, 4096))
    image = image_stream(request(0, 0, 1024))
    # Two connections at once.
    mixed = [each for pair in zip(frames(1, swap), frames(2, image), strict=False) for each in pair]
    found = traffic_of(tmp_path, *mixed, *frames(1, swap)[2:])
    assert (found.swapped_out.bytes, found.swapped_in.requests) == (4096, 1)
    assert found.image.bytes == 1024


def test_pages_of_one_value_and_those_of_another_pc_are_told(tmp_path: Path) -> None:
    zero, sevens, text = bytes(4096), b"\7" * 4096, bytes(range(256)) * 16
    other = b"x" + text[1:]
    first = traffic_of(
        tmp_path, *frames(1, swap_stream(written(0, zero + text) + written(8192, sevens + text)))
    )
    assert (first.filled, first.swapped_out.bytes, sorted(first.pages.values())) == (
        2,
        16384,
        [1, 1, 2],
    )
    second = traffic_of(
        tmp_path, *frames(1, swap_stream(written(0, text + other) + request(0, 0, 4096)))
    )
    assert (second.filled, second.pages.total()) == (0, 2)
    assert wire.on_others(first, [second]) == 2 and wire.on_others(second, [first]) == 1
    assert wire.on_others(first, []) == 0


def test_a_retransmission_is_not_counted_again(tmp_path: Path) -> None:
    made = frames(1000, image_stream(request(0, 0, 4096) * 3), cut=90)
    found = traffic_of(tmp_path, *made[:3], made[1], made[2], *made[3:])
    assert found.image.requests == 3


def test_a_missing_frame_is_no_figure(tmp_path: Path) -> None:
    made = frames(1000, image_stream(request(0, 0, 4096) * 9), cut=90)
    with pytest.raises(ValueError, match="90 bytes are missing"):
        traffic_of(tmp_path, *made[:3], *made[4:])


def test_a_stream_of_something_else_is_no_figure(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no NBD request in the stream of 'image-0123'"):
        traffic_of(tmp_path, *frames(1000, image_stream(b"GET / HTTP/1.0\r\n\r\n" * 9)))


def test_the_count_ends_with_the_beacon(tmp_path: Path) -> None:
    image = frames(1000, image_stream(request(0, 0, 4096) * 40), cut=300)
    said = "POST /beacon/0123/screen:{}?uptime=1&sent=2 HTTP/1.0\r\n\r\nscreen:shown?"
    early, beacon = (
        frames(n, said.format(w).encode(), 8080) for n, w in ((7, "start"), (8, "shown"))
    )
    found = traffic_of(tmp_path, *image[:2], *early, *image[2:4], *beacon, *image[4:])
    assert found.ended
    assert 10 < found.image.requests < 40


def test_other_frames_do_not_matter(tmp_path: Path) -> None:
    other = [Ether() / IP(src=PC, dst=SERVER) / UDP(dport=wire.PAGES_PORT) / b"x", Ether() / b"arp"]
    assert traffic_of(tmp_path, *other) == wire.Traffic()
    with pytest.raises(ValueError, match="no capture"):
        (tmp_path / "x").write_bytes(b"not one")
        wire.read(tmp_path / "x", "screen:shown")
