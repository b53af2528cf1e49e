"""Log lines that strangers cause."""

import logging

import pytest

from netboot.host.complaints import (
    DAY_SECONDS,
    LASTING_LINES,
    LINES,
    PERIOD_SECONDS,
    Complaints,
    Lasting,
)

log = logging.getLogger("netboot.test")


def test_a_sender_gets_one_line_a_period(caplog: pytest.LogCaptureFixture) -> None:
    clock = [0.0]
    complaints = Complaints(log, now=lambda: clock[0])
    for _ in range(1000):
        complaints.warn("10.0.0.66", "%s: refused", "10.0.0.66")
    complaints.warn("10.0.0.7", "%s: refused", "10.0.0.7")
    assert caplog.messages == ["10.0.0.66: refused", "10.0.0.7: refused"]
    clock[0] = PERIOD_SECONDS
    complaints.warn("10.0.0.66", "%s: refused", "10.0.0.66")
    assert caplog.messages[2:] == ["999 more warnings suppressed", "10.0.0.66: refused"]


def test_many_senders_share_a_number_of_lines(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints(log, now=lambda: 0.0)
    for number in range(10_000):
        complaints.warn(f"10.0.{number >> 8}.{number & 255}", "refused")
    assert len(caplog.messages) == LINES


def test_a_fault_that_lasts_is_told_once_a_day_also_after_many_made_up_ones(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = [0.0]
    lasting = Lasting(log, now=lambda: clock[0])
    for number in range(100):
        lasting.warn(f"a second DHCP server, 10.9.0.{number}")
        lasting.warn(f"a second DHCP server, 10.9.0.{number}")
    assert len(caplog.messages) == LASTING_LINES
    lasting.warn("a second DHCP server, 10.9.0.200")
    assert len(caplog.messages) == LASTING_LINES
    clock[0] = DAY_SECONDS
    lasting.warn("a second DHCP server, 10.9.0.200")
    assert caplog.messages[LASTING_LINES:] == ["a second DHCP server, 10.9.0.200"]
