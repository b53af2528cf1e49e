"""The attacks of ``make attack``, one row each: what it does, from where, and how fast.

Rates are those of the security review of 0.1.0: what one PC can send.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.attack.wire import PLACES

ATTACKERS = {f"10.99.0.{number}": f"52:54:99:00:00:{number}" for number in (66, 67, 68, 69)}
FLOOD_PER_SECOND = 6000
HALF_HANDSHAKES, HALF_REQUESTS, STALLED, UNREAD = 125, 1100, 400, 128

Counts = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Kind:
    """One attack: ``program`` runs at ``address``. ``held(counts)`` is False if it succeeded.

    ``outcome`` is the word for the table. *Bounded* means that the honest PCs' figures hold.
    ``late`` attacks begin when the others have their sessions.
    """

    name: str
    rate: str
    address: str
    program: tuple[str, ...]
    reached: Callable[[Counts], str]
    held: Callable[[Counts], bool] = lambda counts: True
    outcome: str = "bounded"
    late: bool = False
    early: bool = False  # it runs before the server does


def _own(verb: str, rate: float) -> tuple[str, ...]:
    return "load.programs", verb, str(rate)


def _nothing_opened(counts: Counts) -> bool:
    return not counts.get("obeyed", 0)


def _answers(counts: Counts) -> str:
    return ", ".join(
        f"{number:.0f} x {status}"
        for status, number in sorted(counts.items())
        if status.isdigit() or status == "no answer"
    )


def _total(key: str, words: str) -> Callable[[Counts], str]:
    return lambda counts: f"{counts.get(key, 0):.0f} {words}"


A, B, C, D = ATTACKERS  # D asks over HTTP, because the others' connections are used up

KINDS = (
    Kind(
        "takeover by MAC address: script, lease, fresh lease, end, report, order, history",
        "10 PCs/s",
        D,
        _own("takeover", 10),
        _answers,
        _nothing_opened,
        "refused",
    ),
    Kind(
        "broadcasts heard, and what they name asked for",
        "all",
        D,
        _own("listen", 100),
        lambda counts: f"{counts.get('heard', 0):.0f} heard: {_answers(counts)}",
        _nothing_opened,
        "refused",
    ),
    Kind(
        "port 4011 from a program's port",
        "100/s",
        D,
        _own("port_4011", 100),
        lambda counts: f"{counts['asked']:.0f} asked, {counts.get('answered', 0):.0f} answered",
        _nothing_opened,
        "refused",
    ),
    Kind("swap for made-up PCs", "50/s", D, _own("capacity", 50), _answers),
    Kind("made-up PCs in the queue for downloads", "155/s", D, _own("queue", 155), _answers),
    Kind("reports of 520 keys, 4 kB", "235/s", D, _own("beacons", 235), _answers),
    Kind("/status, read", "10/s", D, _own("status", 10), _answers),
    Kind(
        "/status, 20 a connection, not read",
        f"{UNREAD} connections",
        C,
        _own("unread", UNREAD),
        _total("dialled", "dialled"),
    ),
    Kind(
        "half HTTP requests",
        f"{HALF_REQUESTS} connections",
        B,
        _own("idle", HALF_REQUESTS),
        _total("dialled", "dialled"),
    ),
    Kind(
        "stalled downloads",
        f"{STALLED} connections",
        A,
        _own("stalled", STALLED),
        _total("dialled", "dialled"),
    ),
    *(
        Kind(
            f"half NBD handshakes from {address}",
            f"{HALF_HANDSHAKES} connections, 350/s again",
            address,
            ("half_open", "10.99.0.1", "10809", str(HALF_HANDSHAKES), address),
            _total("calls", "dialled"),
        )
        for address in ATTACKERS
    ),
    Kind(
        "guesses of tokens and set numbers (NBD INFO)",
        "466/s",
        D,
        _own("guess", 466),
        lambda counts: f"{sum(counts.values()):.0f} guesses",
        _nothing_opened,
        "refused",
    ),
    Kind(
        "TFTP requests of silent, false senders",
        f"{PLACES}, then 40/s",
        A,
        _own("forged_tftp", 40),
        _total("sent", "sent"),
    ),
    Kind(
        "TFTP and DHCP answers to others: false senders and relays",
        "100/s",
        A,
        _own("amplify", 20),
        _total("sent", "sent"),
    ),
    Kind(
        "DECLINE of made-up PCs",
        "20/s",
        D,
        _own("decline", 20),
        lambda counts: f"{counts['asked']:.0f} asked, {counts.get('declined', 0):.0f} declined",
    ),
    Kind("RELEASE of addresses in use", "40/s", A, _own("release", 20), _total("sent", "sent")),
    Kind(
        "DISCOVER of made-up PCs",
        f"{FLOOD_PER_SECOND}/s",
        A,
        _own("flood", FLOOD_PER_SECOND),
        _total("sent", "sent"),
        late=True,
    ),
    Kind(
        "rival proxyDHCP that answers the server's survey",
        "each",
        D,
        _own("rival", 50),
        _total("answered", "answered"),
        lambda counts: counts.get("answered", 0) > 0,
        "told, and served",
        early=True,
    ),
)
