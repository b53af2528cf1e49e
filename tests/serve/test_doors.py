"""Who may ask for what is a seat's."""

import time
from ipaddress import IPv4Address

import pytest

from netboot.boot import ticket
from netboot.boot.client import PROBE_MAC, played_mac
from netboot.boot.events import Journal
from netboot.boot.keyring import Keyring
from netboot.errors import DeniedError
from netboot.profile.profile import Profile
from netboot.serve.doors import Doors
from netboot.serve.identity import Identity
from netboot.serve.seats import Seats
from tests.serve.links import FakeLinks

SECRET = b"s" * 32
MAC, DOCK = "52:54:00:12:34:56", "52:54:00:00:00:10"
SEAT, OTHER_SEAT = "52:54:00:00:00:99", "52:54:00:00:00:66"
TICKET = ticket.issue(SECRET, MAC)
SESSION = ticket.begin(SECRET, MAC, b"nonce!", time.time())
OLD = ticket.begin(SECRET, MAC, b"nonce!", time.time() - ticket.SESSION_SECONDS - 1)
ADDRESSES = {MAC: "10.0.0.9", DOCK: "10.0.0.10", SEAT: "10.0.0.99", OTHER_SEAT: "10.0.0.66"}
UNKNOWN = "10.0.0.8"


@pytest.fixture
def doors() -> Doors:
    """The seat SEAT is in the profile; OTHER_SEAT has booted."""
    profile = Profile.model_validate({"clients": {SEAT: {}}})
    links = FakeLinks({address: mac for mac, address in ADDRESSES.items()})
    doors = Doors(Keyring(SECRET), Seats(profile, Journal()), Identity(profile, links))
    own = ticket.issue(SECRET, OTHER_SEAT)
    assert doors.open(own, IPv4Address(ADDRESSES[OTHER_SEAT]), begins=True)
    return doors


def is_open(doors: Doors, text: str, address: str, *, begins: bool = False) -> bool:
    try:
        if begins:
            doors.seats.of(MAC).is_expected = True
            key = doors.open(text, IPv4Address(address), begins=True)
        else:
            key = doors.admit(text, IPv4Address(address))
    except DeniedError:
        return False
    assert key is not None
    return key.mac == MAC


@pytest.mark.parametrize("text", [TICKET, OLD], ids=["ticket", "old session"])
@pytest.mark.parametrize("begins", [False, True])
def test_a_ticket_opens_for_the_address_of_its_seat_alone(
    doors: Doors, text: str, begins: bool
) -> None:
    for address in (*ADDRESSES.values(), UNKNOWN, "127.0.0.1", "10.77.0.1"):
        assert is_open(doors, text, address, begins=begins) == (address == ADDRESSES[MAC])


def test_a_session_opens_wherever_no_other_seat_is(doors: Doors) -> None:
    for mac, expected in ((MAC, True), (DOCK, True), (SEAT, False), (OTHER_SEAT, False)):
        assert is_open(doors, SESSION, ADDRESSES[mac]) == expected
    assert is_open(doors, SESSION, UNKNOWN) and is_open(doors, SESSION, "127.0.0.1")


def test_a_session_begins_no_other_boot(doors: Doors) -> None:
    for mac, address in ADDRESSES.items():
        assert is_open(doors, SESSION, address, begins=True) == (mac == MAC)


def test_an_expired_session_is_a_ticket(doors: Doors) -> None:
    key = doors.admit(OLD, IPv4Address(ADDRESSES[MAC]))
    assert key == ticket.Key(MAC) and key.session == ""
    assert not doors.is_good(OLD) and doors.is_good(SESSION) and not doors.is_good("")


@pytest.mark.parametrize("mac", [PROBE_MAC, played_mac(3)])
def test_played_pcs_are_played_from_anywhere(doors: Doors, mac: str) -> None:
    key = doors.admit(ticket.issue(SECRET, mac), IPv4Address("10.0.0.66"))
    assert key is not None and key.mac == mac
    assert doors.open(mac, IPv4Address("10.0.0.66"), begins=True) == ticket.Key(mac)
    assert not doors.seats.is_known(mac)


def test_what_is_not_ours_opens_nothing(doors: Doors) -> None:
    address = IPv4Address(ADDRESSES[MAC])
    for text in ("guess", TICKET[:-1], SESSION[:-1] + "é", SESSION[12:] + SESSION[:12]):
        assert doors.admit(text, address) is None and doors.open(text, address) is None
    for text in ("", MAC):  # users of a seat ask from its address
        assert doors.admit(text, address) is None


@pytest.mark.parametrize("who", ["", MAC])
def test_a_boot_begins_for_the_pc_at_the_address(doors: Doors, who: str) -> None:
    for mac, address in ADDRESSES.items():
        if who in ("", mac):
            key = doors.open(who, IPv4Address(address), begins=True)
            assert key == ticket.Key(mac) and not key.session
        else:
            with pytest.raises(
                DeniedError, match=f"this is for {MAC}: refused a request of {address}"
            ):
                doors.open(who, IPv4Address(address), begins=True)


def test_who_makes_up_names_fills_neither_log_nor_journal(
    doors: Doors, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(30):
        with pytest.raises(DeniedError):
            doors.open(f"52:54:00:00:01:{number:02x}", IPv4Address("10.0.0.66"), begins=True)
        with pytest.raises(DeniedError, match="behind a router that is not in dhcp.networks"):
            doors.open("", IPv4Address("10.77.0.1"), begins=True)
    assert len(caplog.messages) == 2


def test_who_is_refused_is_told_and_so_is_the_operator_once_a_minute(
    doors: Doors, caplog: pytest.LogCaptureFixture
) -> None:
    message = "refused a request of 10.0.0.66, which has the MAC address 52:54:00:00:00:66"
    for _ in range(3):
        with pytest.raises(DeniedError, match=f"this is for {MAC}: {message}"):
            doors.open(TICKET, IPv4Address("10.0.0.66"), begins=True)
    (event,) = doors.seats.journal.history(MAC)
    assert (event.stage, event.message) == ("identity", message)
    assert caplog.messages == [f"{MAC}: {message}"]
    with pytest.raises(DeniedError, match="behind a router that is not in dhcp.networks"):
        doors.admit(TICKET, IPv4Address("10.77.0.1"))


def test_a_wall_clock_that_jumps_ends_no_boot(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, year = time.time(), 365 * 86400
    doors.identity.now = lambda: before + 1
    for jump in (50 * year, -50 * year):
        monkeypatch.setattr(time, "time", lambda now=before + jump: now)
        assert doors.is_good(SESSION), "of before"
        assert doors.is_good(doors.begin(MAC)), "of after"
    doors.identity.now = lambda: before + 50 * year
    assert doors.is_good(SESSION), "until both clocks agree"
    monkeypatch.setattr(time, "time", lambda: before + 50 * year)
    assert not doors.is_good(SESSION)
