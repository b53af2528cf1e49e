"""SSH host keys: of RFC 8032, as OpenSSH reads them, and the same for a seat wherever it boots."""

import shutil
import subprocess
from pathlib import Path

import pytest

from netboot.boot import host_key

MAC = "52:54:00:12:34:56"
# RFC 8032 section 7.1, tests 1 to 3, and SHA(abc).
VECTORS = (
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
    ),
)


@pytest.mark.parametrize(("seed", "public"), VECTORS)
def test_a_public_key_is_that_of_the_standard(seed: str, public: str) -> None:
    assert host_key.public_key(bytes.fromhex(seed)).hex() == public


def test_a_key_is_derived_as_rfc_5869_says() -> None:
    # Test case 3: no salt, no label, the first 32 bytes.
    expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
    assert host_key.derived(b"\x0b" * 22, b"").hex() == expected


def test_a_seat_has_one_key_and_no_other_seat_or_room_has_it() -> None:
    key = host_key.host_key(b"s" * 32, MAC)
    assert key == host_key.host_key(b"s" * 32, MAC)
    others = {host_key.host_key(b"s" * 32, "52:54:00:12:34:57"), host_key.host_key(b"t" * 32, MAC)}
    assert len({key.public, *(other.public for other in others)}) == 3
    assert "PRIVATE" not in repr(key)


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="needs openssh-client")
def test_openssh_reads_both_files(tmp_path: Path) -> None:
    key = host_key.host_key(b"s" * 32, MAC)
    path = tmp_path / "ssh_host_ed25519_key"
    path.touch(mode=0o600)
    path.write_text(key.private)
    done = subprocess.run(
        ["ssh-keygen", "-y", "-f", path], capture_output=True, text=True, check=True
    )
    assert done.stdout == key.public
