"""The state of each PC."""

from netboot.boot.client import PROBE_MAC, played_mac
from netboot.boot.events import Journal
from netboot.profile.profile import Profile
from netboot.serve.seats import Seats

MAC = "52:54:00:12:34:56"


def test_the_settings_of_a_seat_are_merged_once() -> None:
    profile = Profile.model_validate({"clients": {MAC: {"hostname": "window"}}})
    seats = Seats(profile, Journal())
    seat = seats.of(MAC)
    assert seat.settings == profile.seat(MAC) and seat.settings.hostname == "window"
    assert seats.of(MAC) is seat


def test_a_doctor_and_a_storm_are_no_pcs() -> None:
    seats = Seats(Profile(), Journal())
    kinds = [(seats.of(mac).is_probe, seats.of(mac).is_played) for mac in (MAC, PROBE_MAC)]
    assert kinds == [(False, False), (True, True)]
    assert seats.of(played_mac(7)).is_played and not seats.of(played_mac(7)).is_probe
    for mac in (MAC, PROBE_MAC, played_mac(7)):
        seats.record(mac, "dhcp", "asks")
    assert [row["mac"] for row in seats.as_json()] == [MAC]


def test_forged_addresses_do_not_stay_and_push_no_seat_out() -> None:
    swaps, boots = "52:54:00:00:00:01", "52:54:00:00:00:02"
    seats = Seats(
        Profile.model_validate({"clients": {MAC: {}}}), Journal([MAC]), lambda mac: mac == swaps
    )
    kept = [seats.of(mac) for mac in (MAC, swaps, boots)]
    seats.journal.prove(boots)
    for number in range(10_000):
        forged = f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"
        seats.of(forged)
        seats.record(forged, "dhcp", "asks")
    assert [seats.of(mac) for mac in (MAC, swaps, boots)] == kept
    assert all(seats.of(state.mac) is state for state in kept)
    assert seats.number() <= 2003


def test_a_token_is_never_shown() -> None:
    seat = Seats(Profile(), Journal()).of(MAC)
    seat.token = "secret"
    assert "secret" not in repr(seat)
