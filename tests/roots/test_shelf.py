"""Which version a PC boots, and what keeps a version from booting."""

import os
from pathlib import Path

import pytest

from netboot.errors import OperatorError
from netboot.roots import checks
from netboot.roots.library import Library
from netboot.roots.shelf import Shelf
from tests.roots.making import KERNEL, make_version

KERNELS = {"amd64": KERNEL, "i386": "6.1.0-56-686-pae"}
UPDATE = "sudo netboot image update kiosk"


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "roots")


def export_of(shelf: Shelf) -> str:
    found = shelf.boots("kiosk")
    return "" if found is None else found.export


def test_a_new_version_and_another_use_are_found_at_once(library: Library) -> None:
    shelf = Shelf(library)
    assert export_of(shelf) == ""
    assert shelf.obstacle("kiosk", ["amd64"]) == (
        f"root image 'kiosk': there is none in {library.folder}; sudo netboot image build kiosk"
    )
    old = make_version(library)
    assert export_of(shelf) == f"image-{old.manifest.short}" and not shelf.obstacle("kiosk", [])
    new = make_version(library, content=b"new")
    assert export_of(shelf) == f"image-{new.manifest.short}"
    library.use(old)
    found = shelf.boots("kiosk")
    assert found is not None and found.tree == old.manifest.tree
    assert shelf.version("kiosk", new.manifest.short) == new
    assert shelf.version("other", new.manifest.short) is None
    old.image.unlink()
    assert export_of(shelf) == "", "somebody has removed its files"


def test_the_manifest_is_read_once(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    version, shelf = make_version(library), Shelf(library)
    assert export_of(shelf)
    monkeypatch.setattr(Library, "current", lambda *_: pytest.fail("read again"))
    assert export_of(shelf) == f"image-{version.manifest.short}"


@pytest.mark.parametrize(
    ("kernels", "processors", "problem"),
    [
        ((KERNEL,), ["amd64"], ""),
        ((KERNEL, "6.1.0-50-amd64"), ["i386", "amd64"], ""),
        ((), [], ""),
        (
            ("6.1.0-50-amd64", "6.1.0-51-amd64"),
            ["amd64"],
            f"it has modules for 6.1.0-50-amd64, 6.1.0-51-amd64 only, and the PCs' kernel is {KERNEL} (netboot build)",
        ),
        ((), ["amd64"], f"it has no modules, and the PCs' kernel is {KERNEL} (netboot build)"),
        (
            ("6.1.0-50-amd64",),
            ["amd64", "i386"],
            (
                "it has modules for 6.1.0-50-amd64 only, and the PCs' kernel is "
                f"{KERNEL} or 6.1.0-56-686-pae (netboot build)"
            ),
        ),
    ],
)
def test_modules_have_to_fit_the_kernel_of_the_boot_images(
    library: Library, kernels: tuple[str, ...], processors: list[str], problem: str
) -> None:
    version = make_version(library, kernels=kernels)
    told = Shelf(library, KERNELS).obstacle("kiosk", processors)
    assert told == (f"root image {version.label}: {problem}; {UPDATE}" if problem else "")
    assert told == checks.obstacle(library, "kiosk", KERNELS, processors)


def test_an_image_for_another_processor_is_told_with_the_remedy(library: Library) -> None:
    version = make_version(library, architecture="i386")
    for told in (
        Shelf(library, KERNELS).obstacle("kiosk", ["amd64", "arm64"]),
        checks.obstacle(library, "kiosk", KERNELS, ["amd64", "arm64"]),
    ):
        assert told == (
            f"root image {version.label}: it is for i386, and these PCs are amd64 or arm64; add i386 to "
            "boot.architectures if they can run it, otherwise build an image for amd64 or arm64"
        )


def test_a_pc_boots_a_kernel_whose_drivers_the_image_has(library: Library) -> None:
    make_version(library, architecture="i386", kernels=("6.1.0-56-686-pae",))
    found = Shelf(library, KERNELS).boots("kiosk")
    assert found is not None and found.processors == ("i386",)
    assert Shelf(library, KERNELS).obstacle("kiosk", ["amd64", "i386"]) == ""


def test_each_fault_of_an_image_is_one_line(library: Library) -> None:
    version = make_version(library, init="")
    label = version.label
    with pytest.raises(OperatorError) as caught:
        checks.check(library, {"kiosk", "thin"}, KERNELS, ["amd64"])
    assert str(caught.value).splitlines() == [
        f"root image {label}: it has no init, so no PC can start it; {UPDATE}",
        f"root image 'thin': there is none in {library.folder}; sudo netboot image build thin",
    ]


def test_homes_on_a_server_need_a_client_in_the_image(library: Library) -> None:
    version = make_version(library, nfs=False)
    checks.check(library, {"kiosk"}, KERNELS, ["amd64"])
    with pytest.raises(OperatorError) as caught:
        checks.check(library, {"kiosk"}, KERNELS, ["amd64"], {"kiosk", "missing"})
    assert str(caught.value) == (
        f"root image {version.label}: it lacks the kernel driver fs/nfs/nfsv4, which seat.home needs "
        f"(keep_drivers in its definition); {UPDATE}"
    )


def test_damage_is_found_cheaply_or_by_reading_all(library: Library) -> None:
    version = make_version(library)
    checks.check(library, {"kiosk"}, KERNELS, ["amd64"])
    assert checks.flaw(version) == checks.damage(version) == ""
    with version.image.open("r+b") as file:
        file.write(b"X")
    assert checks.flaw(version) == "" and checks.damage(version).startswith(
        "it is damaged: its SHA"
    )
    os.truncate(version.image, 4096)
    assert checks.damage(version) == "it is damaged: 4096 bytes, expected 12288"
    with pytest.raises(OperatorError, match="4096 bytes, expected 12288; sudo netboot image"):
        checks.check(library, {"kiosk"}, {}, ["amd64"])
    other = make_version(library, content=b"new")
    other.tree.write_bytes(bytes(4096))
    assert checks.flaw(other) == "its hash tree is damaged"
    other.tree.unlink()
    assert checks.damage(other) == f"{other.tree}: No such file or directory"


def test_the_kernels_are_those_of_the_boot_images() -> None:
    rows = {"amd64": {"kernel": KERNEL}, "i386": {}, "arm64": None, "x": {"kernel": 1}}
    assert checks.kernels_of(rows) == {"amd64": KERNEL} and checks.kernels_of(None) == {}
