"""The queue of DHCP messages: PCs that are known never wait, and a flood is answered in part."""

from netboot.boot.limits import DHCP_FLOOD, DHCP_MESSAGES, DHCP_WAITING
from netboot.serve.dhcp.queue import Queue, mac_of

KNOWN, STRANGER = "52:54:99:00:00:10", "02:f1:00:00:00:01"


def message(mac: str) -> bytes:
    return bytes(28) + bytes.fromhex(mac.replace(":", "")) + bytes(206)


def queue() -> Queue[int]:
    return Queue(lambda mac: mac == KNOWN)


def test_the_mac_address_is_read_without_parsing() -> None:
    assert mac_of(message(KNOWN)) == KNOWN
    assert mac_of(b"short") == ""


def test_a_known_pc_is_answered_before_all_that_wait() -> None:
    waiting = queue()
    for number in range(5000):
        assert not waiting.put(message(STRANGER), number, 0.0)
    assert waiting.put(message(KNOWN), 0, 0.1)
    assert len(waiting) == 5000


def test_strangers_are_answered_in_their_order_as_fast_as_can_be() -> None:
    waiting = queue()
    for number in range(500):
        waiting.put(message(STRANGER), number, 0.0)
    assert waiting.take(16, 0.01) == list(range(16))
    assert waiting.take(1000, 0.02) == list(range(16, 500))
    assert waiting.take(16, 0.03) == []


def test_a_flood_is_answered_in_part_and_what_is_late_is_dropped() -> None:
    most, answered = DHCP_FLOOD.in_total or 0, 0
    waiting = queue()
    for tick in range(1000):  # 10 s of 6000 a second; 30 can be answered in a tick
        now = tick / 100
        for _ in range(60):
            waiting.put(message(STRANGER), tick, now)
        taken = waiting.take(30, now)
        assert len(waiting) <= (DHCP_WAITING.in_total or 0)
        if now > 3:
            answered += len(taken)
            assert all(now - each / 100 <= 2.01 for each in taken)
    assert answered <= 8 * most
    # The flood is over: the rest is dropped, and a new PC is answered at once.
    while len(waiting):
        waiting.take(30, 13.0)
    waiting.put(message(STRANGER), -1, 14.0)
    assert waiting.take(30, 14.0) == [-1]


def test_a_queue_that_is_emptied_is_no_flood() -> None:
    """As many as are answered, for a minute: the bench of offers a second does that."""
    waiting = queue()
    for tick in range(6000):
        for _ in range(30):
            waiting.put(message(STRANGER), tick, tick / 100)
        assert len(waiting.take(64, tick / 100)) == 30


def test_the_name_of_a_known_pc_is_no_way_round_it() -> None:
    waiting, most = queue(), DHCP_MESSAGES.per_address
    now = [waiting.put(message(KNOWN), number, 0.5) for number in range(100)]
    assert now.count(True) == most and len(waiting) == 0
    assert waiting.put(message(KNOWN), 0, 1.6)
