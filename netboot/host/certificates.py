"""The certificates that this machine trusts, which a library need not read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

# OpenSSL takes these instead of its own places (SSL_CTX_set_default_verify_paths(3)).
VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@contextmanager
def unread() -> Iterator[None]:
    """Have contexts of TLS that are made meanwhile trust nobody, and read no certificate.

    aiohttp makes two for clients when it is imported (connector.py). Each reads 140, in 25 ms.
    """
    before = {name: os.environ.get(name) for name in VARIABLES}
    os.environ.update(dict.fromkeys(VARIABLES, os.devnull))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
