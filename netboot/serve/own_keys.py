"""The keys of the operator's own, by which PCs with Secure Boot know this server and its images.

One key signs boot images. Its certificate is enrolled in the PCs, so it stays for years. The other
signs the words of a seat, and its certificate is in those images. Both are RSA keys of 2048 bits,
which all firmware and every kernel with signed modules can check. openssl makes the keys and signs
words, sbsign signs images: both are packages of Debian.
"""

import os
import re
import socket
import ssl
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from netboot.boot import own_image
from netboot.errors import OperatorError
from netboot.host.files import PRIVATE, READABLE, replace_file
from netboot.host.programs import check_installed, convert, run

# In the state folder. The certificates are no secrets.
IMAGE_KEY, IMAGE_PEM = "own-image.key", "own-image.pem"
WORDS_KEY, WORDS_PEM = "own-words.key", "own-words.pem"
IMAGE_PAIR, WORDS_PAIR = (IMAGE_KEY, IMAGE_PEM), (WORDS_KEY, WORDS_PEM)
FILES = (*IMAGE_PAIR, *WORDS_PAIR)
# The certificate in DER and as an EFI signature list, for firmware; nothing here needs them.
IMAGE_CER, IMAGE_ESL = "own-image.cer", "own-image.esl"
SIGNATURE_BYTES = 256  # of a key of 2048 bits
DAYS = 7300  # the machines of a school get old; the firmware ignores the date
PROGRAMS = {"openssl": "openssl", "sbsign": "sbsigntool"}


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """The keys in the folder ``state``."""

    state: Path

    def exist(self) -> bool:
        """Return True if both keys are there."""
        return all((self.state / name).exists() for name in FILES)

    def check(self) -> None:
        """Check that each key can be read and is that of its certificate. Takes 30 ms.

        Raises OperatorError, OSError.
        """
        for key, certificate in (IMAGE_PAIR, WORDS_PAIR):
            paths = self.state / key, self.state / certificate
            for path in paths:
                path.open("rb").close()
            of_key = ("openssl", "pkey", "-pubout", "-in", str(paths[0]))
            of_certificate = ("openssl", "x509", "-pubkey", "-noout", "-in", str(paths[1]))
            public = [
                run(words, package="openssl", check=False) for words in (of_key, of_certificate)
            ]
            if any(each.returncode for each in public) or public[0].stdout != public[1].stdout:
                raise OperatorError(
                    f"{paths[0]}: it is not the key of {certificate}: one of them is damaged, or of "
                    "another server",
                    hint="restore both from one backup, or copy both from the other server",
                )

    def readable(self) -> list[Path]:
        """Return the keys that others than their owner can read. Raises OSError."""
        keys = (self.state / name for name in (IMAGE_KEY, WORDS_KEY))
        return [path for path in keys if path.stat().st_mode & 0o077]

    def certificate(self) -> bytes:
        """Return the certificate of the words, in DER. Raises OSError, ValueError."""
        return ssl.PEM_cert_to_DER_cert((self.state / WORDS_PEM).read_text())

    def sign_words(self, text: bytes) -> bytes:
        """Return the signature of a text: RSA, PKCS#1 v1.5, SHA-256. Takes 5 ms.

        Raises OperatorError.
        """
        words = ("openssl", "dgst", "-sha256", "-sign", str(self.state / WORDS_KEY))
        return convert(words, text, package="openssl")

    def sign_image(self, image: bytes) -> bytes:
        """Return an EFI program with its signature. Takes 0.3 s. Raises OperatorError, OSError."""
        with tempfile.TemporaryDirectory(prefix="netboot-sign-") as folder:
            plain, signed = Path(folder) / "plain.efi", Path(folder) / "signed.efi"
            plain.write_bytes(image)
            key, certificate = self.state / IMAGE_KEY, self.state / IMAGE_PEM
            words = ["sbsign", "--key", str(key), "--cert", str(certificate)]
            run([*words, "--output", str(signed), str(plain)], package=PROGRAMS["sbsign"])
            return signed.read_bytes()


def make(state: Path) -> OwnKeys:
    """Make both keys in the folder ``state``, or what is missing of an earlier time.

    A key of images without its certificate, or a certificate without its key, is not replaced. The key
    of words is: no PC has its certificate but in an image.

    Raises OperatorError, also if nothing is missing: PCs trust the keys, and would not boot with others.
    """
    there = {name for name in (*FILES, IMAGE_CER, IMAGE_ESL) if (state / name).exists()}
    wanted = [pair for pair in (IMAGE_PAIR, WORDS_PAIR) if not there.issuperset(pair)]
    if not wanted and {IMAGE_CER, IMAGE_ESL} <= there:
        raise OperatorError(
            f"{state / IMAGE_KEY}: there are keys already, which PCs may have enrolled",
            hint=f"the certificate to enrol is {state / IMAGE_CER}; for other keys: --state with a new "
            "folder, then docs/howto/secure-boot.md",
        )
    _refuse_half(state, there)
    check_installed(PROGRAMS)
    host = re.sub(r"[^A-Za-z0-9.-]", "", socket.gethostname())[:32] or "server"
    try:
        state.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".own-", dir=state) as folder:
            made = Path(folder)
            for key, certificate in wanted:
                use = "images" if key == IMAGE_KEY else "words"
                # Pages of firmware show the name alone; the date tells an old certificate from a new.
                name = (
                    f"netboot {use} of {host}, {time.strftime('%Y-%m-%d')}"  # 62 of 64 characters
                )
                _make_key(made, key, certificate, name)
            pem = (made if IMAGE_PAIR in wanted else state) / IMAGE_PEM
            der = ssl.PEM_cert_to_DER_cert(pem.read_text())
            (made / IMAGE_CER).write_bytes(der)
            (made / IMAGE_ESL).write_bytes(own_image.signature_list(der))
            _keep(made, state)
    except OSError as error:
        raise OperatorError(
            f"{state}: cannot keep keys: {error.strerror}",
            hint="this needs root (sudo), and room on the disk",
        ) from error
    return OwnKeys(state)


def _refuse_half(state: Path, there: set[str]) -> None:
    for here, missing in (IMAGE_PAIR, IMAGE_PAIR[::-1]):
        if here in there and missing not in there:
            raise OperatorError(
                f"{state / missing}: it is missing, but {here} is there: PCs may have its certificate",
                hint=f"restore it from a backup; if it is lost, move {state}/own-image.* away, run this "
                "again and enrol the new certificate in each PC",
            )


def _keep(made: Path, state: Path) -> None:
    """Move the files of a folder to ``state``, whose owner gets them: root may run this command.

    The key of images is last: without it an interruption leaves nothing that signs.
    """
    owner = state.stat()
    for path in sorted(made.iterdir(), key=lambda path: path.name == IMAGE_KEY):
        mode = PRIVATE if path.suffix == ".key" else READABLE
        replace_file(state / path.name, path.read_bytes(), mode=mode, durable=True)
        os.chown(state / path.name, owner.st_uid, owner.st_gid)


def _make_key(folder: Path, key: str, certificate: str, name: str) -> None:
    run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-sha256", "-nodes"),
            *("-days", str(DAYS), "-subj", f"/CN={name}/"),
            *("-keyout", str(folder / key), "-out", str(folder / certificate)),
        ],
        package="openssl",
    )
