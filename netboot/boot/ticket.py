"""Sessions, the keys of orders, and the names in a seat's URLs. Pure.

A *session* is one boot of a seat: MAC address, expiry, nonce, and an HMAC of all three. Only the
seat gets it, in its script. The token of the seat's swap follows from it. So the server needs no
memory of it: a PC in the middle of its boot continues after the server restarts, and on any other
server that has the same secret.

A *ticket*, the seat's MAC address and an HMAC of it, was in the URLs of 0.1.0. PCs that it booted
still have theirs. A ticket proves nothing: it opens something only for the address that the kernel
knows as that MAC address (netboot.serve.identity).
"""

import base64
import hmac
import re
from dataclasses import dataclass, field

SECRET_BYTES = 32
TAG_BYTES = 16  # 128 bits
DELETE = "delete"  # the order to delete the files that a seat keeps
OF_PASSWORD = "/boot/own/"  # the start of a path whose seat is told by the request's password
READ = "read"  # the order to tell what the server knows of its seats
ORDER_SECONDS = 60  # by which the clocks of two machines may differ
MAX_TIME_DIGITS = 12
NONCE_BYTES = (
    6  # to tell two boots of a seat from each other; it is not what keeps a session secret
)
# A PC that runs longer is still known by its address, as one that has a ticket only.
SESSION_SECONDS = 30 * 24 * 3600
MAC_DIGITS, EXPIRY_DIGITS = 12, 8
ROOM_DIGITS = 16
_SIGNED = MAC_DIGITS + EXPIRY_DIGITS + 2 * NONCE_BYTES
_MAC_ADDRESS = re.compile("[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_WHO = re.compile(
    f"({_MAC_ADDRESS.pattern}|[0-9a-f]{{{MAC_DIGITS + 2 * TAG_BYTES}}}"
    f"|[0-9a-f]{{{_SIGNED + 2 * TAG_BYTES}}}|)/"
)

_SECRET = re.compile("[0-9A-Fa-f]{32,}")
MAX_NAME_CHARACTERS = 80
MAX_PASSWORD_CHARACTERS = 200  # of a name and a session in base64


@dataclass(frozen=True, slots=True)
class Key:
    """A ticket or a session that is ours. ``session`` is empty for a ticket, and once it expired."""

    mac: str
    session: str = field(default="", repr=False)


def issue(secret: bytes, mac: str) -> str:
    """Return the ticket of ``mac`` (``aa:bb:cc:dd:ee:ff``): 44 characters, hex digits only."""
    digits = mac.replace(":", "")
    return digits + _tag(secret, digits)


def begin(secret: bytes, mac: str, nonce: bytes, now: float) -> str:
    """Return a session of ``mac``: 64 characters, hex digits only.

    ``nonce`` is ``NONCE_BYTES`` long; ``now`` is seconds since the epoch.
    """
    expires = (int(now) + SESSION_SECONDS) & 0xFFFFFFFF
    signed = f"{mac.replace(':', '')}{expires:0{EXPIRY_DIGITS}x}{nonce.hex()}"
    return signed + _tag(secret, f"session {signed}")


def read(secret: bytes, text: str, now: float) -> Key | None:
    """Return the ticket or the session ``text``; None if it is not one of ours."""
    if not text.isascii():
        return None
    if len(text) != _SIGNED + 2 * TAG_BYTES:
        mac = seat_of(secret, text)
        return None if mac is None else Key(mac)
    signed = text[:_SIGNED]
    if not hmac.compare_digest(_tag(secret, f"session {signed}").encode(), text[_SIGNED:].encode()):
        return None
    expires = int(signed[MAC_DIGITS : MAC_DIGITS + EXPIRY_DIGITS], 16)
    return Key(mac_of(signed), text if now < expires else "")


def seat_of(secret: bytes, ticket: str) -> str | None:
    """Return the MAC address that ``ticket`` was issued for; None if it is not one of ours."""
    digits = ticket[:MAC_DIGITS]
    if not hmac.compare_digest(_bytes(issue(secret, digits)), _bytes(ticket)):
        return None
    return mac_of(digits)


