"""The real images, made of Debian's packages, and checked by kmod and busybox.

The first run downloads 90 MB into the build cache; later ones use the cache.
"""

import hashlib
import os
import random
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from netboot.boot import cpio
from netboot.boot.arch import loaders_for
from netboot.boot.slices import Catalogue
from netboot.errors import OperatorError
from netboot.images import build as images
from netboot.images import compiler, initramfs, kernel, modules, packages
from netboot.images.build import Built, build, build_load_image, default_cache
from netboot.images.cache import WAITING, Cache
from netboot.images.kernel import Kernel
from netboot.images.packages import Apt
from netboot.profile.processors import I386
from netboot.profile.profile import Profile
from netboot.profile.sections import Boot
from tests.images.test_cache import Steps
from tests.support import newc
from tests.support.newc import Member

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

MAX_INITRAMFS = 12_000_000  # bytes
# Drivers of cards in PCs of the last 25 years, of virtual cards, and of USB adapters.
CARDS = """
    3c59x 8139cp 8139too alx amd_xgbe atl1 atl1c atl1e atl2 atlantic b44 bnx2 e100 e1000 e1000e
    forcedeth igb igc ixgbe jme ne2k_pci pcnet32 r8169 sis190 sis900 skge sky2 sundance tg3 tulip
    via_rhine via_velocity dwmac_intel virtio_net vmxnet3 hv_netvsc xen_netfront asix ax88179_178a
    cdc_ether cdc_ncm r8152 smsc75xx smsc95xx lan78xx aqc111
"""
OTHERS = """
    nbd realtek xhci_pci ehci_pci ohci_pci uhci_hcd usbhid zstd lz4 zsmalloc z3fold overlay
    squashfs loop erofs crc32c_generic ext4
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(Profile(), tmp_path_factory.mktemp("images"), default_cache(), Steps())


@pytest.fixture(scope="module")
def linux(built: Built) -> Kernel:
    cache = Cache(default_cache())
    apt = Apt(cache.path / "apt")
    package = kernel.kernel_package(apt, apt.need(["linux-image-amd64"])["linux-image-amd64"])
    assert built.manifest["processors"]["amd64"]["packages"][package.name] == package.version
    with cache.alone(Steps()):
        return kernel.from_package(apt, package, cache, Steps())


@pytest.fixture(scope="module")
def archive(built: Built) -> bytes:
    image = built.folder / "amd64" / images.INITRAMFS_FILE
    return subprocess.run(["zstd", "-dc", image], capture_output=True, check=True).stdout


def test_the_kernel_unpacks_an_archive_with_a_window_of_1_mib(built: Built) -> None:
    for path in (built.folder / "amd64").glob("initramfs*.img"):
        header = path.read_bytes()[:6]
        assert header[:4] == b"\x28\xb5\x2f\xfd"
        assert not header[4] & 0x20, f"{path}: the header has no window, but the size (RFC 8878)"
        assert header[5] <= 10 << 3, f"{path}: windows of 2^(10 + exponent) bytes"


@pytest.fixture(scope="module")
def members(archive: bytes) -> dict[str, Member]:
    return {member.name: member for member in newc.members(archive)}


def test_everything_a_pc_is_sent_is_there(built: Built) -> None:
    paths = [path for path in built.folder.rglob("*") if path.is_file()]
    names = {str(path.relative_to(built.folder)) for path in paths}
    own = (images.KERNEL_FILE, images.INITRAMFS_FILE, images.STUB_FILE, *catalogue(built).files())
    assert names == {
        images.MANIFEST_FILE,
        *loaders_for(["amd64"]),
        *(f"amd64/{name}" for name in own),
    }
    assert (built.folder / "amd64" / images.INITRAMFS_FILE).stat().st_size <= MAX_INITRAMFS
    assert {file["name"] for file in built.manifest["files"]} == names - {images.MANIFEST_FILE}
    assert str(default_cache()) not in (built.folder / images.MANIFEST_FILE).read_text()


BUILD_ANEW = """
import sys
from pathlib import Path
from netboot.images import initramfs
from netboot.images.build import build
from netboot.profile.profile import Profile
from tests.images.test_cache import Steps
initramfs.COMPRESS = ("zstd", "-1", *initramfs.COMPRESS[2:])  # level 19 takes half a minute
build(Profile(), Path(sys.argv[1]), Path(sys.argv[2]), Steps())
"""


def test_the_same_ingredients_give_the_same_bytes_elsewhere(built: Built, tmp_path: Path) -> None:
    """Use another cache, folder, umask and hash seed; only Debian's packages are the same."""
    with Cache(default_cache()).alone(Steps()):  # another build changes these folders
        for name in ("one", "two"):
            for kind in ("apt", "apt-firmware", "apt-newest", "kernel", "firmware"):
                shutil.copytree(default_cache() / kind, tmp_path / name / "cache" / kind)
    for name, umask in (("one", 0o022), ("two", 0o077)):
        subprocess.run(
            [
                sys.executable,
                "-c",
                BUILD_ANEW,
                tmp_path / name / "images",
                tmp_path / name / "cache",
            ],
            env={**os.environ, "PYTHONHASHSEED": str(umask), "TZ": f"UTC{umask}"},
            umask=umask,
            check=True,
        )
    subprocess.run(["diff", "-r", tmp_path / "one/images", tmp_path / "two/images"], check=True)


