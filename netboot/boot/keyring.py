"""The secrets of a server: the one that it uses, and the one before. Pure.

All that the current secret makes is good until it ends by itself. After a rotation, the previous
secret still opens what it made, until it is forgotten; it makes nothing any more.
"""

from dataclasses import dataclass, field

from netboot.boot import ticket


@dataclass(slots=True)
class Keyring:
    """The ``current`` secret and the ``previous`` one, which is empty if there is none."""

    current: bytes = field(repr=False)
    previous: bytes = field(default=b"", repr=False)

    def renew(self, current: bytes, previous: bytes = b"") -> None:
        """Use these secrets from now on."""
        self.current, self.previous = current, previous

    def begin(self, mac: str, nonce: bytes, now: float) -> str:
        """Return a session of ``mac`` (see ``ticket.begin``)."""
        return ticket.begin(self.current, mac, nonce, now)

    def read(self, text: str, now: float) -> ticket.Key | None:
        """Return the ticket or the session ``text``; None if it is of neither secret."""
        for secret in self._secrets():
            key = ticket.read(secret, text, now)
            if key is not None:
                return key
        return None

    def swap_token(self, session: str) -> str:
        """Return the token that opens the swap of the boot ``session``.

        It follows from the secret that made the session: the PC has it in its command line.
        """
        made = (each for each in self._secrets() if ticket.read(each, session, 0.0) is not None)
        return ticket.swap_token(next(made, self.current), session)

    def order_refusal(self, key: str, order: str, mac: str, now: float) -> str:
        """Return why ``key`` does not authorise an order now; empty if it does."""
        told = [ticket.order_refusal(each, key, order, mac, now) for each in self._secrets()]
        return "" if "" in told else told[0]

    def is_panel_key(self, text: str) -> bool:
        """Return True if ``text`` is the key of a panel."""
        return any(ticket.is_panel_key(each, text) for each in self._secrets())

    def rooms(self) -> list[str]:
        """Return the names of the room in a pool (see ``ticket.room_of``): the current one first."""
        return [ticket.room_of(each) for each in self._secrets()]

    def swap_key(self, generation: str, room: str = "") -> str:
        """Return the key of a lease, by the secret of ``room``; empty if that is forgotten.

        Without ``room`` it is by the current secret.
        """
        made = (each for each in self._secrets() if room in ("", ticket.room_of(each)))
        secret = next(made, None)
        return "" if secret is None else ticket.swap_key(secret, generation)

    def _secrets(self) -> list[bytes]:
        return [self.current, self.previous] if self.previous else [self.current]
