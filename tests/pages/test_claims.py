"""The places of a full server: a seat has all of its connections, or none."""

import pytest

from netboot.pages import clients
from netboot.pages.claims import Claims
from netboot.pages.clients import Clients, files_for, most_areas
from netboot.pages.lease import Ends
from netboot.pages.nbd.name import WireName

HERE, THERE = "10.0.0.1", "10.0.0.2"
ASKED = WireName.parse("seat-1@t.5")


def test_a_seat_has_all_its_places_from_the_first_connection_to_the_last() -> None:
    claims = Claims()
    first, second = (claims.hold("lease", HERE, 2) for _ in range(2))
    assert (claims.in_total, claims.of_address(HERE), claims.of_lease("lease")) == (2, 2, 2)
    first.release()
    first.release()
    assert claims.in_total == 2, "a place is released once"
    second.release()
    assert (claims.in_total, claims.of_address(HERE), claims.of_lease("lease")) == (0, 0, 0)


def test_a_seat_that_moves_takes_its_places_along() -> None:
    claims = Claims()
    old = claims.hold("lease", HERE, 2)
    new = claims.hold("lease", THERE, 2)
    assert (claims.of_address(HERE), claims.of_address(THERE), claims.in_total) == (0, 2, 2)
    old.release()
    assert (claims.of_lease("lease", HERE), claims.of_lease("lease", THERE)) == (0, 2)
    new.release()
    assert claims.in_total == 0


def test_connections_to_what_a_room_shares_have_a_place_each() -> None:
    claims = Claims()
    held = [claims.hold("image", address, None) for address in (HERE, HERE, THERE)]
    assert (claims.in_total, claims.of_address(HERE), claims.of_address(THERE)) == (3, 2, 1)
    for each in held:
        each.release()
    assert claims.in_total == claims.of_address(HERE) == 0


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Clients:
    """Five places, of which two seats have two each."""
    monkeypatch.setattr(clients, "MAX_CONNECTIONS", 5)
    monkeypatch.setattr(clients, "KEPT_CONNECTIONS", 0)
    made = Clients()
    for lease, address in (("one", HERE), ("two", THERE)):
        made.claims.hold(lease, address, 2)
    return made


def test_a_free_place_is_not_enough_for_a_seat_of_two(full: Clients) -> None:
    refused = full.no_place(ASKED, Ends(places=2), "10.0.0.3")
    assert refused is not None and refused.is_full
    assert refused.reason == (
        "the server is full: 4 of 5 connections are taken; come again in 10 s"
    )
    assert full.no_place(ASKED, Ends(places=1), "10.0.0.3") is None
    assert full.no_place(ASKED, Ends(), "10.0.0.3") is None


def test_a_seat_in_a_full_server_attaches_its_others_and_comes_back(full: Clients) -> None:
    full.claims.hold("image", "10.0.0.4", None)
    assert full.no_place(ASKED, Ends(again="one", places=2), HERE) is None
    assert full.no_place(ASKED, Ends(again="one", places=2), "10.0.0.9") is None, "it has moved"
    assert full.no_place(ASKED, Ends(replaced=("one",), places=2), HERE) is None, "it boots again"
    assert full.no_place(ASKED, Ends(again="three", places=2), HERE) is not None


def test_an_address_has_places_for_whole_seats_only(
    full: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "MAX_CONNECTIONS", 100)
    monkeypatch.setattr(clients, "MAX_CONNECTIONS_OF_ADDRESS", 3)
    refused = full.no_place(ASKED, Ends(places=2), HERE)
    assert refused is not None and not refused.is_full
    assert full.no_place(ASKED, Ends(again="two", places=2), THERE) is None
    assert full.no_place(ASKED, Ends(again="two", places=2), HERE) is not None


def test_page_files_leave_descriptors_for_the_rest(
    full: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [most_areas(files) for files in (1024, 20_000, 65_536)] == [170, 3466, 18_645]
    for areas in (100, 1000, 5000):
        assert most_areas(files_for(areas)) == areas > most_areas(files_for(areas) - 6)
    monkeypatch.setattr(clients, "most_areas", lambda files: 0)
    monkeypatch.setattr(clients, "MAX_CONNECTIONS", 100)
    refused = full.no_place(ASKED, Ends(places=2), "10.0.0.3")
    assert refused is not None and refused.is_full and "no more open files" in refused.reason
    assert full.no_place(ASKED, Ends(again="three", places=2), "10.0.0.3") is None
