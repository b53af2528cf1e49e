"""A seat's SSH host key, derived from the server's secret and the seat's MAC address. Pure.

So the key of a seat stays the same across its boots and the server's restarts, and on each server
with the same secret, without a file for each seat that could be lost or read. A reader of the
secret could make the keys; it could as well forge sessions and fetch them. A new secret gives new
keys.

Ed25519: RFC 8032 section 5.1, whose names P, D, G are used here. Derivation: HKDF, RFC 5869. Files:
PROTOCOL.key of OpenSSH. The standard library has no Ed25519. This is not a signature: one
multiplication for each boot, whose time only the seat itself could measure.
"""

import base64
import hashlib
import hmac
import struct
from dataclasses import dataclass, field

TYPE = b"ssh-ed25519"
LABEL = b"netboot ssh host key "
MAGIC = b"openssh-key-v1\0"
BLOCK_BYTES = 8  # of the cipher "none"
LINE_CHARACTERS = 70

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
G_Y = 4 * pow(5, -1, P) % P
G_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202

Point = tuple[int, int, int, int]  # X, Y, Z, T: x = X/Z, y = Y/Z, x*y = T/Z
NEUTRAL: Point = (0, 1, 1, 0)
G: Point = (G_X, G_Y, 1, G_X * G_Y % P)


@dataclass(frozen=True, slots=True)
class HostKey:
    """The files of one key, as ``sshd`` reads them. ``repr`` does not show the private one."""

    private: str = field(repr=False)
    public: str


def host_key(secret: bytes, mac: str) -> HostKey:
    """Return the key of the seat ``mac`` (``aa:bb:cc:dd:ee:ff``) on servers with ``secret``."""
    seed = derived(secret, LABEL + mac.encode())
    return files(seed, f"seat-{mac.replace(':', '')}")


def derived(secret: bytes, label: bytes) -> bytes:
    """Return 32 bytes for one purpose: HKDF with SHA-256 and no salt."""
    extracted = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(extracted, label + b"\1", "sha256")


def public_key(seed: bytes) -> bytes:
    """Return the public key of the private key ``seed``; both have 32 bytes."""
    digest = bytearray(hashlib.sha512(seed).digest()[:32])
    digest[0] &= 0xF8
    digest[31] = digest[31] & 0x7F | 0x40
    x, y, z, _ = _times(int.from_bytes(digest, "little"), G)
    inverse = pow(z, -1, P)
    return (y * inverse % P | (x * inverse % P & 1) << 255).to_bytes(32, "little")


def files(seed: bytes, comment: str) -> HostKey:
    """Return the key with the private key ``seed`` as OpenSSH's files."""
    public = public_key(seed)
    blob = _string(TYPE) + _string(public)
    # Equal numbers show that a key was decrypted; they need not be random without a cipher.
    check = 2 * hashlib.sha256(blob).digest()[:4]
    inner = check + blob + _string(seed + public) + _string(comment.encode())
    inner += bytes(range(1, -len(inner) % BLOCK_BYTES + 1))
    kinds = (
        _string(b"none") + _string(b"none") + _string(b"")
    )  # cipher, key derivation, its options
    whole = MAGIC + kinds + struct.pack(">I", 1) + _string(blob) + _string(inner)
    text = base64.b64encode(whole).decode()
    lines = [text[at : at + LINE_CHARACTERS] for at in range(0, len(text), LINE_CHARACTERS)]
    begin, end = (f"-----{word} OPENSSH PRIVATE KEY-----" for word in ("BEGIN", "END"))
    private = "\n".join([begin, *lines, end, ""])
    return HostKey(private, f"{TYPE.decode()} {base64.b64encode(blob).decode()} {comment}\n")


def _string(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def _times(number: int, point: Point) -> Point:
    result = NEUTRAL
    while number:
        if number & 1:
            result = _sum(result, point)
        point = _sum(point, point)
        number >>= 1
    return result


def _sum(one: Point, other: Point) -> Point:
    """Return the sum of two points (RFC 8032 section 5.1.4)."""
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = other
    a, b = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    c, d = 2 * t1 * t2 * D % P, 2 * z1 * z2 % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P
