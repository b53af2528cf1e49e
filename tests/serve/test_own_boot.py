"""Signed images and their words: sbverify and objcopy read them, a Room and an HTTP server give them."""

import asyncio
import hashlib
import shutil
import subprocess
from ipaddress import IPv4Address
from pathlib import Path

import aiohttp
import pytest
import yarl

from netboot.boot import own_image
from netboot.boot.arch import BY_NAME, OWN_IMAGE, OWN_SHIM
from netboot.boot.client import Client, Stage
from netboot.boot.events import Journal
from netboot.pages.lease import LeaseTable
from netboot.profile.file import parse
from netboot.serve import own_keys
from netboot.serve.boot_files import BootFiles, lacking
from netboot.serve.http.server import HttpServer
from netboot.serve.own_boot import OwnBoot, OwnImages
from netboot.serve.own_keys import OwnKeys
from netboot.serve.room import Room
from netboot.serve.tftp_files import TftpFiles
from tests.boot.test_unified import sections, stub  # noqa: F401 # a fixture
from tests.serve.links import FakeLinks

MAC, OTHER = "52:54:00:12:34:56", "52:54:00:12:34:57"
SERVER, HERE = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.9")
LOOPBACK = IPv4Address("127.0.0.1")
NONCE = "0123456789abcdef" * 2
KERNEL, INITRAMFS = b"kernel" * 1001, b"initramfs" * 333


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> OwnKeys:
    return own_keys.make(tmp_path_factory.mktemp("state"))


@pytest.fixture
def own(stub: bytes, keys: OwnKeys, tmp_path: Path) -> OwnBoot:  # noqa: F811
    (tmp_path / "amd64").mkdir()
    for name, content in (("stub.efi", stub), ("vmlinuz", KERNEL), ("initramfs.img", INITRAMFS)):
        (tmp_path / "amd64" / name).write_bytes(content)
    (tmp_path / "shimx64.efi").write_bytes(b"shim")
    profile = parse("boot: {loader: own, arguments: quiet}", "room.yaml")
    files = BootFiles(tmp_path, profile, lacks=lacking(tmp_path))
    room = Room(profile, files, b"s" * 32, Journal(), LeaseTable(1 << 30))
    room.identity.links = FakeLinks({str(HERE): MAC, str(LOOPBACK): MAC})
    return OwnBoot(room, OwnImages(files, keys))


def verified(image: Path, keys: OwnKeys) -> bool:
    words = ["sbverify", "--cert", str(keys.state / own_keys.IMAGE_PEM), str(image)]
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


def test_an_image_has_our_signature_and_each_changed_part_loses_it(
    own: OwnBoot, keys: OwnKeys, tmp_path: Path
) -> None:
    own.images.make([SERVER])
    path = own.room.file(OWN_IMAGE, SERVER)
    assert path is not None and verified(path, keys)
    content = path.read_bytes()
    found = sections(content, tmp_path)
    assert found[".linux"] == KERNEL and found[".initrd"].startswith(INITRAMFS)
    assert keys.certificate() in found[".initrd"]
    line = found[".cmdline"].decode()
    assert line == own_image.command_line(own.room.profile, SERVER, own.images.identity)
    changed = tmp_path / "changed.efi"
    for part in (KERNEL, INITRAMFS, line.encode(), keys.certificate()):
        at = content.index(part) + len(part) // 2
        changed.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert not verified(changed, keys)


def test_images_are_kept_and_each_address_has_its_own(own: OwnBoot, keys: OwnKeys) -> None:
    other = IPv4Address("10.0.1.1")
    own.images.make([SERVER, other])
    files = {at: own.room.file(OWN_IMAGE, at) for at in (SERVER, other)}
    assert len(set(files.values())) == 2 and own.room.file(OWN_IMAGE, HERE) is None
    times = {path: path.stat().st_mtime_ns for path in keys.state.glob("own-*.efi")}
    assert set(times) == set(files.values())
    own.images.make([SERVER])
    (kept,) = keys.state.glob("own-*.efi")
    assert kept == files[SERVER] and kept.stat().st_mtime_ns == times[kept], (
        "it is not signed again"
    )


