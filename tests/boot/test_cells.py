"""Cells: which of several page servers have a seat's pages, and which stand in for them."""

import math
from collections import Counter
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netboot.boot.arch import BY_NAME
from netboot.boot.client import Client, Stage
from netboot.boot.plan import SERVERS_TOLD, SeatKeys, boot_plan
from netboot.profile.profile import Profile
from netboot.profile.sections import MAX_SERVERS, Swap

SEATS = [f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}" for number in range(600)]
SERVERS = [f"10.0.{number}.{number * 7}" for number in range(1, 33)]

cells = st.sets(st.sampled_from(SERVERS), min_size=3, max_size=MAX_SERVERS)
seats = st.integers(0, (1 << 48) - 1).map(lambda n: n.to_bytes(6).hex(":"))


def profile_of(servers: set[str], layout: str) -> Profile:
    keys = {"servers": sorted(servers), "layout": layout}
    return Profile(swap=Swap.model_validate({**keys, "store": "rbd:swap"}))


def order(mac: str, servers: set[str], layout: str = "mirror") -> list[str]:
    """Return the servers of a seat's boot plan."""
    profile = profile_of(servers, layout)
    plan = boot_plan(
        profile,
        profile.seat_of(mac),
        Client(mac, BY_NAME["bios"], Stage.IPXE),
        SeatKeys(),
        server=IPv4Address("10.0.0.1"),
    )
    (swap,) = (word for word in plan.arguments if word.startswith("netboot.swap="))
    assert len(" ".join(plan.arguments)) < 1024, "a kernel command line has 2048 characters"
    return swap.removeprefix("netboot.swap=").partition(":")[0].split(",")


@settings(max_examples=60, deadline=None)
@given(mac=seats, servers=cells, layout=st.sampled_from(["mirror", "spread"]))
def test_a_seat_is_told_different_servers_in_an_order_that_stays(
    mac: str, servers: set[str], layout: str
) -> None:
    told = order(mac, servers, layout)
    assert told == order(mac, servers, layout)
    assert len(told) == len(set(told)) == min(len(servers), SERVERS_TOLD)
    assert set(told) <= servers


@settings(max_examples=60, deadline=None)
@given(mac=seats, servers=cells)
def test_a_seat_of_a_pool_is_told_its_first_two(mac: str, servers: set[str]) -> None:
    assert order(mac, servers, "any") == order(mac, servers, "spread")[:2]


@settings(max_examples=60, deadline=None)
@given(mac=seats, servers=cells, data=st.data())
def test_only_seats_of_a_server_that_leaves_or_comes_move_and_one_leg_of_each(
    mac: str, servers: set[str], data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(sorted(servers)))
    before, after = order(mac, servers), order(mac, servers - {gone})
    rest = [server for server in before if server != gone]
    assert after[: len(rest)] == rest
    if gone not in before[:2]:
        assert after[:2] == before[:2]
    else:
        assert len(set(before[:2]) & set(after[:2])) == 1
        assert after[1] == before[2], "the one that stood in for it"


@pytest.mark.parametrize("many", [2, 3, 4, 8])
def test_each_server_has_an_equal_share_of_the_legs(many: int) -> None:
    """Five standard deviations of a binomial distribution: one run of a million is outside."""
    servers = set(SERVERS[:many])
    found = Counter(server for mac in SEATS for server in order(mac, servers)[:2])
    share = 2 / many
    bound = 5 * math.sqrt(len(SEATS) * share * (1 - share))
    for server in servers:
        assert abs(found[server] - len(SEATS) * share) <= bound, found


def test_the_seats_of_a_lost_server_are_spread_over_all_others() -> None:
    servers = set(SERVERS[:5])
    orders = [order(mac, servers) for mac in SEATS]
    degraded = [each for each in orders if SERVERS[0] in each[:2]]
    takers = Counter(each[2] for each in degraded)
    bound = 5 * math.sqrt(len(degraded) * 0.25 * 0.75)
    assert set(takers) == servers - {SERVERS[0]}
    assert all(abs(many - len(degraded) / 4) <= bound for many in takers.values()), takers


def test_a_server_that_joins_takes_its_share_at_the_next_boots_and_no_other_seat_moves() -> None:
    old, new = set(SERVERS[:4]), SERVERS[4]
    moved = 0
    for mac in SEATS:
        before, after = order(mac, old)[:2], order(mac, old | {new})[:2]
        if new in after:
            moved += 1
            assert len(set(before) & set(after)) == 1
        else:
            assert after == before
    share = 2 / 5
    assert abs(moved - len(SEATS) * share) <= 5 * math.sqrt(len(SEATS) * share * (1 - share))


def test_the_order_of_stripes_is_the_profiles() -> None:
    assert order(SEATS[0], set(SERVERS[:8]), "stripe") == sorted(SERVERS[:8])
