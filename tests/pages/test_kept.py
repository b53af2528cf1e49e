"""Kept areas: each boot of a seat finds what the one before wrote, and shuts it out."""

import itertools
import json

import pytest

from netboot.pages.access import Access
from netboot.pages.kept import KeptTable
from netboot.pages.lease import UNKNOWN, Attached, Ends, Lease, Refused
from netboot.pages.nbd.name import WireName

MIB = 1 << 20
SEAT, EXPORT = "52:54:00:00:00:01", "seat-525400000001-persist"
OTHER = "seat-525400000002-persist"


def table(capacity_bytes: int = 100 * MIB) -> KeptTable:
    numbers = itertools.count(1)
    return KeptTable(capacity_bytes, lambda: f"key{next(numbers)}")


def granted(answer: Lease | Refused) -> Lease:
    assert isinstance(answer, Lease), answer
    return answer


def name(token: str, set_number: int = 0, export: str = EXPORT) -> WireName:
    return WireName.parse(f"{export}@{token}.{set_number:x}")


def attached(answer: Attached | Refused) -> Attached:
    assert isinstance(answer, Attached), answer
    return answer


def booted(areas: KeptTable, token: str, now: float = 0.0, size: int = 10 * MIB) -> Attached:
    granted(areas.grant(SEAT, EXPORT, token, size, now))
    return attached(areas.attach(name(token), now))


def test_each_boot_gets_the_same_area() -> None:
    areas = table()
    first = booted(areas, "one")
    second = booted(areas, "two", now=1e9)  # no time ends it
    assert first.lease.generation == second.lease.generation == EXPORT
    assert first.lease.size_bytes == second.lease.size_bytes == 10 * MIB


def test_made_up_pcs_leave_half_of_the_room_to_pcs_of_the_profile() -> None:
    areas = table(40 * MIB)
    granted(areas.grant(SEAT, EXPORT, "one", 20 * MIB, 0.0, is_named=False))
    refused = areas.grant("made up", OTHER, "two", MIB, 0.0, is_named=False)
    assert isinstance(refused, Refused) and "of 20 MiB left" in refused.reason
    granted(areas.grant("named", OTHER, "two", 20 * MIB, 0.0))


def test_a_new_boot_shuts_out_the_one_before_when_it_attaches() -> None:
    areas = table()
    first = booted(areas, "one")
    granted(areas.grant(SEAT, EXPORT, "two", 10 * MIB, 1.0))
    # Granted alone changes nothing: somebody else may have fetched the script.
    assert areas.ends(name("one")) == Ends(again=EXPORT)
    assert areas.ends(name("two")) == Ends(replaced=(EXPORT,))
    again = attached(areas.attach(name("one", 7), 1.0))
    second = attached(areas.attach(name("two"), 2.0))
    assert second.fences and again.fences
    assert first.set_number < again.set_number < second.set_number
    assert areas.attach(name("one", 0xFFFF_FFFF_FFFF_FFFF), 3.0) == UNKNOWN
    assert areas.ends(name("two")) == Ends(again=EXPORT)


def test_an_older_set_of_the_same_boot_is_refused() -> None:
    areas = table()
    booted(areas, "one")
    assert attached(areas.attach(name("one", 5), 0.0)).fences
    assert not attached(areas.attach(name("one", 5), 0.0)).fences
    refused = areas.attach(name("one", 4), 0.0)
    assert refused == Refused(f"set 4 of {EXPORT} has been replaced by a newer one")


def test_the_key_takes_the_tokens_place() -> None:
    areas = table()
    booted(areas, "one")
    key = areas.key_for(name("one"))
    assert key == "key2"
    assert attached(areas.attach(name(key, 1), 0.0)).proves
    assert areas.find(name("one")) == UNKNOWN
    assert areas.key_for(name(key)) == ""
    # The same boot that asks again, as after a lost answer, gets no second token.
    granted(areas.grant(SEAT, EXPORT, "one", 10 * MIB, 0.0))
    assert areas.find(name("one")) == UNKNOWN


@pytest.mark.parametrize(
    "wrong", ["seat@one", f"{EXPORT}@two", EXPORT, f"{EXPORT}@one.x", f"{EXPORT}@"]
)
def test_other_names_open_nothing(wrong: str) -> None:
    areas = table()
    booted(areas, "one")
    found = WireName.parse(wrong)
    assert areas.find(found) == areas.attach(found, 0.0) == UNKNOWN
    assert (areas.ends(found), areas.key_for(found)) == (Ends(), "")


