"""Hashes of passwords as `mkpasswd` makes them, checked by the C library's crypt(3)."""

import ctypes
import hmac
from functools import cache

LIBRARY = "libcrypt.so.1"  # an essential package of Debian has it; Python 3.13 has no module crypt
DATA_BYTES = 32768  # sizeof(struct crypt_data), crypt(3)
MAX_PASSWORD_BYTES = 128


def is_password(text: str, hashed: str) -> bool:
    """Return True if ``hashed`` is a hash of the password ``text``.

    It takes about 50 ms of CPU, and other threads run meanwhile. Raises OSError without the C library's
    crypt.
    """
    password = text.encode()
    if not password or len(password) > MAX_PASSWORD_BYTES or 0 in password:
        return False
    data = ctypes.create_string_buffer(DATA_BYTES)
    found: bytes | None = _library().crypt_r(password, hashed.encode(), data)
    # A hash that the C library does not know gives a text that begins with a star.
    is_hash = found is not None and not found.startswith(b"*")
    return is_hash and hmac.compare_digest(found or b"", hashed.encode())


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(LIBRARY)
    library.crypt_r.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p)
    library.crypt_r.restype = ctypes.c_char_p
    return library
