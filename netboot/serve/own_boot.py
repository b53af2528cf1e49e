"""Boots of PCs with Secure Boot by a key of the operator's: the signed images, and a seat's words."""

import hashlib
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

from netboot.boot import own_image
from netboot.boot.arch import BY_NAME, OWN_FILES
from netboot.boot.client import Client, Stage
from netboot.boot.plan import INITRAMFS_FILE, KERNEL_FILE, STUB_FILE, has_own_files
from netboot.boot.ticket import Key
from netboot.boot.waits import Step
from netboot.errors import OperatorError
from netboot.host.files import replace_file
from netboot.profile.processors import AMD64
from netboot.serve.boot_files import BootFiles
from netboot.serve.own_keys import IMAGE_PEM, OwnKeys
from netboot.serve.room import Room

log = logging.getLogger(__name__)

SUFFIX = ".efi"
PREFIX = "own-"


@dataclass(slots=True)
class OwnImages:
    """Makes the signed images of ``files``, one for each address of ours, which it names.

    ``identity`` is empty if there are none. They are kept in the state folder, for the next start.
    """

    files: BootFiles
    keys: OwnKeys
    identity: str = ""

    def make(self, addresses: Iterable[IPv4Address]) -> None:
        """Make the images for these addresses, and forget others. Takes 0.4 s for each new one.

        PCs with Secure Boot have no image if that fails or there are no keys, with a warning: other PCs
        come first.
        """
        if not self.keys.exist():
            self._warn_without_keys()
            return
        try:
            self._make(addresses)
        except (OSError, ValueError, OperatorError) as error:
            why = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else error
            log.warning("no signed image for PCs with Secure Boot: %s", why)
            self.files.own, self.identity = {}, ""
            self.files.lacks |= OWN_FILES.keys()

    def _warn_without_keys(self) -> None:
        profile = self.files.profile
        rows = (
            profile.boot,
            *(row.boot for each in (profile.groups, profile.clients) for row in each.values()),
        )
        if any(row.loader == "own" for row in rows):
            log.warning(
                "key 'boot.loader': own, but %s has no keys: PCs with it get other loaders; run "
                "'sudo netboot keys init --state %s' and start again",
                self.keys.state,
                self.keys.state,
            )

    def _make(self, addresses: Iterable[IPv4Address]) -> None:
        if self.files.images is None or AMD64.name not in self.files.profile.boot.architectures:
            return
        self.keys.check()
        for path in self.keys.readable():
            log.warning(
                "%s: other users of this machine may read it and sign as this server; "
                "run 'sudo chmod 600 %s'",
                path,
                path,
            )
        folder = self.files.images / AMD64.name
        stub, kernel, initramfs, *more = (
            path.read_bytes()
            for path in (
                folder / STUB_FILE,
                folder / KERNEL_FILE,
                folder / INITRAMFS_FILE,
                *self.files.initrds.values(),
            )
        )
        initrds = (initramfs, *more, own_image.initrd_of(self.keys.certificate()))
        signer = (self.keys.state / IMAGE_PEM).read_bytes()
        profile = self.files.profile
        self.identity = own_image.identity((stub, kernel, *initrds), profile.boot.arguments)
        paths = {}
        for address in addresses:
            line = own_image.command_line(profile, address, self.identity)
            image = own_image.make(stub, kernel, initrds, line)
            name = own_image.identity((image, signer), "")  # with another key it is another file
            path = self.keys.state / f"{PREFIX}{name}{SUFFIX}"
            if not path.exists():
                replace_file(path, self.keys.sign_image(image), durable=True)
            paths[address] = path
        self.files.own = paths
        self.files.lacks -= OWN_FILES.keys()
        for stray in set(self.keys.state.glob(f"{PREFIX}*{SUFFIX}")) - set(paths.values()):
            stray.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class OwnBoot:
    """The answers of ``room`` to PCs that run one of the signed ``images``."""

    room: Room
    images: OwnImages

    def open(self, who: str, address: IPv4Address) -> Key | None:
        """Return the seat that begins a boot, or None. Raises DeniedError."""
        return self.room.open(who, address, begins=True) if self.images.identity else None

    def sign(self, text: bytes) -> bytes:
        """Return the signature of ``text``; it takes 5 ms. Raises OperatorError."""
        return self.images.keys.sign_words(text)

    def words(
        self, mac: str, nonce: str, image: str, server: IPv4Address, address: IPv4Address
    ) -> bytes:
        """Return what is to be signed for the /init of a seat that runs ``image``. A boot begins.

        No boot begins with another image than ours, and there are no words for it.
        """
        room, ours = self.room, self.images.identity
        seat = room.seats.of(mac)
        seat.attempts.started()
        seat.attempts.scripted()
        if image != ours:
            message = (
                "its signed image is not the one that this server has now; it has to boot again"
            )
            room.record(mac, "failed:secure", message)
            return own_image.document(nonce, mac, ours, "")
        room.next_boots.expire(mac, time.monotonic())
        client = Client(mac, BY_NAME["uefi-x64"], Stage.FIRMWARE)
        seat.session, seat.has_run = room.doors.begin(mac), False
        plan = room.plan_of(client, server)
        room.obstacle(plan)
        room.next_boots.began(mac, seat.session, time.monotonic())
        room.journal.prove(mac)
        room.silence.heard(mac, Step.LINUX, time.monotonic())
        digest = ""
        if has_own_files(plan.seat):
            files = room.own_files(Key(mac, seat.session), server, address)
            digest = hashlib.sha256(files).hexdigest()
        room.record(mac, "secure", "Secure Boot: the signed image runs and asks for its words")
        return own_image.document(nonce, mac, ours, own_image.seat_words(plan, digest))
