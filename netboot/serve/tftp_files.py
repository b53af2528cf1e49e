"""The files of a room over TFTP: loaders, first scripts, files for GRUB and Raspberry Pis.

Loaders and first scripts have fixed names and hold no secret. A file that begins a boot is for its
seat's address only.
"""

import errno
import logging
import os
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from netboot.boot import given, grub, ipxe, raspberry, ticket, unified
from netboot.boot.arch import (
    BY_GRUB,
    BY_OUI,
    GIVEN_FOLDER,
    LOADERS,
    OWN_FILES,
    OWN_IMAGE,
    RASPBERRY_PI,
    is_grub,
)
from netboot.boot.client import Client, Stage, is_played
from netboot.boot.plan import ANY_SCRIPT, INITRAMFS_FILE, KERNEL_FILE, image_name
from netboot.errors import Ignored
from netboot.host.text import printable
from netboot.serve.boot_files import SCRIPT_SUFFIX, ipxe_client
from netboot.serve.room import Room
from netboot.serve.tftp.content import NO_SUCH_FILE
from netboot.serve.tftp.server import Transfer, WithEnd
from netboot.serve.tftp.transfer import Outcome

log = logging.getLogger(__name__)

HTTP_FOLDER, GRUB_FOLDER = "boot/", "grub/"
# Likely causes by the reasons of transfers of which the client acknowledged nothing.
CAUSES = {
    "no answer": "a firewall, or a smaller MTU on the way?",
    os.strerror(errno.EPERM): "this machine's firewall lets out no answer",
}
NOT_YET = Ignored("its address is not known yet: it asks again")
NOT_ITS_TURN = Ignored("other PCs download: it asks again")
# UEFI asks six times, 4 s apart (EDK2, PxeBcImpl.h: PXEBC_MTFTP_RETRIES, PXEBC_MTFTP_TIMEOUT).
PATIENCE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class TftpFiles:
    """The files of ``room``. Called from the event loop: no method waits."""

    room: Room

    def file(
        self, path: str, server: IPv4Address, client: IPv4Address | None = None
    ) -> bytes | Path | WithEnd | Ignored | None:
        """Return the content or the path of a file, or None if TFTP does not serve ``path``.

        Ignored means that ``client`` has to ask again. Raises DeniedError if the file is another
        PC's.

        TFTP serves loaders and the first script. GRUB also gets the files that HTTP serves, and a
        Raspberry Pi the files that its firmware asks for. ``server`` is the address that ``client``
        asked. Without a ``client`` this is a rehearsal, for the seat that ``path`` names.
        """
        if client is not None:
            self.room.asked_file(client)
        if client is not None and self.room.profile.boot.raspberry_pi is not None:
            pi = self.room.identity.mac_of(client)
            own = pi and pi[:8] in BY_OUI and self._own_file_of_a_pi(path, pi, client, server)
            if own:
                return own
        if path == grub.FIRST_FILE:
            return grub.render_first().encode()
        who, name = ticket.split(path.removeprefix(HTTP_FOLDER))
        if name in OWN_FILES:
            return self._own(name, server, client)
        if name in LOADERS:
            return self._loader(name, server)
        if name.startswith(GIVEN_FOLDER) and not name.endswith(SCRIPT_SUFFIX):
            return self.room.file(name, server)
        if not path.startswith(HTTP_FOLDER) or name.endswith(SCRIPT_SUFFIX):
            return self.script(name, server)
        return self._file_of_a_seat(who, name, server, client)

    def _file_of_a_seat(
        self, who: str, name: str, server: IPv4Address, client: IPv4Address | None
    ) -> bytes | Path | WithEnd | Ignored | None:
        is_configuration = name.endswith(grub.CONFIG_SUFFIX)
        if not (is_configuration or self.room.is_boot_file(name)):
            return None
        file, seat = self.room.file(name, server), who
        if client is not None:
            if not is_played(who) and self.room.is_awaited(client):
                return NOT_YET
            key = self.room.open(who, client, begins=file is None)
            if key is None:
                return None
            seat = key.mac
        if file is not None:
            return file
        if is_configuration:
            return self._configuration(seat, name, server)
        made = self.room.unified(seat, name, server)
        if made is None:
            return None
        if client is not None and not self.room.may_download(seat, name, PATIENCE_SECONDS):
            return NOT_ITS_TURN
        return WithEnd(*made)

    def _own(
        self, name: str, server: IPv4Address, client: IPv4Address | None
    ) -> Path | Ignored | None:
        """Return a file for Secure Boot with a key of the operator's; the large one in its turn."""
        file = self.room.file(name, server)
        seat = None if client is None or file is None else self.room.identity.mac_of(client)
        if name != OWN_IMAGE or seat is None:
            return file
        return file if self.room.may_download(seat, name, PATIENCE_SECONDS) else NOT_ITS_TURN

    def _loader(self, name: str, server: IPv4Address) -> bytes | Path | None:
        file = self.room.file(name, server)
        if file is not None and is_grub(name) and not LOADERS[name].signed:
            return self._aimed(file, server)
        return file

    def _aimed(self, loader: Path, server: IPv4Address) -> bytes | None:
        """Return a GRUB that knows its ``server``, or None if it cannot be read."""
        platform = next((row.grub for row in BY_GRUB.values() if loader.name in row.loaders), "")
        try:
            return grub.aimed(loader.read_bytes(), str(server), platform)
        except OSError as error:
            log.warning("%s: %s", loader, error.strerror)
            return None

    def _configuration(self, mac: str, name: str, server: IPv4Address) -> bytes | None:
        """Return the configuration file ``name`` for a seat's GRUB, or None if there is none."""
        if name == grub.FAILED_FILE:
            message = "GRUB could not start the kernel; with Secure Boot the kernel must be signed"
            self.room.record(mac, "failed:loader", message)
            return grub.render_failed().encode()
        arch = BY_GRUB.get(name.removesuffix(grub.CONFIG_SUFFIX))
        if arch is None or self.room.files.images is None:
            return None
        plan = self.room.grub_plan(mac, arch, server)
        obstacle = self.room.obstacle(plan)
        if obstacle:
            return grub.render_obstacle(plan, str(server), obstacle).encode()
        return grub.render(plan, str(server)).encode()

    def _own_file_of_a_pi(
        self, path: str, mac: str, client: IPv4Address, server: IPv4Address
    ) -> bytes | Path | None:
        names = raspberry.names(path)
        if names and names[-1] == raspberry.COMMAND_LINE_FILE:
            self.room.open("", client, begins=True)
        return self.raspberry_pi(path, mac, server)

    def raspberry_pi(self, path: str, mac: str, server: IPv4Address) -> bytes | Path | None:
        """Return a Pi's file: the one in the operator's folder, else ours of the same name.

        Return None if neither exists, or if Pis are not served.
        """
        if self.room.profile.boot.raspberry_pi is None or self.room.files.images is None:
            return None
        folder, names = Path(self.room.profile.boot.raspberry_pi).resolve(), raspberry.names(path)
        for name in names:
            found = (folder / name).resolve()
            if found.is_file() and found.is_relative_to(folder):
                return found
        name = names[-1] if names else ""
        if name == raspberry.CONFIG_FILE:
            return raspberry.render_config().encode()
        if name == raspberry.COMMAND_LINE_FILE:
            plan = self.room.plan_of(Client(mac, RASPBERRY_PI, Stage.FIRMWARE), server)
            return (unified.command_line(plan) + "\n").encode()
        if name in (KERNEL_FILE, INITRAMFS_FILE):
            return self.room.file(image_name(raspberry.PROCESSOR, name), server)
        return None

    def script(self, name: str, server: IPv4Address) -> bytes | None:
        """Return the first script, ``ARCH.ipxe`` or that of any kind, which leads to HTTP, or None."""
        room = self.room
        if name == ANY_SCRIPT:
            return ipxe.render_any(room.base_url(server), room.other_url(server)).encode()
        if name == given.AUTOEXEC and room.files.given:
            return given.render_autoexec(room.base_url(server), room.other_url(server)).encode()
        if ipxe_client("", name) is None:
            return None
        return ipxe.render_chain(name, room.base_url(server), room.other_url(server)).encode()

    def transferred(self, transfer: Transfer) -> None:
        """Journal a TFTP transfer for the seat that its path names, or else whose address it is."""
        who, name = ticket.split(transfer.filename.lstrip("/").removeprefix(HTTP_FOLDER))
        # Without the folder of a Pi, or of GRUB.
        name = (raspberry.names(name) or (name,))[-1].removeprefix(GRUB_FOLDER)
        address = IPv4Address(transfer.client)
        known, mac = self.room.identity.mac_of(address), self.room.seat_of(who, address)
        if transfer.outcome is Outcome.REFUSED:
            self._refused(self.room.identity.seat_at(address), address, name, transfer)
            return
        why = _why(transfer)
        if transfer.reason in CAUSES and not transfer.sent and not is_played(who):
            message = f"TFTP: {address} acknowledged nothing of {printable(name)}{why}"
            self.room.warn(str(address), message)
        if mac is None or transfer.outcome is Outcome.PROBE:
            return
        if known not in (mac, None):
            return  # another machine with this seat's key, which ``open`` told if it matters
        # Behind a router nobody knows better. On a link the kernel does, if it is the PC at all.
        is_far = not self.room.identity.links.is_on_link(IPv4Address(transfer.client))
        if transfer.outcome is Outcome.DONE and (known == mac or is_far):
            self.room.fetched(mac, name)
        kilobytes = transfer.sent / 1e3
        self.room.record(
            mac,
            "tftp",
            f"{name} {kilobytes:.1f} kB in {transfer.seconds:.2f} s"
            + ("" if transfer.outcome is Outcome.DONE else f": {transfer.outcome}")
            + why,
            file=name,
            bytes=transfer.sent,
            seconds=round(transfer.seconds, 3),
            **({"broken": True} if transfer.outcome is Outcome.BROKEN else {}),
        )

    def _refused(
        self, mac: str | None, address: IPv4Address, name: str, transfer: Transfer
    ) -> None:
        """Tell of a refusal, but not of files that need not exist."""
        is_pi = mac is not None and mac[:8] in BY_OUI
        if is_pi and not raspberry.is_needed(transfer.filename):
            return  # a Pi asks for a dozen of them
        if not grub.is_needed(name) or name == ipxe.AUTOEXEC_FILE:
            return
        if transfer.reason == NO_SUCH_FILE:
            self.room.missing(mac or "", name, address, "tftp")
        else:
            self.room.doors.refused(mac, address, "tftp", name, transfer.reason)


def _why(transfer: Transfer) -> str:
    """Return why a transfer broke off, in brackets, with the likely cause if nothing arrived."""
    if transfer.outcome is not Outcome.BROKEN:
        return ""
    cause = "" if transfer.sent else CAUSES.get(transfer.reason, "")
    return f" ({transfer.reason}: {cause})" if cause else f" ({transfer.reason})"
