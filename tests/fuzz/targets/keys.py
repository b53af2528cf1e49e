"""Tickets, sessions, keys of orders and names of exports: only ours open, and none is shown.

The first byte of an input selects the kind of key and how the text is decoded. With a bit set, the
rest changes a key of ours, so that inputs come near to it.
"""

from netboot.boot import ticket
from netboot.pages.nbd.name import WireName

SECRET = b"s" * ticket.SECRET_BYTES
MAC = "52:54:00:12:34:56"
NOW = 1_000_000_000
TICKET = ticket.issue(SECRET, MAC)
SESSION = ticket.begin(SECRET, MAC, b"nonce!", NOW)
ORDER = ticket.order_key(SECRET, "reboot", MAC, NOW)
OURS = (TICKET, SESSION, ORDER)


def one_input(data: bytes) -> None:
    """Run one input."""
    if not data:
        return
    choice, rest = data[0], data[1:]
    if choice & 4:
        rest = _changed(OURS[choice & 3] if choice & 3 < 3 else TICKET, rest)
    text = rest.decode("utf-8", "surrogateescape" if choice & 8 else "replace")
    if choice & 16:
        text = text.encode("utf-8", "surrogateescape").decode("latin-1")
    _read(text)
    _order(text)
    name = WireName.parse(text)
    assert text.startswith(name.export + ("@" if name.token else ""))
    assert name.set_number is None or 0 <= name.set_number < 1 << 64


def _changed(key: str, rest: bytes) -> bytes:
    """Return ``key`` with bytes exchanged: each pair of ``rest`` is a place and its new byte."""
    found = bytearray(key.encode())
    for at, letter in zip(rest[::2], rest[1::2], strict=False):
        found[at % len(found)] = letter
    return bytes(found)


def _read(text: str) -> None:
    key = ticket.read(SECRET, text, NOW)
    if key is None:
        assert text not in (TICKET, SESSION)
        return
    assert text not in repr(key)
    if key.session:
        assert text == SESSION and key.mac == MAC
    else:
        assert text == ticket.issue(SECRET, key.mac)


def _order(text: str) -> None:
    refusal = ticket.order_refusal(SECRET, text, "reboot", MAC, NOW)
    assert (refusal == "") == (text == ORDER)
    assert refusal.isprintable() and len(refusal) <= 100
    assert len(text) < 8 or text not in refusal
