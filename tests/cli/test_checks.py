"""Paths and sizes that cannot work are refused before a server or a build begins."""

import json
import os
from pathlib import Path

import pytest

from netboot.cli import checks, user
from netboot.errors import OperatorError
from netboot.profile import file as profile_file
from netboot.profile.stores import StoreSpec, parse_store
from netboot.roots.library import Library
from tests.roots.making import make_version
from tests.support.images import write_manifest


def refused(check: object, *arguments: object, **options: object) -> str:
    with pytest.raises(OperatorError) as error:
        check(*arguments, **options)  # type: ignore[operator]
    assert "\n" not in str(error.value)
    return str(error.value)


def test_images_are_a_folder_with_all_that_its_manifest_lists(tmp_path: Path) -> None:
    assert refused(checks.check_images, "--images", tmp_path / "x").endswith(
        f"there is no folder {tmp_path}/x"
    )
    assert "has no images: there is no manifest.json" in refused(
        checks.check_images, "--images", tmp_path
    )
    row = {"name": "amd64/vmlinuz", "size": 2, "sha256": "00"}
    wrong = [
        {**row, "name": name} for name in ("", "/etc/passwd", "../x", "a/../../x", "a\0", 5, ".")
    ]
    wrong += [{**row, "size": "2"}, {**row, "size": True}, {"name": "amd64/vmlinuz"}]
    files = [json.dumps({"files": [each]}) for each in wrong]
    for text in ("", "[]", "{}", '{"files": 3}', '{"files": [3]}', "\x00", *files):
        (tmp_path / "manifest.json").write_text(text)
        assert "none of 'netboot build'" in refused(checks.check_images, "--images", tmp_path)
    (tmp_path / "manifest.json").write_text(
        json.dumps({"files": [row], "processors": {"i386": {}}})
    )
    assert "no file" in refused(checks.check_images, "--images", tmp_path)
    (tmp_path / "amd64/vmlinuz").mkdir(parents=True)
    assert "is a folder, expected a file" in refused(checks.check_images, "--images", tmp_path)
    (tmp_path / "amd64/vmlinuz").rmdir()
    (tmp_path / "amd64/vmlinuz").write_bytes(b"xy")
    checks.check_images("--images", tmp_path, None, ["i386"])
    (tmp_path / "amd64/vmlinuz").write_bytes(b"")
    with pytest.raises(OperatorError, match="has 0 bytes, expected 2 as in its manifest") as error:
        checks.check_images("--images", tmp_path, Path("a room.yaml"))
    assert error.value.hint.startswith("build them: netboot build --profile 'a room.yaml' --output")
    (tmp_path / "amd64/vmlinuz").write_bytes(b"xy")
    assert "has no images for amd64, which boot.architectures lists" in refused(
        checks.check_images, "--images", tmp_path, None, ["i386", "amd64"]
    )
    (tmp_path / "manifest.json").write_text('{"files": []}')
    assert "it lists no file" in refused(checks.check_images, "--images", tmp_path)
    write_manifest(tmp_path)
    checks.check_images("--images", tmp_path)


def test_initrds_are_files_with_names_of_their_own(tmp_path: Path) -> None:
    one, two, empty = tmp_path / "one", tmp_path / "two/one", tmp_path / "empty"
    two.parent.mkdir()
    for path in (one, two):
        path.write_bytes(b"x")
    empty.touch()
    checks.check_initrds([one])
    for paths, said in (
        ([tmp_path / "none"], "there is no file"),
        ([tmp_path], "is a folder"),
        ([empty], "is empty"),
        ([one, two], "have the same name"),
        ([Path("/dev/null")], "is no regular file"),
    ):
        assert said in refused(checks.check_initrds, paths)


