"""The two secrets that open a lease, one after the other. Pure.

The token comes with the lease. On the kernel command line of a PC others may have read it, so it is
good only until the lease's key was used. The server tells the key to a client that has the token,
and a swap agent keeps it in locked memory (docs/adr/0015-a-key-in-place-of-the-token.md).

The key is the same until it was used: an answer that was lost can be asked for again. An agent that
knows no keys goes on with its token for as long as it likes.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Access:
    """A lease's ``token`` and its ``key``, which is empty if there is none.

    ``proven``: the key was used, so the token is dead.
    """

    token: str = field(repr=False)
    key: str = field(default="", repr=False)
    proven: bool = False

    def opens(self, secret: str) -> bool:
        """Return whether ``secret`` opens the lease now."""
        # A list: the time must not tell which of them it is.
        return any([_same(secret, self.key), not self.proven and _same(secret, self.token)])

    def began_with(self, token: str) -> bool:
        """Return whether the lease was granted with ``token``, dead or not."""
        return _same(token, self.token)

    def key_for(self, secret: str) -> str:
        """Return the key if ``secret`` is the token and still good; else an empty text."""
        return self.key if not self.proven and _same(secret, self.token) else ""

    def prove(self, secret: str) -> bool:
        """Note an attachment with ``secret``; return whether it was the key's first."""
        if self.proven or not _same(secret, self.key):
            return False
        self.proven = True
        return True

    def as_json(self) -> dict[str, Any]:
        """Return both as JSON values.

        Releases up to 0.2.0 know ``token`` alone. So it is the key as soon as the agent has nothing
        else: the PC keeps its swap if the server goes back to such a release.
        """
        if self.proven:
            return {"token": self.key, "spent": self.token}
        return {"token": self.token, "key": self.key}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Access":
        """Read ``as_json`` of this release, or of an older one, which has a token alone."""
        if "spent" in row:
            return cls(row["spent"], row["token"], proven=True)
        return cls(row["token"], row.get("key", ""))


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode(), secret.encode()) and bool(secret)
