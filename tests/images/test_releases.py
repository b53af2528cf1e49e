"""The newest release's iPXE: from the host's mirrors, signed by Debian, and never a reason to fail."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from netboot.boot.arch import IPXE, IPXE_EFI, LOADERS
from netboot.errors import OperatorError
from netboot.images import build, packages, releases
from netboot.images.cache import Cache
from netboot.images.packages import Apt, Package
from netboot.images.part import NO_KERNEL, Sources
from netboot.images.progress import Progress
from netboot.profile.processors import AMD64
from netboot.profile.profile import Profile
from netboot.profile.sections import Boot
from tests.images.test_cache import Steps

ARM64 = "ipxe-arm64.efi"


class Mirrored(Apt):
    """An apt whose only mirror of Debian has the address ``uri``."""

    def __init__(self, state: Path, uri: str) -> None:
        super().__init__(state)
        self.uri = uri

    def mirrors(self) -> list[dict[str, str]]:
        names = {"Origin": "Debian", "Component": "main", "Release": "bookworm"}
        return [names | {"Repo-URI": self.uri, "Filename": "/nowhere/Packages"}]


@pytest.fixture(autouse=True)
def bookworm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "own_release", lambda: "bookworm")


@pytest.fixture
def mirror(tmp_path: Path) -> str:
    """Return the address of a mirror whose trixie has iPXE, and no signature of Debian's."""
    lists = tmp_path / "mirror/dists/trixie/main/binary-amd64"
    lists.mkdir(parents=True)
    listed = f"Package: {IPXE}\nVersion: 9\nArchitecture: all\nFilename: x.deb\nSize: 1\n"
    (lists / "Packages").write_text(listed)
    digest = hashlib.sha256(listed.encode()).hexdigest()
    (lists.parents[1] / "Release").write_text(
        "Origin: Debian\nSuite: trixie\nCodename: trixie\nComponents: main\nArchitectures: amd64\n"
        f"SHA256:\n {digest} {len(listed)} main/binary-amd64/Packages\n"
    )
    return f"file:{tmp_path}/mirror/"


@pytest.mark.parametrize("own", ["trixie", "forky", ""])
def test_a_machine_with_the_newest_release_takes_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str
) -> None:
    monkeypatch.setattr(releases, "own_release", lambda: own)
    host = Mirrored(tmp_path / "a", "http://127.0.0.1:9/debian/")
    assert releases.newest_apt(host, tmp_path / "b", Steps()) == (None, "")


@pytest.mark.system
def test_without_network_one_line_says_so(tmp_path: Path) -> None:
    sources = sources_of(tmp_path, Mirrored(tmp_path / "a", "http://127.0.0.1:9/debian/"))
    assert sources.newest is None and sources.newest is None
    (line,) = sources.complaints
    assert line.startswith("no iPXE of Debian trixie, PCs get that of this machine's release: ")
    assert "127.0.0.1" in line and "\n" not in line


@pytest.mark.system
def test_what_debian_did_not_sign_is_refused(tmp_path: Path, mirror: str) -> None:
    sources = sources_of(tmp_path, Mirrored(tmp_path / "a", mirror))
    assert sources.newest is None
    assert "is not signed" in sources.complaints[0]


@pytest.mark.system
def test_lists_are_refreshed_after_a_week(tmp_path: Path, mirror: str) -> None:
    state = tmp_path / "state"
    uri = f"[trusted=yes] {mirror}"  # the test has no key of Debian's
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(releases, "signed_by", lambda: "")
        for asks, age in ((True, 0), (False, 0), (True, releases.LISTS_AGE + 60)):
            steps = Steps()
            if age:
                then = time.time() - age
                os.utime(state / releases.STAMP, (then, then))
            apt, complaint = releases.newest_apt(Mirrored(tmp_path / "a", uri), state, steps)
            assert complaint == "" and apt is not None
            assert apt.show([IPXE])[IPXE].version == "9"
            (state / "lists/signed_InRelease").touch()  # that of this mirror is a plain Release
            assert (steps.steps == ["looking for the boot loaders of Debian trixie"]) == asks


def sources_of(folder: Path, host: Apt) -> Sources:
    sources = Sources(Cache(folder / "cache"), Steps())
    sources.host = host
    sources.complaints.clear()
    return sources