def is_mac(text: str) -> bool:
    """Return True if ``text`` is a MAC address as in our URLs, ``aa:bb:cc:dd:ee:ff``."""
    return _MAC_ADDRESS.fullmatch(text) is not None


def split(path: str) -> tuple[str, str]:
    """Return the seat that a path of a boot file names, and the file: ``WHO/FILE`` or ``FILE``.

    ``WHO`` is a session, a ticket, or a MAC address. It is empty if the path names no seat.
    """
    found = _WHO.match(path)
    return (found[1], path[found.end() :]) if found else ("", path)


def password(authorization: str) -> str:
    """Return the password of an HTTP header (RFC 7617), empty if there is none."""
    kind, _, encoded = authorization.partition(" ")
    if kind.lower() != "basic" or len(encoded) > MAX_PASSWORD_CHARACTERS:
        return ""
    try:
        return base64.b64decode(encoded, validate=True).decode("ascii").partition(":")[2]
    except ValueError:
        return ""


def redacted(text: str) -> str:
    """Return words of a stranger for a log: printable, short, and without what may be a secret."""
    short = _SECRET.sub("...", text)[:MAX_NAME_CHARACTERS]
    return "".join(each if each.isprintable() else "?" for each in short)


def swap_token(secret: bytes, session: str) -> str:
    """Return the token that opens the swap of the boot ``session``."""
    return _tag(secret, f"swap {session}")


def room_of(secret: bytes) -> str:
    """Return the name of the servers' room in a pool that they share: 16 hex digits, no secret."""
    return _tag(secret, "room")[:ROOM_DIGITS]


def swap_key(secret: bytes, generation: str) -> str:
    """Return the key of a lease that each server of the room knows: 32 hex digits."""
    return _tag(secret, f"swap key {generation}")


def order_key(secret: bytes, order: str, mac: str, when: int) -> str:
    """Return the key that authorises one order to one seat at the time ``when`` (epoch seconds)."""
    return f"{when}-{_tag(secret, f'order {order} {mac} {when}')}"


def order_refusal(secret: bytes, key: str, order: str, mac: str, now: float) -> str:
    """Return why ``key`` does not authorise an order now, or an empty text if it does.

    A listener on the wire can give the same order to the same seat again, for a minute.
    """
    when, separator, _ = key.partition("-")
    if not separator and len(key) == 2 * TAG_BYTES:
        return "old form of key: update the netboot that gives the order"
    if not (when.isascii() and when.isdigit() and len(when) < MAX_TIME_DIGITS):
        return "wrong key: an order needs this server's secret"
    if not hmac.compare_digest(order_key(secret, order, mac, int(when)).encode(), _bytes(key)):
        return "wrong key: an order needs this server's secret"
    if abs(now - int(when)) > ORDER_SECONDS:
        return f"the key is {now - int(when):.0f} s old by this clock; set the clocks of both"
    return ""


def panel_key(secret: bytes) -> str:
    """Return the key that opens the feed of a server and its orders: a panel's, for good."""
    return hmac.digest(secret, b"panel", "sha256").hex()


def is_panel_key(secret: bytes, text: str) -> bool:
    """Return True if ``text`` is the key of a panel."""
    return hmac.compare_digest(panel_key(secret).encode(), _bytes(text))


def _bytes(text: str) -> bytes:
    """Return the bytes of a text that a stranger sent; it may have halves of surrogate pairs."""
    return text.encode("utf-8", "surrogatepass")


def mac_of(digits: str) -> str:
    """Return the MAC address with these 12 digits."""
    return ":".join(digits[index : index + 2] for index in range(0, MAC_DIGITS, 2))


def _tag(secret: bytes, text: str) -> str:
    return hmac.digest(secret, _bytes(text), "sha256")[:TAG_BYTES].hex()
