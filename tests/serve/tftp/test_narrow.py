"""The memory of narrow addresses: it ages, and it is bounded."""

from netboot.boot.limits import TFTP_NARROW
from netboot.serve.tftp.narrow import Narrow


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_address_is_narrow_for_a_time_and_told_once() -> None:
    clock = Clock()
    narrow = Narrow(clock)
    assert "10.0.0.5" not in narrow
    assert narrow.add("10.0.0.5") and "10.0.0.5" in narrow and "10.0.0.6" not in narrow
    assert not narrow.add("10.0.0.5")
    clock.now = (TFTP_NARROW.seconds or 0) + 1
    assert "10.0.0.5" not in narrow
    assert narrow.add("10.0.0.5")


def test_the_oldest_is_forgotten() -> None:
    narrow = Narrow(Clock())
    for number in range((TFTP_NARROW.in_total or 0) + 1):
        narrow.add(f"address {number}")
    assert "address 0" not in narrow and "address 1" in narrow
