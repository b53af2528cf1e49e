"""initramfs/words.sh: a PC believes only the words that its server has signed for this question."""

import subprocess
from pathlib import Path

import pytest

from netboot.boot import own_image
from netboot.serve import own_keys
from netboot.serve.own_keys import OwnKeys
from tests.support.shell import BEFORE, INITRAMFS, Lib

MAC = "52:54:00:12:34:56"
UUID = "01234567-89ab-cdef-0123-456789abcdef\n"
NONCE = UUID.strip().replace("-", "")
WORDS = "netboot.ticket=session netboot.swap=10.0.0.1:10809/seat-525400123456"
# The kernel's part: openssl checks the signature, as it would.
SETTING = f"""
{BEFORE}mac={MAC} secure=d1 certificate=$run/words.cer
. {INITRAMFS / "words.sh"}
timeout() {{ shift 2; while [ "$1" != -O ]; do shift; done; cp $run/sent "$2"; echo "$3" >$run/url; }}
agent() {{
    openssl x509 -inform DER -in "$2" -pubkey -noout >$run/public
    openssl dgst -sha256 -verify $run/public -signature "$3" $run/words.text >/dev/null 2>&1 ||
        {{ echo wrong; return 4; }}
    [ "$(sha256sum <$run/words.text)" = "$4  -" ]
}}
fetch_words && argument netboot.ticket && echo "$value" || echo "$why/$refused"
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> OwnKeys:
    return own_keys.make(tmp_path_factory.mktemp("state"))


def fetched(lib: Lib, keys: OwnKeys, text: bytes, *, signed: bytes | None = None) -> str:
    """Return what a PC makes of ``text``, with the signature of ``signed`` or of itself."""
    (lib.folder / "sys/kernel/random").mkdir(parents=True)
    (lib.folder / "sys/kernel/random/uuid").write_text(UUID)
    (lib.folder / "words.cer").write_bytes(keys.certificate())
    (lib.folder / "sent").write_bytes(keys.sign_words(text if signed is None else signed) + text)
    return lib.run(SETTING, "quiet netboot.secure=d1")


def test_words_count_like_those_of_a_command_line(lib: Lib, keys: OwnKeys) -> None:
    assert fetched(lib, keys, own_image.document(NONCE, MAC, "d1", WORDS)) == "session\n"
    url = f"http://10.0.0.1:8080/words/{MAC}?nonce={NONCE}&image=d1\n"
    assert (lib.folder / "url").read_text() == url
    assert (lib.folder / "words").stat().st_mode & 0o777 == 0o600
    assert not list(lib.folder.glob("words.[ast]*")), "nothing of the answer stays"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (own_image.document("f" * 32, MAC, "d1", WORDS), "somebody repeats old ones"),
        (own_image.document(NONCE, MAC[::-1], "d1", WORDS), "somebody repeats old ones"),
        (own_image.document(NONCE, MAC, "d2", ""), "this image is not the one"),
        (own_image.document(NONCE, MAC, "d1", ""), "this image is not the one"),
        (b"", "somebody repeats old ones"),
    ],
)
def test_signed_words_for_another_question_are_refused(
    lib: Lib, keys: OwnKeys, text: bytes, why: str
) -> None:
    told = fetched(lib, keys, text)
    reason, refused = told.strip().split("/")
    assert why in reason and refused == reason, "no other try would help"
    assert not (lib.folder / "words").exists()


def test_changed_words_are_refused(lib: Lib, keys: OwnKeys) -> None:
    text = own_image.document(NONCE, MAC, "d1", WORDS)
    told = fetched(lib, keys, text.replace(b"10.0.0.1", b"10.9.9.9"), signed=text)
    assert told.startswith("the words that came are not the server's: wrong/")
    assert not (lib.folder / "words").exists()


def test_the_kernel_of_this_machine_agrees_if_it_can(keys: OwnKeys, tmp_path: Path) -> None:
    """The agent has the kernel check; a PC's kernel has what modules with signatures need."""
    program = tmp_path / "agent"
    sources = sorted((INITRAMFS / "agent").glob("*.c"))
    subprocess.run(["gcc", "-std=gnu11", "-o", program, *sources], check=True)
    text = own_image.document(NONCE, MAC, "d1", WORDS)
    (tmp_path / "words.cer").write_bytes(keys.certificate())
    (tmp_path / "signature").write_bytes(keys.sign_words(text))

    def verify(sent: bytes) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(["sha256sum"], input=sent, capture_output=True, check=True)
        digest = done.stdout.split()[0].decode()
        files = map(str, (tmp_path / "words.cer", tmp_path / "signature"))
        words = [str(program), "verify", *files, digest]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    done = verify(text)
    if done.returncode == 5:
        pytest.skip(done.stderr.strip())
    assert (done.returncode, done.stderr) == (0, "")
    done = verify(text + b"x")
    assert done.returncode == 4 and "the signature is wrong" in done.stderr
    assert subprocess.run([program, "verify", "a", "b", "c"], check=False).returncode == 2
