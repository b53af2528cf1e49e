"""The addresses of PCs over time."""

import json
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.profile.fields import AddressRange
from netboot.serve.dhcp.lease import (
    DECLINE_SECONDS,
    OFFER_SECONDS,
    PROBE_SECONDS,
    YOUNG_SECONDS,
    LeasePool,
)

FIRST = IPv4Address("10.0.0.50")
HOUR = 3600
ANN, BOB, CID = (f"52:54:00:00:00:0{digit}" for digit in (1, 2, 3))


def pool(
    size: int = 2,
    reservations: dict[str, IPv4Address] | None = None,
    taken: tuple[IPv4Address, ...] = (),
) -> LeasePool:
    return LeasePool(AddressRange(first=FIRST, last=FIRST + size - 1), HOUR, reservations, taken)


def lease(leases: LeasePool, mac: str, now: float) -> IPv4Address:
    address = leases.offer(mac, now)
    assert address is not None
    assert leases.commit(mac, address, now)
    return address


def test_a_pc_gets_the_same_address_again() -> None:
    leases = pool()
    address = lease(leases, ANN, 0)
    assert leases.offer(ANN, 1) == address
    assert leases.offer(ANN, 10 * HOUR, wanted=FIRST + 1) == address


def test_a_pc_gets_the_same_address_even_when_the_file_is_lost() -> None:
    assert lease(pool(200), ANN, 0) == lease(pool(200), ANN, 0)


def test_a_pc_gets_the_address_it_wants_if_that_is_free() -> None:
    for wanted in (FIRST, FIRST + 1):
        assert pool().offer(ANN, 0, wanted=wanted) == wanted
    assert pool().offer(ANN, 0, wanted=FIRST + 2) in (FIRST, FIRST + 1)


def test_two_offers_are_two_addresses_and_a_third_has_to_wait() -> None:
    leases = pool()
    assert {leases.offer(ANN, 0), leases.offer(BOB, 0)} == {FIRST, FIRST + 1}
    assert leases.offer(CID, YOUNG_SECONDS - 1) is None
    assert leases.offer(CID, YOUNG_SECONDS) is not None


def test_made_up_pcs_hold_no_address_that_another_pc_needs() -> None:
    leases = pool(8)
    address = lease(leases, ANN, 0)
    for number in range(30):  # offers that no PC requests
        leases.offer(f"02:00:00:00:00:{number:02x}", 1)
    assert leases.offer(BOB, 1 + YOUNG_SECONDS) not in (None, address)
    for number in range(30):  # and DECLINEs of them
        mac = f"02:00:00:00:01:{number:02x}"
        offered = leases.offer(mac, 30)
        assert offered is None or leases.dislike(mac, offered, 30)
    assert leases.offer(CID, 30) not in (None, address)
    assert leases.commit(ANN, address, 31)


def test_leases_that_are_looked_for_are_the_oldest_of_those_not_spared_and_take_turns() -> None:
    leases = pool(4, reservations={CID: FIRST + 3})
    addresses = [lease(leases, mac, now) for now, mac in enumerate((CID, BOB, ANN))]
    assert leases.held("x", lambda owner: owner == CID, 5, 9) == addresses[1:]
    leases = pool(3)
    oldest, middle, newest = (lease(leases, mac, now) for now, mac in enumerate((CID, BOB, ANN)))
    assert leases.held("x", lambda _: False, 5, 2) == [oldest, middle]
    assert leases.held("x", lambda _: False, 6, 2) == [newest, oldest]
    assert leases.held("x", lambda _: False, 10 * HOUR, 9) == [], "all have expired"


def test_an_address_that_is_handed_over_is_its_holders_no_more() -> None:
    leases = pool(1)
    assert lease(leases, BOB, 0) == FIRST
    changes = leases.changes
    leases.hand_over(FIRST, ANN, 10)
    assert leases.changes == changes + 1 and leases.is_unproven(FIRST, 10)
    assert not leases.commit(BOB, FIRST, 11)
    assert lease(leases, ANN, 12) == FIRST
    leases = pool(2)
    own, other = lease(leases, ANN, 0), lease(leases, BOB, 0)
    leases.hand_over(other, ANN, 1)
    assert leases.address_of(ANN) == own and leases.address_of(BOB) == other


def test_a_disliked_address_goes_to_others_and_back_when_it_was_proved_good() -> None:
    leases = pool()
    address = lease(leases, ANN, 0)
    assert not leases.dislike(BOB, address, 1)
    assert leases.dislike(ANN, address, 1)
    assert leases.commit(ANN, address, 1), "it may go on with it"
    leases.like(ANN)
    assert leases.offer(ANN, 2) == address
    assert leases.dislike(ANN, address, 3)
    assert leases.offer(ANN, 4) not in (None, address)
    assert leases.offer(BOB, 4) == address


