"""A boot image that is signed for Secure Boot, and the words that it gets from its server. Pure.

A signed image is the same for all PCs, so its command line has nothing of a seat. It has the server,
the operator's kernel arguments, and the digest of all that is in the image. /init asks the server for
the words of its seat, and believes them only with the server's signature (initramfs/words.sh). The
words answer a random number, so that none are good for a second boot. They name the digests of what
follows: of the seat's files, and of the tree of hashes over its root image. And they go only to the
image that the server has now, so an older one does not boot.
"""

import hashlib
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address
from uuid import UUID

from netboot.boot import cpio, rank
from netboot.boot.plan import NO_SELF_TESTS, BootPlan
from netboot.boot.unified import COMMAND_LINE_BYTES, concatenated, unified
from netboot.errors import OperatorError
from netboot.profile.profile import Profile

CERTIFICATE = "etc/netboot/words.cer"  # in the initramfs of the image
TITLE = "netboot words 1"
NONCE_DIGITS = 32
KEY = "netboot.secure"
IDENTITY_DIGITS = 32
X509 = UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")  # EFI_CERT_X509_GUID
OWNER = UUID("2f4c6b1e-6a55-4a0c-9d53-6a3f1d1a7c58")  # of a signature that netboot makes; any UUID


def identity(parts: Iterable[bytes], arguments: str) -> str:
    """Return the digest of an image: of its parts in order, and of the operator's arguments."""
    digest = hashlib.sha256()
    for part in (*parts, arguments.encode()):
        digest.update(len(part).to_bytes(8) + part)
    return digest.hexdigest()[:IDENTITY_DIGITS]


def initrd_of(certificate: bytes) -> bytes:
    """Return the initrd with the certificate of the server's words, for one image."""
    return cpio.archive([cpio.file(CERTIFICATE, certificate)])


def command_line(profile: Profile, server: IPv4Address, image: str) -> str:
    """Return the command line of the image with the digest ``image``.

    The operator's words come first: none of them replaces those that decide whom the PC believes.
    Raises OperatorError if Linux would cut it off.
    """
    servers = ",".join(map(str, rank.with_other(server, profile.boot.servers)))
    words = [NO_SELF_TESTS, *profile.boot.arguments.split()]
    words.append(f"netboot.on_failure={profile.boot.on_failure}")
    words += [f"netboot.server=http://{servers}:{profile.http.port}", f"{KEY}={image}"]
    line = " ".join(words)
    if len(line) >= COMMAND_LINE_BYTES:
        raise OperatorError(
            f"key 'boot.arguments': too long for a signed image: {len(line)} characters in all, "
            f"expected at most {COMMAND_LINE_BYTES - 1}"
        )
    return line


def make(stub: bytes, kernel: bytes, initrds: Iterable[bytes], line: str) -> bytes:
    """Return the image, not signed yet. Raises OperatorError."""
    sections = {".cmdline": line.encode(), ".initrd": concatenated(initrds), ".linux": kernel}
    return unified(stub, sections)


def seat_words(plan: BootPlan, files_sha256: str) -> str:
    """Return the words of one boot. ``files_sha256`` is empty if the seat has no files of its own.

    The kernel that runs can verify a root image, so it must.
    """
    words = [f"netboot.hostname={plan.seat.hostname}"]
    words += [
        each.replace("netboot.verify=auto,", "netboot.verify=yes,") for each in plan.arguments
    ]
    if files_sha256:
        words.append(f"netboot.files={files_sha256}")
    return " ".join(words)


def document(nonce: str, mac: str, image: str, words: str) -> bytes:
    """Return what is signed: the PC's own question, the server's image, and the words for the seat.

    ``words`` are empty if the PC runs another image.
    """
    return f"{TITLE}\n{nonce}\n{mac}\n{image}\n{words}\n".encode()


def signature_list(certificate: bytes) -> bytes:
    """Return a certificate (DER) as the EFI signature list that some firmware and tools want.

    Format: UEFI specification 2.10, section 32.4.1, EFI_SIGNATURE_LIST and EFI_SIGNATURE_DATA.
    """
    size = len(OWNER.bytes_le) + len(certificate)
    header = struct.pack("<16s3I", X509.bytes_le, 28 + size, 0, size)
    return header + OWNER.bytes_le + certificate


def is_nonce(text: str) -> bool:
    """Return True for the random number of a PC that asks."""
    return len(text) == NONCE_DIGITS and set(text) <= set("0123456789abcdef")
