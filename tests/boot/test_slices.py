"""The slices of the initramfs for a card and a profile, and the division of made-up modules."""

import pytest

from netboot.boot.plan import features
from netboot.boot.slices import BASE, Catalogue, Slice, file_of
from netboot.images.divide import divide
from netboot.images.modules import Module
from netboot.profile.profile import Profile
from netboot.profile.sections import Root, Swap, Zswap

CATALOGUE = Catalogue(
    {
        BASE: Slice(),
        "phys": Slice(),
        "encrypt": Slice(),
        "e1000": Slice(("8086:100e", "8086:100f")),
        "r8169": Slice(("10ec:8168",), ("phys",)),
        "typhoon": Slice(("10b7:9904",), lacks=(("3com/typhoon.bin", "firmware-misc-nonfree"),)),
        "starfire": Slice(("9004:6915",), lacks=(("adaptec/starfire_rx.bin", ""),)),
        "tulip": Slice(("10b7:9300", "1011:*")),
        "de2104x": Slice(("1011:0002",)),
    },
    {"mlx5_core": ("15b3:1013", "15b3:1015")},
)


@pytest.mark.parametrize(
    ("nic", "features", "names"),
    [
        ((0x8086, 0x100E), (), "base e1000"),
        ((0x8086, 0x100E), ("lzo", "encrypt"), "base encrypt e1000"),
        ((0x10EC, 0x8168), (), "base phys r8169"),
        ((0x1011, 0x0002), (), "base tulip de2104x"),
        ((0x1011, 0x0009), (), "base tulip"),
        ((0x8086, 0x0001), ("encrypt",), ""),
        (None, ("encrypt",), ""),
    ],
)
def test_a_card_gets_its_drivers_and_what_the_profile_asks_for(
    nic: tuple[int, int] | None, features: tuple[str, ...], names: str
) -> None:
    assert CATALOGUE.choose(nic, features) == tuple(map(file_of, names.split()))


@pytest.mark.parametrize(
    ("nic", "complaint"),
    [
        ((0x8086, 0x100E), ""),
        ((0x10EC, 0x8168), ""),
        ((0x8086, 0x0001), "8086:0001: no driver is known; the PC gets all drivers of the images"),
        ((0x15B3, 0x1013), "15b3:1013: its driver mlx5_core is left out of the images; the PC"),
        (
            (0x10B7, 0x9904),
            "driver, 3com/typhoon.bin; Debian's firmware-misc-nonfree has it (non-free-firmware)",
        ),
        ((0x9004, 0x6915), "driver, adaptec/starfire_rx.bin; Debian has none"),
    ],
)
def test_what_the_images_lack_for_a_card(nic: tuple[int, int], complaint: str) -> None:
    said = CATALOGUE.complaint(nic)
    assert complaint in said and bool(complaint) is bool(said)


def test_a_manifest_keeps_the_catalogue() -> None:
    assert Catalogue.of(CATALOGUE.as_json()) == CATALOGUE
    assert Catalogue.of({}).choose((0x8086, 0x100E), ()) == ()


def test_features_of_a_seat() -> None:
    mac = "52:54:00:12:34:56"
    assert features(Profile().seat_of(mac)) == ("lzo",)
    swap = Swap(encrypt=True, zswap=Zswap(enabled=False))
    assert features(Profile(swap=swap).seat_of(mac)) == ("encrypt",)
    assert "vlan" in features(Profile.model_validate({"boot": {"vlan": 10}}).seat_of(mac))
    root = Root(kind="nbd", image="/srv/root.squashfs")
    assert {"image", "verify", "encrypt"} <= set(features(Profile(root=root).seat_of(mac)))
    assert "encrypt" not in features(Profile(root=root, swap=Swap(encrypt=False)).seat_of(mac))
    root = Root(kind="nbd", image="/srv/root.squashfs", verify=False)
    assert "verify" not in features(Profile(root=root).seat_of(mac))


def module(path: str, *depends: str, aliases: tuple[str, ...] = ()) -> Module:
    return Module(
        f"kernel/{path}.ko", path.rpartition("/")[2].replace("-", "_"), depends, aliases=aliases
    )


def test_modules_are_divided() -> None:
    card = "drivers/net/ethernet/maker"
    chosen = (
        module("drivers/block/nbd"),
        module("drivers/md/dm-mod"),
        module("drivers/md/dm-crypt", "dm_mod"),
        module("drivers/net/phy/libphy"),
        module("drivers/net/phy/broadcom", "libphy"),
        module("drivers/net/mii"),
        module(f"{card}/plain", "mii", "linked", aliases=("pci:v00008086d0000100Esv*sd*bc*sc*i*",)),
        module(f"{card}/gigabit", "libphy", aliases=("pci:v00001011d*sv*sd*bc02sc00i*",)),
        module(f"{card}/library"),
        module("drivers/virtio/virtio_pci", aliases=("pci:v00001AF4d*sv*sd*bc*sc*i*",)),
        module("drivers/net/virtio_net"),
        module("drivers/net/usb/asix", aliases=("usb:v0B95p7720d*",)),
    )
    found = {
        name: ([each.name for each in modules], row)
        for name, row, modules in divide(chosen, frozenset({"linked"}))
    }
    assert found[BASE] == (["nbd"], Slice())
    assert found["encrypt"] == (["dm_crypt", "dm_mod"], Slice())
    assert found["phys"] == (["broadcom", "libphy"], Slice())
    assert found["plain"] == (["plain", "mii"], Slice(("8086:100e",)))
    assert found["gigabit"] == (["gigabit"], Slice(("1011:*",), ("phys",)))
    assert found["virtio_pci"] == (["virtio_net", "virtio_pci"], Slice(("1af4:*",)))
    assert not {"library", "asix", "mii", "virtio_net"} & found.keys()


def test_the_card_of_a_bus_that_the_kernel_has_built_in_gets_its_slice() -> None:
    linked = frozenset({"virtio_pci", "virtio"})
    chosen = (
        module("drivers/block/nbd"),
        module("drivers/net/virtio_net", "virtio", "failover"),
        module("net/core/failover"),
    )
    (slice_,) = (each for each in divide(chosen, linked) if each[0] == "virtio_pci")
    _, row, modules = slice_
    assert row == Slice(("1af4:*",))
    assert [each.name for each in modules] == ["virtio_net", "failover"]
    assert "virtio_pci" not in {name for name, _, _ in divide(chosen[:1], linked)}