def test_an_address_that_a_third_pc_has_by_now_does_not_rest() -> None:
    leases = pool(1)
    leases.offer(ANN, 0)
    assert leases.dislike(ANN, FIRST, 0)
    leases.decline(ANN, FIRST, 0)
    assert leases.offer(BOB, 1) is None
    leases = pool(1)
    leases.offer(ANN, 0)
    leases.dislike(ANN, FIRST, 0)
    lease(leases, BOB, 0)
    leases.decline(ANN, FIRST, 0)
    assert leases.commit(BOB, FIRST, 1)


def test_a_lease_outlives_offers_and_ends() -> None:
    leases = pool(1)
    lease(leases, ANN, 0)
    assert leases.offer(BOB, HOUR - 1) is None
    assert not leases.commit(BOB, FIRST, HOUR - 1)
    assert leases.offer(BOB, HOUR) == FIRST
    assert leases.address_of(ANN) is None
    assert not leases.commit(ANN, FIRST, HOUR)


def test_an_offer_does_not_shorten_a_lease() -> None:
    leases = pool(1)
    lease(leases, ANN, 0)
    leases.offer(ANN, 1)
    assert leases.offer(BOB, HOUR - 1) is None


def test_the_address_that_expired_first_goes_first() -> None:
    leases = pool()
    first = lease(leases, ANN, 0)
    lease(leases, BOB, 10)
    assert leases.offer(CID, 2 * HOUR) == first


def test_a_released_address_is_given_to_others_only_in_need() -> None:
    leases = pool()
    address = lease(leases, ANN, 0)
    leases.release(ANN, address, 1)
    assert leases.offer(BOB, 2) != address
    assert leases.offer(ANN, 2) == address
    leases.release(ANN, address, 3)
    assert leases.offer(CID, OFFER_SECONDS + 2) is not None


def test_a_lease_may_be_shorter_and_be_forgotten() -> None:
    leases = pool(1)
    address = leases.offer(ANN, 0)
    assert address is not None and leases.commit(ANN, address, 0, 60)
    assert leases.offer(BOB, 59) is None
    leases.forget(BOB, address)
    assert leases.offer(BOB, 59) is None
    leases.forget(ANN, address)
    assert leases.offer(BOB, 59) == address
    assert leases.as_json() == {"leases": []}


def test_only_the_holder_releases_and_declines() -> None:
    leases = pool(1)
    address = lease(leases, ANN, 0)
    leases.release(BOB, address, 1)
    leases.decline(BOB, address, 1)
    leases.release(ANN, address + 1, 1)
    assert leases.offer(BOB, 2) is None
    assert leases.commit(ANN, address, 2)


def test_a_declined_address_rests() -> None:
    leases = pool(1)
    address = lease(leases, ANN, 0)
    leases.decline(ANN, address, 0)
    assert leases.offer(ANN, DECLINE_SECONDS - 1) is None
    assert leases.offer(ANN, DECLINE_SECONDS) == address


def test_an_address_is_looked_for_when_it_is_offered_and_not_again_soon() -> None:
    leases = pool(1)
    assert not leases.is_unproven(FIRST, 0)
    assert leases.offer(ANN, 0) == FIRST
    assert leases.is_unproven(FIRST, 0)
    assert not leases.is_unproven(FIRST, PROBE_SECONDS - 1)
    assert leases.is_unproven(FIRST, PROBE_SECONDS)
    leases.commit(ANN, FIRST, 2)
    assert not leases.is_unproven(FIRST, 3 * PROBE_SECONDS)


def test_an_occupied_address_is_taken_back_unless_it_is_leased() -> None:
    leases = pool()
    address = leases.offer(ANN, 0)
    assert address is not None
    assert leases.occupied(address, 0)
    assert not leases.commit(ANN, address, 0)
    other = lease(leases, ANN, 1)
    assert other != address
    assert not leases.occupied(other, 2)
    assert leases.commit(ANN, other, 3)
    assert leases.offer(BOB, 4) is None
    assert leases.offer(BOB, DECLINE_SECONDS) == address


def test_a_withdrawn_offer_is_free_at_once_but_a_lease_is_not() -> None:
    leases = pool(1)
    leases.offer(ANN, 0)
    leases.withdraw(ANN)
    assert lease(leases, BOB, 0) == FIRST
    leases.withdraw(BOB)
    assert leases.offer(ANN, 1) is None


def test_a_reserved_address_is_for_one_pc() -> None:
    inside = pool(2, {ANN: FIRST})
    assert [inside.offer(mac, 0) for mac in (BOB, CID, ANN)] == [FIRST + 1, None, FIRST]
    assert not inside.commit(BOB, FIRST, 0)
    outside = pool(1, {ANN: FIRST + 100})
    assert lease(outside, ANN, 0) == FIRST + 100
    assert outside.covers(FIRST + 100)
    assert not outside.covers(FIRST + 99)