class Shop(Apt):
    """An apt that has all packages in one ``version``; ``broken`` ones cannot be downloaded."""

    def __init__(self, version: str, *, broken: bool = False) -> None:
        self.version, self.broken = version, broken
        self._lists_are_ours = False

    def show(self, names: object) -> dict[str, Package]:
        assert isinstance(names, tuple | list)
        return {name: Package(name, self.version, "") for name in names}

    def download(self, package: Package, folder: Path, progress: Progress) -> Path:
        if self.broken:
            raise OperatorError(f"{package.name} {package.version} could not be downloaded: 404")
        return folder / self.version

    def architecture(self) -> str:
        return "amd64"


def built(
    folder: Path, newest: Apt | None, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, str], set[str], list[str]]:
    """Build only loaders. Return the packages used, the files, and all warnings."""

    def unpack(deb: Path, scratch: Path) -> None:
        places = [path for row in LOADERS.values() for path in row.paths]
        for place in places:
            if not (deb.name == "old" and place in (*LOADERS[ARM64].paths, IPXE_EFI[0])):
                (scratch / place).parent.mkdir(parents=True, exist_ok=True)
                (scratch / place).write_text(deb.name)

    monkeypatch.setattr(packages, "unpack", unpack)
    sources = sources_of(folder, Shop("old"))
    sources.__dict__["newest"] = newest
    profile = Profile(boot=Boot(architectures=("amd64", "arm64")))
    store = Cache(folder / "cache")
    with store.alone(Steps()):
        manifest = build._built(profile, [], sources, folder / "images", store, Steps())
    warnings = [*sources.complaints, *build._without_loaders(profile, manifest)]
    return manifest["packages"], {each["name"] for each in manifest["files"]}, warnings


def test_ipxe_is_the_newest_and_grub_fits_this_releases_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, files, warnings = built(tmp_path, Shop("new"), monkeypatch)
    assert used[IPXE] == "new" and set(used.values()) == {"new", "old"}
    assert files == set(LOADERS) and warnings == []
    assert (tmp_path / "images/snponly.efi").read_text() == "new"
    assert (tmp_path / "images/grubia32.efi").read_text() == "old"


def test_if_it_cannot_be_downloaded_the_own_releases_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, files, warnings = built(tmp_path, Shop("new", broken=True), monkeypatch)
    assert used[IPXE] == "old" and files == set(LOADERS) - {ARM64}
    assert (tmp_path / "images/ipxe.efi").read_text() == "old"
    assert [line.partition(":")[0] for line in warnings] == [
        "no iPXE of Debian trixie, PCs get that of this machine's release",
        f"no {ARM64} in Debian's package {IPXE} old",
    ]
    used, files, warnings = built(tmp_path, Shop("new"), monkeypatch)
    assert used[IPXE] == "new" and ARM64 in files and warnings == []
    used, _, warnings = built(tmp_path, Shop("new", broken=True), monkeypatch)
    assert used[IPXE] == "new" and warnings == [], "the build is held: nothing is downloaded"


def test_a_kernel_of_another_release_comes_from_lists_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def kernel_apt(*given: object) -> tuple[Apt, str]:
        asked.append(given[1:4])
        return Shop("new"), "no network"

    monkeypatch.setattr(releases, "kernel_apt", kernel_apt)
    sources = sources_of(tmp_path, Shop("old"))
    name = AMD64.kernel
    found = {
        wanted: sources.kernel(AMD64, wanted)[1]
        for wanted in (name, f"{name}/bookworm", f"{name}/trixie")
    }
    assert {wanted: package.version for wanted, package in found.items()} == {
        name: "old",
        f"{name}/bookworm": "old",
        f"{name}/trixie": "new",
    }
    assert {package.name for package in found.values()} == {name}
    assert asked == [("trixie", AMD64, tmp_path / "cache/apt-trixie-amd64")]
    assert sources.complaints == ["package lists of Debian trixie cannot be refreshed: no network"]


@pytest.mark.system
def test_a_release_without_that_kernel_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirror: str
) -> None:
    monkeypatch.setattr(releases, "signed_by", lambda: "")
    sources = sources_of(tmp_path, Mirrored(tmp_path / "a", f"[trusted=yes] {mirror}"))
    with pytest.raises(OperatorError, match="apt knows no package linux-none") as refused:
        sources.kernel(AMD64, "linux-none/trixie")
    assert refused.value.hint == NO_KERNEL
    assert sources.complaints == []
    _, package = sources.kernel(AMD64, f"{IPXE}/trixie")
    assert package.version == "9"
