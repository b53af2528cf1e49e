"""The keys of the operator's own: openssl and sbsign make and use them, and nobody else reads them."""

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from netboot.cli.main import app
from netboot.errors import OperatorError
from netboot.serve import own_keys
from netboot.serve.own_keys import OwnKeys


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> OwnKeys:
    return own_keys.make(tmp_path_factory.mktemp("state"))


def test_keys_are_private_from_the_start_and_certificates_are_not(keys: OwnKeys) -> None:
    assert keys.exist()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in keys.state.iterdir()}
    assert modes == {
        "own-image.key": 0o600,
        "own-image.pem": 0o644,
        "own-image.cer": 0o644,
        "own-image.esl": 0o644,
        "own-words.key": 0o600,
        "own-words.pem": 0o644,
    }


def test_keys_that_are_there_stay(keys: OwnKeys) -> None:
    before = {path: path.read_bytes() for path in keys.state.iterdir()}
    with pytest.raises(OperatorError, match="own-image.key: there are keys already") as error:
        app(["keys", "init", "--state", str(keys.state)])
    assert f"the certificate to enrol is {keys.state}/own-image.cer" in error.value.hint
    assert {path: path.read_bytes() for path in keys.state.iterdir()} == before


@pytest.fixture
def copy(keys: OwnKeys, tmp_path: Path) -> OwnKeys:
    """Return keys that a test may harm."""
    shutil.copytree(keys.state, tmp_path / "copy")
    return OwnKeys(tmp_path / "copy")


@pytest.mark.parametrize("name", own_keys.IMAGE_PAIR)
def test_half_a_pair_that_pcs_know_is_not_replaced(copy: OwnKeys, name: str) -> None:
    (copy.state / name).unlink()
    assert not copy.exist()
    with pytest.raises(OperatorError, match=f"{name}: it is missing, but own-image") as error:
        own_keys.make(copy.state)
    assert "restore it from a backup" in error.value.hint
    assert not (copy.state / name).exists()


@pytest.mark.parametrize(
    "lost", [own_keys.WORDS_PAIR, ("own-words.key",), ("own-image.cer", "own-image.esl")]
)
def test_what_no_pc_knows_is_made_again(
    copy: OwnKeys, lost: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: (copy.state / name).read_bytes() for name in own_keys.IMAGE_PAIR}
    for name in lost:
        (copy.state / name).unlink()
    with pytest.raises(SystemExit):
        app(["keys", "init", "--state", str(copy.state)])
    told = capsys.readouterr().out
    assert f"{copy.state}: made what was missing; the certificate of images is the same" in told
    assert {name: (copy.state / name).read_bytes() for name in before} == before
    copy.check()
    assert stat.S_IMODE((copy.state / own_keys.WORDS_KEY).stat().st_mode) == 0o600


@pytest.mark.parametrize("pair", [own_keys.IMAGE_PAIR, own_keys.WORDS_PAIR])
@pytest.mark.parametrize("harm", ["mixed", "damaged"])
def test_a_key_of_another_certificate_is_told(
    copy: OwnKeys, tmp_path: Path, pair: tuple[str, str], harm: str
) -> None:
    copy.check()
    other = own_keys.make(tmp_path / "other").state / pair[0]
    (copy.state / pair[0]).write_bytes(other.read_bytes() if harm == "mixed" else b"")
    with pytest.raises(OperatorError, match=f"{pair[0]}: it is not the key of {pair[1]}: "):
        copy.check()


def test_a_key_that_others_may_read_is_told(copy: OwnKeys) -> None:
    assert copy.readable() == []
    (copy.state / own_keys.WORDS_KEY).chmod(0o640)
    assert copy.readable() == [copy.state / own_keys.WORDS_KEY]


def test_the_list_for_firmware_has_the_certificate(keys: OwnKeys) -> None:
    program = Path(sys.executable).with_name("virt-fw-sigdb")
    words = [str(program), "--input", str(keys.state / own_keys.IMAGE_ESL), "--print"]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert "EfiCertX509 count=1" in done.stdout
    assert re.search(r"CN=netboot images of [\w.-]+, 20\d\d-\d\d-\d\d$", done.stdout, re.MULTILINE)


def test_the_command_says_what_is_to_be_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        app(["keys", "init", "--state", str(tmp_path / "state")])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert f"{tmp_path}/state/own-image.cer: the certificate to enrol in each PC" in told
    assert "PRIVATE" not in told and (tmp_path / "state/own-image.cer").read_bytes()[0] == 0x30


def test_openssl_takes_the_signature_of_words_and_of_no_others(
    keys: OwnKeys, tmp_path: Path
) -> None:
    signature = keys.sign_words(b"words")
    assert len(signature) == own_keys.SIGNATURE_BYTES
    certificate, public = tmp_path / "words.cer", tmp_path / "public.pem"
    certificate.write_bytes(keys.certificate())
    words = ["openssl", "x509", "-inform", "DER", "-in", str(certificate), "-pubkey", "-noout"]
    public.write_bytes(subprocess.run(words, check=True, capture_output=True).stdout)
    (tmp_path / "signature").write_bytes(signature)
    verify = ["openssl", "dgst", "-sha256", "-verify", str(public)]
    verify += ["-signature", str(tmp_path / "signature")]
    for text, status in ((b"words", 0), (b"other words", 1)):
        done = subprocess.run(verify, input=text, check=False, capture_output=True)
        assert done.returncode == status


def test_without_a_key_nothing_is_signed(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="openssl"):
        OwnKeys(tmp_path).sign_words(b"words")


@pytest.mark.skipif(os.geteuid() != 0, reason="root gives files away")
def test_the_user_of_the_server_can_read_what_root_makes(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12346)
    own_keys.make(tmp_path)
    for path in tmp_path.iterdir():
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346), path