def test_a_reservation_wins_over_what_the_pc_had() -> None:
    before = pool()
    lease(before, ANN, 0)
    after = pool(2, {ANN: FIRST + 100})
    after.restore(before.as_json())
    assert after.offer(ANN, 1) == FIRST + 100


def test_a_pc_in_use_keeps_what_it_has_when_it_renews() -> None:
    before = pool(1)
    lease(before, ANN, 0)
    after = pool(1, {ANN: FIRST + 100})
    after.restore(before.as_json())
    assert after.commit(ANN, FIRST, 1)


def test_taken_addresses_are_never_given() -> None:
    leases = pool(2, taken=(FIRST,))
    assert leases.offer(ANN, 0, wanted=FIRST) == FIRST + 1
    assert not leases.commit(BOB, FIRST, 0)


def test_an_address_that_became_the_servers_is_not_renewed() -> None:
    leases = pool()
    address = lease(leases, ANN, 0)
    leases.avoid({address})
    assert not leases.commit(ANN, address, 1)
    assert lease(leases, ANN, 2) != address
    ours = pool(reservations={ANN: FIRST}, taken=(FIRST,))
    assert lease(ours, ANN, 0) == FIRST, "a server with a reservation, such as that of DNS"


def test_leases_survive_as_json_and_offers_do_not() -> None:
    before = pool()
    address = lease(before, ANN, 0)
    before.offer(BOB, 0)
    after = pool()
    after.restore(json.loads(json.dumps(before.as_json())))
    assert after.as_json() == before.as_json()
    assert after.address_of(ANN) == address
    assert after.address_of(BOB) is None
    assert not after.commit(CID, address, HOUR - 1)


def test_restored_addresses_that_the_profile_gives_no_more_are_dropped() -> None:
    before = pool(10)
    for mac in (ANN, BOB, CID):
        lease(before, mac, 0)
    after = pool(1, taken=(FIRST,))
    after.restore(before.as_json())
    assert after.as_json() == {"leases": []}


@pytest.mark.parametrize(
    "saved",
    [
        None,
        [],
        {},
        {"leases": 7},
        {"leases": [7]},
        {"leases": [{"client": ANN}]},
        {"leases": [{"client": ANN, "address": "10.0.0", "expires": 1}]},
        {"leases": [{"client": ANN, "address": "10.0.0.50", "expires": "soon"}]},
        {"leases": [{"client": ANN, "address": "10.0.0.50", "expires": None}]},
    ],
)
def test_what_is_not_leases_is_refused(saved: object) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        pool().restore(saved)


def test_only_what_the_file_shows_counts_as_a_change() -> None:
    leases = pool()
    leases.offer(ANN, 0)
    leases.withdraw(ANN)
    assert leases.changes == 0
    lease(leases, ANN, 0)
    assert leases.changes == 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("offer", "commit", "release", "decline", "withdraw")),
        st.sampled_from((ANN, BOB, CID)),
        st.integers(0, 3),
        st.integers(0, HOUR),
    ),
    max_size=30,
)


@given(STEPS)
def test_no_two_pcs_ever_hold_one_address(steps: list[tuple[str, str, int, int]]) -> None:
    """The invariant: a PC keeps an acknowledged address until the lease ends or is released."""
    leases = pool(3, {ANN: FIRST})
    holders: dict[IPv4Address, tuple[str, float]] = {}
    now = 0.0
    for verb, mac, offset, wait in steps:
        now += wait
        address = FIRST + offset
        if verb == "offer":
            offered = leases.offer(mac, now, wanted=address)
            # A PC that asks again and is offered another address has given up its old one.
            if offered is not None:
                holders = {at: row for at, row in holders.items() if row[0] != mac or at == offered}
        elif verb == "withdraw":
            leases.withdraw(mac)
        elif verb == "commit":
            if leases.commit(mac, address, now):
                holder, until = holders.get(address, (mac, 0.0))
                assert holder == mac or until <= now
                holders = {at: row for at, row in holders.items() if row[0] != mac}
                holders[address] = (mac, now + HOUR)
        elif holders.get(address, ("", 0))[0] == mac:
            (leases.release if verb == "release" else leases.decline)(mac, address, now)
            del holders[address]


def test_a_lease_of_another_clock_ends_when_one_of_now_would() -> None:
    pool = LeasePool(AddressRange(first=FIRST, last=FIRST + 9), 3600)
    far = 50 * 365 * 86400.0
    rows = [
        {"client": ANN, "address": str(FIRST), "expires": far},
        {"client": BOB, "address": str(FIRST + 1), "expires": 1500.0},
    ]
    pool.restore({"leases": rows})
    pool.shorten(1000.0)
    ends = {row["client"]: row["expires"] for row in pool.as_json()["leases"]}
    assert ends == {ANN: 4600.0, BOB: 1500.0}
