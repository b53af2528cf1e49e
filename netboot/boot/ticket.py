"""Tickets: the part of a seat's URLs that others cannot guess, and that names the seat. Pure.

A ticket is the seat's MAC and an HMAC of it, so the server needs no memory of what it gave out:
a PC that is half way through its boot when the server restarts goes on.
"""

import hmac

SECRET_BYTES = 32
TAG_BYTES = 16  # 128 bits


def issue(secret: bytes, mac: str) -> str:
    """The ticket of ``mac`` (``aa:bb:cc:dd:ee:ff``): 44 characters, hex digits only."""
    digits = mac.replace(":", "")
    return digits + _tag(secret, digits)


def seat_of(secret: bytes, ticket: str) -> str | None:
    """The MAC address that ``ticket`` was issued for, or None if it is not one of ours."""
    digits = ticket[:12]
    if not hmac.compare_digest(_tag(secret, digits).encode(), ticket[12:].encode()):
        return None
    return ":".join(digits[index : index + 2] for index in range(0, 12, 2))


def order_key(secret: bytes) -> str:
    """What whoever gives seats orders has to know: only who can read the secret does."""
    return _tag(secret, "orders")


def _tag(secret: bytes, digits: str) -> str:
    return hmac.digest(secret, digits.encode(), "sha256")[:TAG_BYTES].hex()