def test_a_second_build_gives_the_same_bytes(built: Built, tmp_path: Path) -> None:
    steps = Steps()
    build(Profile(), tmp_path / "second", default_cache(), steps)
    assert [step for step in steps.steps if step != WAITING] == ["looking for packages"]
    subprocess.run(["diff", "-r", built.folder, tmp_path / "second"], check=True)


def test_the_initramfs_is_its_records_in_any_order(
    archive: bytes, members: dict[str, Member]
) -> None:
    records = [
        cpio.Record(member.name, member.mode, member.content, member.device)
        for member in members.values()
    ]
    random.shuffle(records)
    assert cpio.archive(records) == archive


def test_a_finished_folder_is_left_alone(built: Built) -> None:
    before = {path: path.stat().st_ino for path in built.folder.rglob("*")}
    build(Profile(), built.folder, default_cache(), Steps())
    assert {path: path.stat().st_ino for path in built.folder.rglob("*")} == before


def test_a_damaged_folder_is_mended(built: Built, tmp_path: Path) -> None:
    shutil.copy(built.folder / images.MANIFEST_FILE, tmp_path)
    (tmp_path / "amd64").mkdir()
    (tmp_path / "amd64" / images.INITRAMFS_FILE).write_bytes(b"half")
    assert build(Profile(), tmp_path, default_cache(), Steps()).manifest == built.manifest
    assert (tmp_path / "amd64" / images.INITRAMFS_FILE).stat().st_size > 1_000_000


@pytest.mark.parametrize("name", [*CARDS.split(), *OTHERS.split()])
def test_a_driver_is_there(linux: Kernel, name: str) -> None:
    assert name in {module.name for module in linux.modules}


MAX_FOR_KNOWN_CARD = 2_500_000  # bytes


@pytest.mark.parametrize(
    ("nic", "driver"),
    [
        ((0x8086, 0x100E), "e1000"),
        ((0x8086, 0x10D3), "e1000e"),
        ((0x10EC, 0x8168), "r8169"),
        ((0x10EC, 0x8139), "8139too"),
        ((0x10B7, 0x9200), "3c59x"),
        ((0x14E4, 0x1677), "tg3"),
        ((0x14E4, 0x4401), "b44"),
        ((0x1969, 0x1091), "alx"),
        ((0x1106, 0x3065), "via-rhine"),
        ((0x10DE, 0x0057), "forcedeth"),
        ((0x15AD, 0x07B0), "vmxnet3"),
        ((0x1AF4, 0x1000), "virtio_net"),
        ((0x1AF4, 0x1041), "virtio_net"),
    ],
)
def test_a_known_card_gets_little_and_all_that_its_driver_needs(
    built: Built, linux: Kernel, nic: tuple[int, int], driver: str
) -> None:
    files = catalogue(built).choose(nic, ["encrypt", "mirror"])
    folder = built.folder / "amd64"
    assert sum((folder / name).stat().st_size for name in files) <= MAX_FOR_KNOWN_CARD
    found: dict[str, Member] = {}
    for name in files:
        done = subprocess.run(["zstd", "-dc", folder / name], capture_output=True, check=True)
        found |= {member.name: member for member in newc.members(done.stdout)}
    base = f"lib/modules/{linux.version}"
    table = dict(
        line.split(":") for line in found[f"{base}/modules.dep"].content.decode().splitlines()
    )
    for wanted in (driver, "nbd", "dm-crypt", "raid1"):
        (path,) = [path for path in table if path.endswith(f"/{wanted}.ko")]
        for each in (path, *table[path].split()):
            assert f"{base}/{each}" in found, each
        for name in next(m for m in linux.modules if m.path == path).firmware:
            assert f"lib/firmware/{name}" in found or name in lost_firmware(built), name