def test_a_state_folder_is_one_or_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    checks.check_state(tmp_path)
    checks.check_state(tmp_path / "new")
    checks.check_state(Path("new"))
    assert "there is no folder" in refused(checks.check_state, tmp_path / "a/b")
    assert "expected a folder" in refused(checks.check_state, tmp_path / "file")
    assert "expected a folder" in refused(checks.check_state, tmp_path / "file/below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_another_user_is_refused() -> None:
    assert "this user cannot write to /etc" in refused(checks.check_state, Path("/etc/netboot-x"))


def test_the_folder_of_a_store_is_not_made(tmp_path: Path) -> None:
    for text in (f"disk:{tmp_path}/none", f"tiered:{tmp_path}/none,memory=8MiB"):
        assert "there is no folder" in refused(checks.check_store, "--store", parse_store(text))
    checks.check_store("--store", parse_store(f"disk: {tmp_path}"))
    checks.check_store("--store", StoreSpec("memory"))
    checks.check_store("--store", parse_store(f"disk:{tmp_path}/none"), tmp_path / "none")
    assert not (tmp_path / "none").exists()
    said = refused(checks.check_store, "--store", parse_store("disk:/proc"))
    assert said.startswith("--store: no file can be made in /proc: ")
    assert list(tmp_path.iterdir()) == []


def test_the_place_of_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    checks.check_output("--logs", tmp_path / "a/b/c", folder=True)
    checks.check_output("--output", tmp_path / "a.iso", folder=False)
    assert "expected a folder" in refused(
        checks.check_output, "--logs", tmp_path / "file", folder=True
    )
    assert "there is no folder" in refused(
        checks.check_output, "--output", tmp_path / "a/b.iso", folder=False
    )
    assert "is a folder" in refused(checks.check_output, "--output", tmp_path, folder=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("swap: {capacity: 900000TiB}", "key 'swap.capacity': 9e+05 TiB is promised"),
        ("swap: {store: 'tiered:/,memory=900TiB'}", "key 'swap.store': 900 TiB is promised"),
        ("swap: {store: 'disk:/nowhere'}", "key 'swap.store': there is no folder /nowhere"),
        ("swap: {size: 99999TiB}", "key 'swap.size': no PC can get 1e+05 TiB"),
        ("groups: {a: {match: '02:*', swap: {size: 99TiB}}}", "key 'groups.a.swap.size': no PC"),
        ("ssh: {key: /nowhere}", "key 'ssh.key': there is no file /nowhere"),
        (
            "seat: {timezone: Europe/Berln}",
            "key 'seat.timezone': no time zone is called 'Europe/Berln'; did you mean 'Europe/Berlin'?",
        ),
        (
            "groups: {a: {match: '02:*', seat: {files: {/opt/a: /nowhere}}}}",
            "key 'groups.a.seat.files': /nowhere: cannot be read: No such file or directory; the PC",
        ),
        ("seat: {timezone: Europe/Berlin}", ""),
        ("swap: {capacity: 64MiB}", ""),
        ("swap: {store: 'null', capacity: 900000TiB}", ""),
    ],
)
def test_what_this_machine_does_not_have_is_told(text: str, said: str) -> None:
    doubts = list(checks.doubts_here(profile_file.parse(text, "room.yaml")))
    assert len(doubts) == (1 if said else 0)
    assert not said or doubts[0].startswith(said)


