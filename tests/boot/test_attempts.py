"""Attempts: the second try, and whose iPXE asks."""

import pytest

from netboot.boot.arch import (
    BY_NAME,
    LOADERS,
    OWN_FILES,
    OWN_IMAGE,
    OWN_SHIM,
    UNIFIED,
    loaders_for,
)
from netboot.boot.attempts import START_SECONDS, Attempts


def test_a_loader_that_is_heard_of_stays() -> None:
    attempts = Attempts()
    for _ in range(3):
        assert not attempts.restarted()
        attempts.loaded(1.0)
        attempts.started()
        attempts.scripted()
    assert attempts.failed == 0


def test_loaders_take_turns_until_one_is_heard_of() -> None:
    attempts = Attempts()
    attempts.loaded(1.0)
    assert attempts.restarted() and attempts.failed == 1
    assert not attempts.restarted(), "it asked again for the same boot"
    assert attempts.failed == 1
    attempts.loaded(20.0)
    assert attempts.restarted() and attempts.failed == 2
    attempts.loaded(40.0)
    attempts.started()
    assert not attempts.restarted() and attempts.failed == 2


def test_the_wanted_loader_comes_first_and_the_others_after_it() -> None:
    x64, bios = BY_NAME["uefi-x64"], BY_NAME["bios"]
    tried = [x64.loader_at(attempt, "auto", proxy=False, lacks=OWN_FILES) for attempt in range(4)]
    assert tried == ["snponly.efi", "ipxe.efi", "shimx64.efi", "snponly.efi"]
    words = ("ipxe", "native", "signed")
    first = [x64.loader_at(0, wanted, proxy=False, lacks=OWN_FILES) for wanted in words]
    assert first == ["snponly.efi", "ipxe.efi", "shimx64.efi"]
    assert bios.loader_at(0, "signed", proxy=False) == "undionly.kpxe", "no BIOS has Secure Boot"


def test_behind_a_proxy_what_would_not_find_it_is_left_to_who_asks_for_it() -> None:
    x64 = BY_NAME["uefi-x64"]
    tried = [x64.loader_at(attempt, "auto", proxy=True, lacks=OWN_FILES) for attempt in range(3)]
    assert tried == ["snponly.efi", "ipxe.efi", "snponly.efi"]
    assert x64.loader_at(0, "signed", proxy=True) == "shimx64.efi"


@pytest.mark.parametrize("name", ["uefi-x64", "uefi-x64-http"])
def test_an_own_image_comes_before_debians_grub_and_behind_a_proxy_too(name: str) -> None:
    """Firmware that does not know shim's key may know the operator's, and gets the image itself."""
    arch = BY_NAME[name]
    tried = [arch.loader_at(attempt, "auto", proxy=True) for attempt in range(4)]
    assert tried == ["snponly.efi", "ipxe.efi", OWN_SHIM, OWN_IMAGE]
    assert [arch.loader_at(at, "own", proxy=True) for at in (0, 1)] == [OWN_SHIM, OWN_IMAGE]
    assert arch.loader_at(0, "own", proxy=True, lacks=OWN_FILES) == "snponly.efi", "without keys"


def test_an_arm64_that_ipxe_does_not_suit_loads_the_kernel_itself() -> None:
    for arm64 in (BY_NAME["uefi-arm64"], BY_NAME["uefi-arm64-http"]):
        tried = [arm64.loader_at(attempt, "auto", proxy=True) for attempt in range(3)]
        assert tried == ["ipxe-arm64.efi", UNIFIED, "ipxe-arm64.efi"]
        lacks = ["ipxe-arm64.efi"]
        tried = [arm64.loader_at(0, wanted, proxy=True, lacks=lacks) for wanted in ("auto", "ipxe")]
        assert tried == [UNIFIED, UNIFIED]


def test_what_shim_loads_is_there_too() -> None:
    assert set(loaders_for(["amd64"])) == set(LOADERS) - {"ipxe-arm64.efi"}
    assert set(loaders_for(["arm64"])) == {"ipxe-arm64.efi"}
    assert loaders_for(["other"]) == {}


def test_a_pc_that_fetched_nothing_has_not_failed() -> None:
    attempts = Attempts()
    assert not attempts.restarted() and not attempts.restarted()
    assert attempts.failed == 0


def test_ours_is_who_asks_after_a_loader_was_sent_and_until_it_has_its_script() -> None:
    attempts = Attempts()
    assert not attempts.is_ours(0.0), "the card's, before anything was sent"
    attempts.started()
    assert not attempts.is_ours(0.0)
    attempts.loaded(10.0)
    assert attempts.is_ours(12.0)
    attempts.started()
    assert attempts.is_ours(10.0 + 10 * START_SECONDS), "its REQUEST, however late"
    attempts.scripted()
    assert not attempts.is_ours(14.0), "the card's, at the next boot"


def test_a_cards_ipxe_that_comes_late_has_been_switched_off_and_on() -> None:
    attempts = Attempts()
    attempts.loaded(10.0)
    assert not attempts.is_ours(10.0 + START_SECONDS + 0.1)
    assert attempts.restarted() and attempts.failed == 1


def test_a_false_question_of_the_firmware_costs_no_loader_that_works() -> None:
    attempts = Attempts()
    for boot in range(3):
        attempts.loaded(boot * 100.0)
        assert attempts.restarted(), "another machine asks in its name"
        assert attempts.is_ours(boot * 100.0 + 9)
        attempts.started()
        assert not attempts.restarted(), "and once more"
        assert attempts.is_ours(boot * 100.0 + 10), "its REQUEST"
        attempts.started()
        attempts.scripted()
        assert attempts.failed == 0


def test_only_a_loader_that_the_pc_has_can_fail() -> None:
    attempts = Attempts()
    attempts.loaded(1.0)
    assert [attempts.restarted() for _ in range(5)] == [True] + [False] * 4
    attempts.loaded(9.0)
    attempts.started()
    assert attempts.failed == 1, "the second one works, and stays"