def catalogue(built: Built, processor: str = "amd64") -> Catalogue:
    return Catalogue.of(built.manifest["processors"][processor])


def test_every_archive_brings_the_sums_of_its_files(built: Built) -> None:
    """The sums are checked as busybox does it in the PC; initramfs/check.sh."""
    folder, key = built.folder / "amd64", b""
    for name in (images.INITRAMFS_FILE, *catalogue(built).files()):  # the full one has the key
        data = subprocess.run(["zstd", "-dc", folder / name], capture_output=True, check=True)
        found = {m.name: m.content for m in newc.members(data.stdout) if stat.S_ISREG(m.mode)}
        lines = found.pop(f"sums/{name}").decode().splitlines()
        found.pop("bin/busybox", None)
        key = found.setdefault("etc/netboot.build", key)
        assert lines == [
            f"{hashlib.sha256(content).hexdigest()}  {path}"
            for path, content in sorted(found.items())
        ], name


def test_the_catalogue_knows_what_cards_will_lack(built: Built) -> None:
    complaint = catalogue(built).complaint
    assert complaint((0x8086, 0x100E)) == ""
    assert "mlx5_core is left out" in complaint((0x15B3, 0x1013))
    assert "adaptec/starfire_rx.bin" in complaint((0x9004, 0x6915))
    assert "no driver is known" in complaint((0xFFFE, 0x0001))
    realtek = complaint((0x10EC, 0x8168))
    # A warning says that the mirror does not have the firmware.
    assert "firmware-realtek" in realtek if built.warnings else realtek == ""


def lost_firmware(built: Built) -> set[str]:
    rows = built.manifest["processors"]["amd64"]["firmware_missing"].values()
    return {row["file"] for files in rows for row in files}


def test_init_is_ours_and_can_be_run(members: dict[str, Member]) -> None:
    sources = initramfs.sources()
    assert members["init"].content == (sources / "init").read_bytes()
    for name in ("init", "udhcpc.sh", "bin/busybox", "sbin/agent", "busybox/etc/rc", "root/nbd"):
        assert stat.filemode(members[name].mode) == "-rwxr-xr-x", name
    assert members["root/ram"].content == (sources / "root/ram").read_bytes()
    assert members["bin/sh"].content == b"busybox"
    assert members["dev/console"].device == (5, 1)
    assert not [name for name in members if name.startswith(("agent/", "lab/"))]


def test_applets_are_those_that_busybox_lists(members: dict[str, Member], tmp_path: Path) -> None:
    (busybox := tmp_path / "busybox").write_bytes(members["bin/busybox"].content)
    busybox.chmod(0o755)
    done = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    listed = set(done.stdout.split()) - {"busybox"}
    assert set(initramfs.applets(busybox.read_bytes())) == listed
    with pytest.raises(OperatorError, match="no table of its applets"):
        initramfs.applets(b"\0[\0[[\0cat\0\0")


def test_busybox_reads_the_archive(
    archive: bytes, members: dict[str, Member], tmp_path: Path
) -> None:
    busybox = tmp_path / "busybox"
    busybox.write_bytes(members["bin/busybox"].content)
    busybox.chmod(0o755)
    done = subprocess.run([busybox, "cpio", "-t"], input=archive, capture_output=True, check=True)
    assert done.stdout.decode().splitlines() == list(members)


