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
from dataclasses import dataclass
from pathlib import Path

from netboot.errors import OperatorError
from netboot.host.files import PRIVATE, READABLE, create_file
from netboot.host.programs import check_installed, convert, run

# In the state folder. The certificates are no secrets.
IMAGE_KEY, IMAGE_PEM = "own-image.key", "own-image.pem"
WORDS_KEY, WORDS_PEM = "own-words.key", "own-words.pem"
FILES = (IMAGE_KEY, IMAGE_PEM, WORDS_KEY, WORDS_PEM)
IMAGE_CER = "own-image.cer"  # the certificate in DER, for firmware; nothing here needs it
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
    """Make both keys in the folder ``state``.

    Raises OperatorError, also if there are keys: PCs trust them, and would not boot with others.
    """
    there = [name for name in FILES if (state / name).exists()]
    if there:
        raise OperatorError(
            f"{state / there[0]}: there are keys already, which PCs may have enrolled",
            hint="to make others, move the files own-* away; then enrol the new certificate in each PC",
        )
    check_installed(PROGRAMS)
    host = re.sub(r"[^A-Za-z0-9.-]", "", socket.gethostname())[:32] or "server"
    try:
        state.mkdir(parents=True, exist_ok=True)
        owner = state.stat()
        with tempfile.TemporaryDirectory(prefix=".own-", dir=state) as folder:
            made = Path(folder)
            _make_key(made, IMAGE_KEY, IMAGE_PEM, f"netboot images of {host}")
            _make_key(made, WORDS_KEY, WORDS_PEM, f"netboot words of {host}")
            der = ssl.PEM_cert_to_DER_cert((made / IMAGE_PEM).read_text())
            (made / IMAGE_CER).write_bytes(der)
            for name in (*FILES, IMAGE_CER):
                mode = PRIVATE if name.endswith(".key") else READABLE
                create_file(state / name, (made / name).read_bytes(), mode=mode)
                os.chown(state / name, owner.st_uid, owner.st_gid)  # root may run this command
    except OSError as error:
        raise OperatorError(
            f"{state}: cannot keep keys: {error.strerror}",
            hint="this needs root (sudo), and room on the disk",
        ) from error
    return OwnKeys(state)


def _make_key(folder: Path, key: str, certificate: str, name: str) -> None:
    run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-sha256", "-nodes"),
            *("-days", str(DAYS), "-subj", f"/CN={name}/"),
            *("-keyout", str(folder / key), "-out", str(folder / certificate)),
        ],
        package="openssl",
    )
