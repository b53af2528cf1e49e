"""PCs beside a DHCP server that names our boot files: dnsmasq with our snippet, no DHCP of ours."""

from collections import Counter
from collections.abc import Callable

import pytest

from tests.vm.conftest import Outcome
from tests.vm.test_firmware import by_tftp, in_order, kinds

Lab = Callable[..., Outcome]


def test_a_bios_boots_by_the_snippet_of_dnsmasq(lab: Lab) -> None:
    outcome = lab(*kinds("bios"), "--dhcp", "none")
    assert outcome.status == 0, outcome.report
    assert by_tftp(outcome, 0) == Counter(["boot.ipxe"]), "QEMU's ROM is an iPXE"
    assert in_order(outcome.stages(0), "dhcp", "tftp", "http", "lease", "swap", "userland")
    asked = [each for each in outcome.seats[0]["stages"] if each["stage"] == "dhcp"]
    assert asked and all(each["data"]["type"] == "DISCOVER" for each in asked), "none is answered"


@pytest.mark.nightly
def test_uefi_boots_by_the_snippet_of_dnsmasq_by_pxe_and_by_http(lab: Lab) -> None:
    outcome = lab(*kinds("uefi", "uefi-http"), "--dhcp", "none", "--memory", "512")
    assert outcome.status == 0, outcome.report
    assert by_tftp(outcome, 0) == Counter(["snponly.efi", "boot.ipxe"])
    assert by_tftp(outcome, 1) == Counter(["boot.ipxe"]), "its loader came by HTTP"
    for number in (0, 1):
        assert in_order(outcome.stages(number), "dhcp", "http", "lease", "swap", "userland")


@pytest.mark.nightly
@pytest.mark.long
def test_secure_boot_starts_beside_a_dhcp_server_that_names_shim(lab: Lab) -> None:
    """GRUB takes its server from the DHCPACK that gave the address, which names ours."""
    words = ("--dhcp", "none", "--memory", "512", "--set", "boot.loader=signed")
    outcome = lab(*kinds("uefi-secure"), *words)
    assert outcome.status == 0, outcome.report
    assert {"shimx64.efi", "grubx64.efi"} <= set(by_tftp(outcome, 0))
    assert in_order(outcome.stages(0), "dhcp", "tftp", "lease", "swap", "userland")


@pytest.mark.nightly
def test_sticks_that_know_the_server_need_no_boot_file_of_dhcp(lab: Lab) -> None:
    outcome = lab(
        *kinds("bios-usb", "uefi-usb", "uefi-arm64-usb"), "--dhcp", "none", "--memory", "512"
    )
    assert outcome.status == 0, outcome.report
    for number in (0, 1, 2):
        assert by_tftp(outcome, number) == Counter(), "all comes by HTTP"
        assert in_order(outcome.stages(number), "dhcp", "http", "lease", "swap", "userland")