@pytest.mark.parametrize(("mode", "told"), [(0o644, 1), (0o640, 0), (0o600, 0)])
def test_hashes_that_all_users_can_read_are_told(
    mode: int, told: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = "$6$vwemE1GhKa.cyT8A$xAzWahK08BakUtal4Rg3p8nEv31ChtRhgKmqVRsCXDP0hsrZK5LX"
    (path := tmp_path / "room.yaml").touch()
    path.chmod(mode)
    profile = profile_file.parse(
        f"clients: {{52:54:00:12:34:56: {{seat: {{accounts: {{a: {hashed}}}}}}}}}", "f"
    )
    doubts = list(checks.doubts_of_readers(path, profile))
    assert len(doubts) == told and not any(hashed in line for line in doubts)
    group = f"chgrp netboot {path} && chmod 640 {path}"
    for name, remedy in (("root", group), ("no-such-user", f"chmod 600 {path}")):
        monkeypatch.setattr(user, "USER", name)
        for line in checks.doubts_of_readers(path, profile):
            assert line.endswith(f": {remedy}")
    assert not list(checks.doubts_of_readers(path, profile_file.parse("", "f")))


def test_files_that_the_profile_names_are_looked_for(tmp_path: Path) -> None:
    for text in ("boot: {kernel: /nowhere}", "boot: {raspberry_pi: /nowhere}"):
        profile = profile_file.parse(text, "room.yaml")
        said = refused(checks.check_paths, Path("room.yaml"), profile)
        assert said.startswith("room.yaml: key 'boot.") and said.endswith("/nowhere")


def test_root_images_have_to_fit_the_boot_images(tmp_path: Path) -> None:
    profile = profile_file.parse("root: {kind: image, image: kiosk}", "room.yaml")
    roots = tmp_path / "roots"
    assert refused(checks.check_roots, profile, roots, None) == (
        f"root image 'kiosk': there is none in {roots}; sudo netboot image build kiosk"
    )
    made = make_version(Library(roots))
    near = profile_file.parse("root: {kind: image, image: kisok}", "room.yaml")
    assert refused(checks.check_roots, near, roots, None).endswith("; did you mean 'kiosk'?")
    for processors in ('{"amd64": {"kernel": "6.1.0-56-amd64"}}', "{}", "null", "[]", "{"):
        text = '{"files": [], "processors": PROCESSORS}'.replace("PROCESSORS", processors)
        (tmp_path / "manifest.json").write_text(text)
        checks.check_roots(profile, roots, tmp_path)
    checks.check_roots(profile, roots, tmp_path / "none")
    text = '{"files": [], "processors": {"amd64": {"kernel": "6.1.0-57-amd64"}}}'
    (tmp_path / "manifest.json").write_text(text)
    assert refused(checks.check_roots, profile, roots, tmp_path) == (
        f"root image {made.label}: it has modules for 6.1.0-56-amd64 only, and the PCs' kernel is "
        "6.1.0-57-amd64 (netboot build); sudo netboot image update kiosk"
    )
    checks.check_roots(profile_file.parse("", "room.yaml"), tmp_path / "none", tmp_path)


def test_an_image_without_a_login_window_is_told(tmp_path: Path) -> None:
    library = Library(tmp_path)
    made = make_version(library)
    make_version(library, "new", packages={"lightdm": "1.26", "lightdm-gtk-greeter": "2.0"})
    make_version(library, "viewer", definition={"screen": "thin"})
    make_version(library, "text", definition={"screen": "none"})
    make_version(library, "others", source="room.tar")
    needs = "it has no login window, which 'seat.login: local' needs"
    add = "add 'packages: [lightdm, lightdm-gtk-greeter]' to it"
    expected = {
        "kiosk": [f"root image {made.label}: {needs}; sudo netboot image update kiosk"],
        "viewer": [f"root image {library.find('viewer').label}: {needs}; {add}"],
    }
    for name in ("kiosk", "new", "viewer", "text", "others", "missing"):
        text = f"root: {{kind: image, image: {name}}}\nseat: {{login: local}}"
        profile = profile_file.parse(text, "room.yaml")
        assert checks.doubts_of_logins(profile, tmp_path) == expected.get(name, [])
    guests = profile_file.parse("root: {kind: image, image: kiosk}", "room.yaml")
    assert not checks.doubts_of_logins(guests, tmp_path)


def test_files_that_cannot_boot_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("root:x:0:0\n" * 200)
    kernel = profile_file.parse(f"boot: {{kernel: {text}}}", "room.yaml")
    assert refused(checks.check_paths, Path("room.yaml"), kernel) == (
        f"room.yaml: key 'boot.kernel': {text} is not a Linux kernel for PCs"
    )
    root = profile_file.parse(f"root: {{kind: nbd, image: {text}}}", "room.yaml")
    said = refused(checks.check_paths, Path("room.yaml"), root)
    assert said == f"image {text}: expected an EROFS or a squashfs"
    for start in (b"hsqs" + bytes(1000), bytes(1024) + b"\xe2\xe1\xf5\xe0" + bytes(3068)):
        text.write_bytes(start)
        checks.check_paths(Path("room.yaml"), root)
