"""The addresses of two boot servers that share a range and no state."""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.errors import Ignored
from netboot.profile.fields import AddressRange
from netboot.profile.sections import Boot
from netboot.serve.dhcp.answer import Claim, Reply
from netboot.serve.dhcp.lease import OFFER_SECONDS, RECENT_SECONDS, LeasePool
from netboot.serve.dhcp.packet import MessageType, parse
from netboot.serve.dhcp.responder import respond
from netboot.serve.dhcp.scope import make_scopes
from tests.serve.dhcp.test_responder import FIRST, FULL, HOME, US, context
from tests.support.pxe_client import PxeClient

HOUR, SIZE = 3600, 10
SERVERS = (US, IPv4Address("10.0.0.2"))
BOTH = FULL.model_copy(update={"boot": Boot(servers=SERVERS)})
MACS = [f"52:54:00:00:00:{number:02x}" for number in range(60)]


def pool(half: int | None, size: int = SIZE, taken: Sequence[IPv4Address] = ()) -> LeasePool:
    made = LeasePool(AddressRange(first=FIRST, last=FIRST + size - 1), HOUR, {}, taken)
    made.half = half
    return made


def lease(leases: LeasePool, mac: str, now: float) -> IPv4Address:
    address = leases.offer(mac, now)
    assert address is not None
    assert leases.commit(mac, address, now)
    return address


def colliding(size: int = SIZE) -> tuple[str, str]:
    """Return two PCs with the same place."""
    by_place: dict[IPv4Address, str] = {}
    for mac in MACS:
        other = by_place.setdefault(lease(pool(0, size), mac, 0), mac)
        if other != mac:
            return other, mac
    raise AssertionError("60 PCs, and no two of them have the same of 10 places")


@given(st.sampled_from(MACS), st.sets(st.integers(0, SIZE - 1), max_size=SIZE - 1))
def test_a_pc_has_the_same_address_from_both(mac: str, numbers: set[int]) -> None:
    taken = [FIRST + number for number in numbers]
    addresses = {lease(pool(half, taken=taken), mac, 0) for half in (0, 1)}
    assert len(addresses) == 1 and not addresses & set(taken)


def test_a_server_alone_finds_the_same_place_as_before() -> None:
    for mac in MACS:
        assert lease(pool(None), mac, 0) == lease(pool(0), mac, 0)


def test_a_place_that_is_not_free_is_replaced_by_one_of_the_servers_own_half() -> None:
    one, other = colliding()
    for half in (0, 1):
        leases = pool(half)
        lease(leases, one, 0)
        instead = lease(leases, other, 0)
        assert (int(instead) - int(FIRST)) // (SIZE // 2) == half


def test_a_server_gives_out_the_other_half_when_its_own_is_full() -> None:
    leases = pool(1)
    assert {lease(leases, mac, 0) for mac in MACS[:SIZE]} == {FIRST + n for n in range(SIZE)}
    assert leases.offer(MACS[SIZE], 1) is None


def test_a_lease_of_ours_proves_nothing_when_the_pc_asks_anew() -> None:
    """The other server may have given the address to another PC meanwhile."""
    leases, alone, now = pool(0), pool(None), RECENT_SECONDS
    address = lease(leases, MACS[0], 0)
    assert address == lease(alone, MACS[0], 0)
    assert not leases.is_unproven(address, now - 1), "the next stage of the same boot"
    assert leases.offer(MACS[0], now) == alone.offer(MACS[0], now) == address
    assert leases.is_unproven(address, now) and not leases.is_unproven(address, now)
    assert not alone.is_unproven(address, now)
    before = leases.changes
    assert leases.occupied(address, now + 1) and leases.changes == before + 1
    assert not alone.occupied(address, now + 1)
    assert leases.offer(MACS[0], now + 2) != address


def test_an_address_that_was_leased_after_the_probe_stays() -> None:
    leases = pool(0)
    address = leases.offer(MACS[0], 10)
    assert address is not None and leases.is_unproven(address, 10)
    assert leases.commit(MACS[0], address, 11)
    assert not leases.occupied(address, 12)


def test_an_expired_lease_is_offered_and_probed_like_a_new_address() -> None:
    leases = pool(1)
    address = lease(leases, MACS[0], 0)
    assert leases.offer(MACS[0], 2 * HOUR) == address
    assert leases.is_unproven(address, 2 * HOUR)
    assert leases.as_json() == {"leases": []}


def test_the_lease_of_the_other_server_is_adopted() -> None:
    one, other = colliding()
    leases = pool(0)
    place = lease(leases, one, 0)
    assert not leases.is_doubtful(one, place, 1) and leases.is_doubtful(other, place, 1)
    leases.adopt(other, place, 1, proven=False)
    assert leases.owner_of(place) == one, "its machine may sleep"
    leases.adopt(other, place, 1, proven=True)
    assert leases.owner_of(place) == other and leases.commit(other, place, 2)
    assert leases.is_doubtful(one, place, 3)
    far = pool(0, taken=[FIRST])
    assert not far.is_doubtful(one, FIRST, 1) and not far.is_doubtful(one, FIRST + SIZE, 1)
    far.adopt(one, FIRST, 1, proven=True)
    assert far.owner_of(FIRST) is None


def test_neither_server_gives_out_the_others_address() -> None:
    wide = BOTH.model_copy(
        update={"dhcp": BOTH.dhcp.model_copy(update={"range": AddressRange(first=US, last=US + 2)})}
    )
    for us in SERVERS:
        (scope,) = make_scopes(wide, [HOME], [us])
        assert scope.pool.half == SERVERS.index(us)
        assert lease(scope.pool, MACS[0], 0) == US + 2
    assert make_scopes(FULL, [HOME], [US])[0].pool.half is None


@pytest.mark.parametrize("kind", ["init-reboot", "rebinding"])
def test_a_lease_that_we_do_not_know_is_looked_for_before_it_is_lent(kind: str) -> None:
    place, pc = context(BOTH), PxeClient(mac=MACS[0])
    wanted = FIRST + 7

    def ask(now: float) -> Reply | Ignored:
        data = (
            pc.plain("request", ("requested_addr", str(wanted)))
            if kind == "init-reboot"
            else pc.plain("request", ciaddr=str(wanted))
        )
        return respond(parse(data), place, now)

    claim = ask(0)
    assert isinstance(claim, Claim) and not claim.serious
    assert (claim.kind, claim.mac, claim.address) == (MessageType.DHCPREQUEST, MACS[0], wanted)
    (scope,) = place.scopes
    scope.pool.adopt(claim.owner, claim.address, 1, proven=True)
    reply = ask(2)
    assert isinstance(reply, Reply) and reply.answer is MessageType.DHCPACK
    assert reply.packet.yiaddr == wanted and reply.renews
    assert isinstance(ask(3 + OFFER_SECONDS), Reply), "it is known from now on"
    alone = replace(place, profile=FULL, scopes=make_scopes(FULL, [IPv4Network(HOME)], [US]))
    reply = respond(parse(pc.plain("request", ciaddr=str(wanted))), alone, 0)
    assert isinstance(reply, Reply), "without boot.servers at once, as ever"