def test_without_keys_pcs_get_what_they_got(
    own: OwnBoot, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client(MAC, BY_NAME["uefi-x64"], Stage.FIRMWARE)
    without = OwnImages(own.room.files, OwnKeys(tmp_path))
    without.make([SERVER])
    assert f"{tmp_path} has no keys: PCs with it get other loaders" in caplog.text
    assert own.room.plan(client, SERVER).bootfile == "snponly.efi"
    assert own.room.file(OWN_SHIM, SERVER) is None and own.open(MAC, HERE) is None
    own.images.make([SERVER])
    assert own.room.plan(client, SERVER).bootfile == OWN_SHIM
    web = Client(MAC, BY_NAME["uefi-x64-http"], Stage.FIRMWARE)
    assert own.room.plan(web, SERVER).bootfile == f"http://{SERVER}:8080/boot/{OWN_SHIM}"


def test_what_cannot_be_made_is_a_warning(
    own: OwnBoot, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own.images.make([SERVER])
    (tmp_path / "amd64/stub.efi").unlink()
    own.images.make([SERVER])
    assert "no signed image for PCs with Secure Boot: " in caplog.text
    assert "stub.efi: No such file or directory" in caplog.text
    client = Client(MAC, BY_NAME["uefi-x64"], Stage.FIRMWARE)
    assert own.room.plan(client, SERVER).bootfile == "snponly.efi"


def test_keys_that_do_not_fit_sign_nothing_and_loose_ones_are_told(
    own: OwnBoot, keys: OwnKeys, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = OwnKeys(shutil.copytree(keys.state, tmp_path / "mine"))
    (mine.state / own_keys.IMAGE_KEY).chmod(0o644)
    images = OwnImages(own.room.files, mine)
    images.make([SERVER])
    told = f"{mine.state}/own-image.key: other users of this machine may read it"
    assert images.identity and told in caplog.text
    (mine.state / own_keys.WORDS_KEY).write_bytes((mine.state / own_keys.IMAGE_KEY).read_bytes())
    images.make([SERVER])
    assert not images.identity
    assert "own-words.key: it is not the key of own-words.pem" in caplog.text


def test_another_key_signs_another_image(own: OwnBoot, keys: OwnKeys, tmp_path: Path) -> None:
    mine = OwnKeys(shutil.copytree(keys.state, tmp_path / "mine"))
    images = OwnImages(own.room.files, mine)
    images.make([SERVER])
    for name in own_keys.IMAGE_PAIR:
        (mine.state / name).unlink()
    own_keys.make(mine.state)
    images.make([SERVER])
    path = own.room.file(OWN_IMAGE, SERVER)
    assert path is not None and verified(path, mine) and not verified(path, keys)


def test_shim_finds_the_image_beside_itself(own: OwnBoot, tmp_path: Path) -> None:
    own.images.make([SERVER])
    tftp = TftpFiles(own.room)
    assert tftp.file(OWN_SHIM, SERVER, HERE) == tmp_path / "shimx64.efi"
    assert tftp.file(OWN_IMAGE, SERVER, HERE) == own.room.file(OWN_IMAGE, SERVER)
    assert tftp.file("secure/mmx64.efi", SERVER, HERE) == tmp_path / "mmx64.efi"
    assert tftp.file("secure/other.efi", SERVER, HERE) is None


def test_words_begin_a_boot_and_name_its_files(own: OwnBoot) -> None:
    own.images.make([SERVER])
    text = own.words(MAC, NONCE, own.images.identity, SERVER, HERE).decode().splitlines()
    session = own.room.seats.of(MAC).session
    assert text[:4] == ["netboot words 1", NONCE, MAC, own.images.identity]
    assert f"netboot.ticket={session}" in text[4].split()
    again = own.words(MAC, NONCE, own.images.identity, SERVER, HERE).decode()
    assert own.room.seats.of(MAC).session != session and again.splitlines()[4] != text[4]
    stages = [event.stage for event in own.room.journal.history(MAC)]
    assert stages.count("secure") == 2


def test_a_seats_files_are_those_that_the_words_name(own: OwnBoot) -> None:
    own.room.profile = parse("root: {kind: image, image: kiosk}", "room.yaml")
    seat = own.room.seats.of(MAC)
    seat.settings = own.room.profile.seat_of(MAC)
    own.images.make([SERVER])
    words = own.words(MAC, NONCE, own.images.identity, SERVER, HERE).decode().split()
    key = own.room.admit(seat.session, HERE)
    assert key is not None
    files = own.room.own_files(key, SERVER, HERE)
    assert f"netboot.files={hashlib.sha256(files).hexdigest()}" in words


def test_an_older_image_gets_no_words_and_begins_no_boot(own: OwnBoot) -> None:
    own.images.make([SERVER])
    text = own.words(MAC, NONCE, "0" * 32, SERVER, HERE)
    assert text == own_image.document(NONCE, MAC, own.images.identity, "")
    assert own.room.seats.of(MAC).session == ""
    assert [event.stage for event in own.room.journal.history(MAC)] == ["failed:secure"]


def test_the_words_come_with_their_signature(own: OwnBoot, keys: OwnKeys) -> None:
    own.images.make([LOOPBACK])
    query = f"nonce={NONCE}&image={own.images.identity}"

    async def scenario() -> None:
        server = HttpServer(own.room, port=0, words=own)
        await server.start([LOOPBACK])
        url = f"http://127.0.0.1:{server.port}"
        async with aiohttp.ClientSession() as session:
            body = await got(session, f"{url}/words/{MAC}?{query}", 200)
            size = own_keys.SIGNATURE_BYTES
            assert keys.sign_words(body[size:]) == body[:size]
            assert body[size:].decode().splitlines()[1] == NONCE
            await got(session, f"{url}/words/{MAC}?nonce=1&image=x", 404)
            await got(session, f"{url}/words/other?{query}", 404)
            await got(session, f"{url}/words/{OTHER}?{query}", 403)  # it is not at this address
            image = own.room.file(OWN_IMAGE, LOOPBACK)
            assert image is not None
            found = await got(session, f"{url}/boot/secure//grubx64.efi", 200)  # as shim asks
            assert found == image.read_bytes()
        await server.stop()

    asyncio.run(scenario())


async def got(session: aiohttp.ClientSession, url: str, status: int) -> bytes:
    async with session.get(yarl.URL(url, encoded=True)) as answer:
        assert answer.status == status, url
        return await answer.read()