def test_modinfo_of_kmod_reads_the_same(linux: Kernel) -> None:
    paths = [linux.folder / module.path for module in linux.modules]
    done = subprocess.run(["modinfo", "-0", *paths], capture_output=True, text=True, check=True)
    theirs: list[dict[str, list[str]]] = []
    for entry in done.stdout.split("\0"):
        key, _, value = entry.partition("=")
        if key.startswith("filename:"):
            theirs.append({})
        else:
            theirs[-1].setdefault(key, []).append(value)
    assert len(theirs) == len(paths) > 100
    for module, fields in zip(linux.modules, theirs, strict=True):
        depends = fields["depends"][0].replace("-", "_").split(",")
        assert module.name == fields.get("name", [module.name])[0]
        assert sorted(filter(None, depends)) == list(module.depends), module.name
        assert sorted(fields.get("alias", [])) == sorted(module.aliases), module.name
        assert sorted(set(fields.get("firmware", []))) == list(module.firmware), module.name


def test_depmod_finds_the_same_needs_in_the_symbols(linux: Kernel, tmp_path: Path) -> None:
    tree = tmp_path / "lib/modules" / linux.version
    shutil.copytree(linux.folder, tree)
    (tree / "modules.order").touch()
    subprocess.run(["depmod", "-b", tmp_path, linux.version], check=True)
    ours, theirs = (
        {
            path: set(needs.split())
            for path, needs in (line.split(":") for line in table.splitlines())
        }
        for table in (modules.dep_table(linux.modules), (tree / "modules.dep").read_text())
    )
    softer = {module.path for module in linux.modules if module.soft}
    assert ours.keys() == theirs.keys()
    for path, needs in theirs.items():
        assert needs <= ours[path], path
        assert needs == ours[path] or softer & {path, *ours[path]}, path

    def devices(table: str) -> set[str]:
        return set(
            re.findall(r"^alias (?:pci|usb|virtio|vmbus|xen|hid|mdio):.*$", table, re.MULTILINE)
        )

    our_aliases = devices(modules.alias_table(linux.modules))
    assert our_aliases == devices((tree / "modules.alias").read_text())
    assert len(our_aliases) > 500


def test_firmware_is_in_unless_debian_ships_none(
    built: Built, linux: Kernel, members: dict[str, Member]
) -> None:
    wanted = {name for module in linux.modules for name in module.firmware}
    missing = built.manifest["processors"]["amd64"]["firmware_missing"]
    assert {f"lib/firmware/{name}" for name in wanted - lost_firmware(built)} <= members.keys()
    if not built.warnings:  # the mirror has the component
        assert {row["package"] for rows in missing.values() for row in rows} == {""}
        assert "lib/firmware/rtl_nic/rtl8168h-2.fw" in members


def test_the_load_image_adds_to_the_userland() -> None:
    image = build_load_image(default_cache())
    assert image.name == images.LOAD_FILE
    done = subprocess.run(["zstd", "-dc", image], capture_output=True, check=True)
    found = {member.name: member for member in newc.members(done.stdout)}
    assert {name for name, member in found.items() if stat.S_ISREG(member.mode)} == {
        "userland/bin/memload",
        "userland/etc/netboot.d/40-agent",
        "userland/etc/netboot.d/50-load",
    }


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Built:
    profile = Profile(boot=Boot(architectures=("amd64", "i386", "arm64")))
    command = ["dpkg", "--print-foreign-architectures"]
    before = subprocess.run(command, capture_output=True, check=True).stdout
    done = build(profile, tmp_path_factory.mktemp("images"), default_cache(), Steps())
    after = subprocess.run(command, capture_output=True, check=True).stdout
    assert before == after, "the host's own package system is left alone"
    return done


ELF_MACHINES = {"i386": 3, "arm64": 183}  # System V gABI, chapter 4: EM_386, EM_AARCH64


