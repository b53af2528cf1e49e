"""The doctor reads all bytes of the root images that a profile names."""

from pathlib import Path

from netboot.deploy.doctor import read_roots
from netboot.profile.profile import Profile
from netboot.profile.seat import SeatOwn
from netboot.roots.library import Library
from tests.roots.making import make_version


def test_a_damaged_or_missing_root_image_is_a_failure(tmp_path: Path) -> None:
    groups = {"a": {"match": "52:*", "root": {"image": "thin"}}}
    profile = Profile.model_validate(
        {"root": {"kind": "image", "image": "kiosk"}, "groups": groups}
    )
    library = Library(tmp_path)
    made = make_version(library)
    fine, missing = read_roots(profile, library)
    assert fine.ok and fine.detail == f"{made.label}, 0.0 MB" and fine.check == "root"
    assert not missing.ok and missing.detail == (
        f"root image 'thin': there is none in {tmp_path}; sudo netboot image build thin"
    )
    local = profile.model_copy(update={"seat": SeatOwn(login="local")})
    (told, _) = read_roots(local, library)
    assert not told.ok and "no login window" in told.detail
    with made.image.open("r+b") as file:
        file.write(b"X")
    damaged, _ = read_roots(profile, library)
    assert not damaged.ok and damaged.detail.startswith(
        f"root image {made.label}: it is damaged: its SHA-256 is "
    )
    assert read_roots(Profile(), library) == []


def test_homes_on_a_server_need_a_client_in_the_image(tmp_path: Path) -> None:
    groups = {"a": {"match": "52:*", "seat": {"home": "nfs:10.0.0.1:/srv/homes"}}}
    profile = Profile.model_validate(
        {"root": {"kind": "image", "image": "kiosk"}, "groups": groups}
    )
    library = Library(tmp_path)
    make_version(library, nfs=False)
    (found,) = read_roots(profile, library)
    assert not found.ok and "lacks the kernel driver fs/nfs/nfsv4" in found.detail
    (found,) = read_roots(profile.model_copy(update={"groups": {}}), library)
    assert found.ok
