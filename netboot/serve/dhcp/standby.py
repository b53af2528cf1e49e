"""Standby: the second of two boot servers answers the PCs that the first one does not. Pure.

The first one counts as healthy while its HTTP server answers us. Its silence towards one PC shows by
that PC's asking again: firmware does after 4 s (PXE 2.1 section 2.2.5), iPXE after 1 s. Its answers
are heard if they are broadcasts, as all offers of proxy mode are.
"""

from collections.abc import Collection, Sequence
from enum import Enum
from ipaddress import IPv4Address

from netboot.boot import rank
from netboot.boot.limits import DHCP_STANDBY
from netboot.serve.dhcp.packet import MessageType, Option, Packet

# The first server is asked each second: three answers are lost.
AWAY_SECONDS = 3.0
# A PC that waits so long says that it has no answer (``secs``), or asks again.
LATE_SECONDS = 4
# One broadcast may arrive twice. The quickest PC, an iPXE, asks again after a second.
AGAIN_SECONDS = 0.5
# The first server answers the same packet in milliseconds; under load it may take some more.
GRACE_SECONDS = 0.5


class Turn(Enum):
    """The server whose turn it is: ours, the first one's, or ours if the first one stays silent."""

    OURS = "ours"
    THEIRS = "theirs"
    IF_SILENT = "if silent"


class Standby:
    """The boot servers of a profile as this one sees them. ``now`` is seconds of one clock.

    ``servers`` are in the order of their rank; without any each turn is ours.
    """

    def __init__(self, servers: Sequence[IPv4Address] = (), now: float = 0.0) -> None:
        self.servers = servers
        self.superior: IPv4Address | None = None
        self._heard = now  # it has the benefit of the doubt
        self._asked: dict[str, float] = {}  # cards without an answer, by their first question
        self._offered: dict[str, float] = {}  # the last offer of the first server to each card

    def follow(self, own: Collection[IPv4Address]) -> None:
        """Find this machine's rank by its addresses."""
        self.superior = rank.superior(self.servers, own)

    def heard(self, now: float) -> None:
        """Note that the first server answers over HTTP."""
        self._heard = now

    def is_away(self, now: float) -> bool:
        """Return True if there is no first server before us, or none that was heard lately."""
        return self.superior is None or now - self._heard >= AWAY_SECONDS

    def offered(self, server: IPv4Address, card: str, now: float) -> None:
        """Note an offer of another server to ``card``."""
        if server == self.superior:
            self._asked.pop(card, None)
            _put(self._offered, card, now)

    def turn(self, packet: Packet, own: IPv4Address, now: float) -> Turn:
        """Return whose turn it is to answer a broadcast, which our address ``own`` would do.

        If it is ours only if the first one stays silent, ask ``was_answered`` after
        ``GRACE_SECONDS``.
        """
        chosen = packet.address(Option.SERVER_IDENTIFIER)
        if self.is_away(now) or chosen == own:
            return Turn.OURS
        if packet.message_type is not MessageType.DHCPDISCOVER:
            return Turn.THEIRS
        begin = self._asked.get(packet.card)
        waited = 0.0 if begin is None else now - begin
        if begin is None or waited > (DHCP_STANDBY.seconds or 0.0):
            _put(self._asked, packet.card, now)
            waited = 0.0
        late = packet.secs >= LATE_SECONDS or waited >= AGAIN_SECONDS
        return Turn.IF_SILENT if late else Turn.THEIRS

    def was_answered(self, card: str, since: float) -> bool:
        """Return True if the first server has offered ``card`` something since then."""
        return self._offered.get(card, float("-inf")) >= since


def _put(table: dict[str, float], card: str, when: float) -> None:
    """Put a card at the end of ``table``, which keeps its size."""
    table.pop(card, None)
    table[card] = when
    if len(table) > (DHCP_STANDBY.in_total or 0):
        del table[next(iter(table))]
