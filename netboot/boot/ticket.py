"""Tickets: the secret part of a seat's URLs, which also identifies the seat. Pure.

A ticket is the seat's MAC address and an HMAC of it, so the server needs no memory of the tickets
it has issued. A PC in the middle of its boot continues after the server restarts.
"""

import hmac

SECRET_BYTES = 32
TAG_BYTES = 16  # 128 bits


def issue(secret: bytes, mac: str) -> str:
    """Return the ticket of ``mac`` (``aa:bb:cc:dd:ee:ff``): 44 characters, hex digits only."""
    digits = mac.replace(":", "")
    return digits + _tag(secret, digits)


def seat_of(secret: bytes, ticket: str) -> str | None:
    """Return the MAC address that ``ticket`` was issued for; None if it is not one of ours."""
    digits = ticket[:12]
    if not hmac.compare_digest(_tag(secret, digits).encode(), ticket[12:].encode()):
        return None
    return ":".join(digits[index : index + 2] for index in range(0, 12, 2))


def order_key(secret: bytes) -> str:
    """Return the key that authorises orders to seats; it follows from the secret."""
    return _tag(secret, "orders")


def _tag(secret: bytes, digits: str) -> str:
    return hmac.digest(secret, digits.encode(), "sha256")[:TAG_BYTES].hex()