@pytest.mark.parametrize("processor", ELF_MACHINES)
def test_programs_and_modules_are_for_the_processor(foreign: Built, processor: str) -> None:
    folder = foreign.folder / processor
    files = catalogue(foreign, processor).choose((0x8086, 0x100E), ["encrypt"])
    if files:
        assert sum((folder / name).stat().st_size for name in files) <= MAX_FOR_KNOWN_CARD
    else:
        assert processor == "arm64", "its firmware tells no card"
        assert (folder / images.STUB_FILE).read_bytes()[:2] == b"MZ"
        files = (images.INITRAMFS_FILE,)
    found: dict[str, Member] = {}
    for name in files:
        done = subprocess.run(["zstd", "-dc", folder / name], capture_output=True, check=True)
        found |= {member.name: member for member in newc.members(done.stdout)}
    programs = [found["sbin/agent"].content, found["bin/busybox"].content]
    programs += [each.content for name, each in found.items() if name.endswith(".ko")]
    assert len(programs) > 10
    assert {int.from_bytes(each[18:20], "little") for each in programs} == {ELF_MACHINES[processor]}
    # Swap and the PC's address, which share one C library. Each alone would lock 20 KiB more.
    assert len(programs[0]) <= 76 << 10, "the agent is locked into RAM"
    assert set(catalogue(foreign, processor).files()) <= {path.name for path in folder.iterdir()}


def test_one_more_processor_leaves_the_others_as_they_are(built: Built, foreign: Built) -> None:
    subprocess.run(["diff", "-r", built.folder / "amd64", foreign.folder / "amd64"], check=True)


def test_a_missing_compiler_is_named_with_its_package(tmp_path: Path) -> None:
    apt = Apt(tmp_path)
    strange = replace(I386, compiler="i786-linux-gnu-gcc")
    with pytest.raises(OperatorError, match="i786-linux-gnu-gcc is not installed") as caught:
        compiler.cross(strange, apt, Cache(tmp_path), Steps())
    assert caught.value.hint == "sudo apt install gcc-i686-linux-gnu"


def test_a_kernel_of_ones_own(linux: Kernel, tmp_path: Path) -> None:
    image = tmp_path / "vmlinuz-own"
    shutil.copyfile(linux.folder / kernel.VMLINUZ, image)
    cache = Cache(tmp_path / "cache")
    with cache.alone(Steps()):
        with pytest.raises(OperatorError, match=f"needs modules of version {linux.version}"):
            kernel.from_path(image, cache, Steps())
        (tmp_path / "lib/modules").mkdir(parents=True)
        (tmp_path / "lib/modules" / linux.version).symlink_to(linux.folder)
        assert kernel.from_path(image, cache, Steps()).modules == linux.modules


def test_what_is_no_kernel_is_refused(tmp_path: Path) -> None:
    profile = Profile(boot=Boot(kernel=str(tmp_path / "vmlinuz")))
    with pytest.raises(OperatorError, match="No such file"):
        build(profile, tmp_path / "out", default_cache(), Steps())
    (tmp_path / "vmlinuz").write_bytes(bytes(1000))
    with pytest.raises(OperatorError, match="not a Linux kernel"):
        build(profile, tmp_path / "out", default_cache(), Steps())


def test_a_package_that_apt_does_not_know(tmp_path: Path) -> None:
    profile = Profile(boot=Boot(kernel="linux-image-of-nobody"))
    with pytest.raises(OperatorError, match="no package linux-image-of-nobody") as caught:
        build(profile, tmp_path, default_cache(), Steps())
    assert "apt-get update" in caught.value.hint


class Elsewhere(Apt):
    """A host whose Debian mirror is a local port on which nothing listens."""

    def targets(self) -> list[dict[str, str]]:
        row = {"Origin": "Debian", "Component": "main", "Release": "bookworm"}
        return [row | {"Repo-URI": "http://127.0.0.1:9/debian/", "Filename": "/nowhere/Packages"}]


def test_without_a_mirror_there_are_no_firmware_packages(tmp_path: Path) -> None:
    apart, complaint = packages.firmware_apt(Elsewhere(tmp_path / "a"), tmp_path / "b", Steps())
    assert "127.0.0.1" in complaint
    assert apart.show(["firmware-realtek"]) == {}


def test_without_a_mirror_a_package_for_another_processor_is_not_found(tmp_path: Path) -> None:
    host = Elsewhere(tmp_path / "a")
    apart, complaint = packages.foreign_apt(host, "i386", tmp_path / "b", Steps())
    assert "127.0.0.1" in complaint and apart.architecture() == "i386"
    with pytest.raises(OperatorError, match="no package busybox-static"):
        apart.need(["busybox-static"])
