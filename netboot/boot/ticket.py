"""Tickets: the secret part of a seat's URLs, which also identifies the seat. Pure.

A ticket is the seat's MAC address and an HMAC of it, so the server needs no memory of the tickets
it has issued. A PC in the middle of its boot continues after the server restarts.
"""

import hmac

SECRET_BYTES = 32
TAG_BYTES = 16  # 128 bits
ORDER_SECONDS = 60  # by which the clocks of two machines may differ
MAX_TIME_DIGITS = 12


def issue(secret: bytes, mac: str) -> str:
    """Return the ticket of ``mac`` (``aa:bb:cc:dd:ee:ff``): 44 characters, hex digits only."""
    digits = mac.replace(":", "")
    return digits + _tag(secret, digits)


def seat_of(secret: bytes, ticket: str) -> str | None:
    """Return the MAC address that ``ticket`` was issued for; None if it is not one of ours."""
    digits = ticket[:12]
    if not hmac.compare_digest(_tag(secret, digits).encode(), _bytes(ticket[12:])):
        return None
    return ":".join(digits[index : index + 2] for index in range(0, 12, 2))


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


def _bytes(text: str) -> bytes:
    """Return the bytes of a text that a stranger sent; it may have halves of surrogate pairs."""
    return text.encode("utf-8", "surrogatepass")


def _tag(secret: bytes, text: str) -> str:
    return hmac.digest(secret, _bytes(text), "sha256")[:TAG_BYTES].hex()