def test_room_is_promised_in_full() -> None:
    areas = table(25 * MIB)
    booted(areas, "one")
    refused = areas.grant("other", OTHER, "two", 16 * MIB, 0.0)
    assert refused == Refused("no room to keep files: 16 MiB asked, 15 MiB of 25 MiB left")
    granted(areas.grant("other", OTHER, "two", 15 * MIB, 0.0))
    assert areas.promised_bytes == 25 * MIB
    areas.capacity_bytes = MIB  # the disk has become smaller: what is promised stays
    granted(areas.grant(SEAT, EXPORT, "three", 10 * MIB, 1.0))
    assert isinstance(areas.grant("x", "x", "four", 0, 0.0), Refused)


def test_a_grant_that_nobody_attaches_is_forgotten() -> None:
    areas = table(10 * MIB)
    granted(areas.grant("stranger", OTHER, "one", 10 * MIB, 0.0))
    assert isinstance(areas.grant(SEAT, EXPORT, "two", MIB, 100.0), Refused)
    granted(areas.grant(SEAT, EXPORT, "two", MIB, 121.0))
    assert [lease.export for lease in areas.leases()] == [EXPORT]


def test_an_area_grows_only_where_no_worker_has_it_open_and_never_shrinks() -> None:
    areas = table()
    booted(areas, "one")
    assert booted(areas, "two", size=20 * MIB).lease.size_bytes == 10 * MIB
    areas = restored(areas)
    assert granted(areas.grant(SEAT, EXPORT, "three", MIB, 0.0)).size_bytes == 10 * MIB
    assert granted(areas.grant(SEAT, EXPORT, "three", 20 * MIB, 0.0)).size_bytes == 20 * MIB
    assert granted(areas.grant(SEAT, EXPORT, "three", 200 * MIB, 0.0)).size_bytes == 20 * MIB


def restored(areas: KeptTable) -> KeptTable:
    following = table(areas.capacity_bytes)
    following.restore(json.loads(json.dumps(areas.as_json())))
    return following


def test_the_next_server_knows_boots_sets_and_keys() -> None:
    areas = table()
    before = booted(areas, "one").set_number
    key = areas.key_for(name("one"))
    granted(areas.grant(SEAT, EXPORT, "two", 10 * MIB, 1.0))
    areas = restored(areas)
    assert areas.resume(EXPORT, before + 3) is not None, "a set that was not saved"
    assert isinstance(areas.attach(name("one", 2), 2.0), Refused)
    assert attached(areas.attach(name(key, 3), 2.0)).proves
    attached(areas.attach(name("two"), 3.0))
    assert areas.resume(EXPORT, before) is None, "of a boot that was replaced"
    assert areas.resume(OTHER, before) is None
    assert attached(restored(areas).attach(name("two"), 4.0)).set_number > before


def test_an_area_whose_file_is_gone_gets_another_name() -> None:
    areas = table()
    booted(areas, "one")
    assert areas.generation_of(EXPORT) == restored(areas).generation_of(EXPORT) == "key1"
    areas.renew(EXPORT)
    assert areas.generation_of(EXPORT) == "key3"


def test_a_damaged_area_is_refused_until_the_next_server() -> None:
    areas = table()
    booted(areas, "one")
    areas.lose(EXPORT)
    refused = areas.attach(name("one"), 0.0)
    assert refused == Refused(f"the file of {EXPORT} is damaged: restore it on the server")
    assert areas.resume(EXPORT, 1 << 70) is None
    attached(restored(areas).attach(name("one"), 0.0))


@pytest.mark.parametrize(
    "wrong", [{"boot": "1"}, {"size_bytes": None}, {"current": 5}, {"seat": 1}]
)
def test_what_is_no_table_is_refused(wrong: dict[str, object]) -> None:
    areas = table()
    booted(areas, "one")
    (row,) = areas.as_json()
    with pytest.raises(ValueError, match="damaged"):
        table().restore([{**row, **wrong}])
    with pytest.raises(ValueError, match="damaged: an area without 'seat'"):
        table().restore([{}])
    assert "one" not in repr(Access("one"))
