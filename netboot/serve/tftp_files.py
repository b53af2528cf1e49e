"""The files of a room over TFTP: loaders, first scripts, files for GRUB and Raspberry Pis.

Loaders and first scripts hold no secret. A file that begins a boot is for its seat's address only.
"""

import logging
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from netboot.boot import grub, ipxe, raspberry, unified
from netboot.boot.arch import BY_GRUB, BY_OUI, LOADERS, RASPBERRY_PI, is_grub
from netboot.boot.client import Client, Stage, is_played
from netboot.boot.plan import INITRAMFS_FILE, KERNEL_FILE, image_name
from netboot.errors import Ignored
from netboot.serve.room import Room, ipxe_client
from netboot.serve.tftp.server import Transfer, WithEnd
from netboot.serve.tftp.transfer import Outcome

log = logging.getLogger(__name__)

HTTP_FOLDER = "boot/"
NOT_YET = Ignored("its address is not known yet: it asks again")


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

        TFTP serves loaders and each seat's first script. GRUB also gets the files that HTTP serves,
        and a Raspberry Pi the files that its firmware asks for. ``server`` is the address that
        ``client`` asked. Without a ``client`` this is a rehearsal.
        """
        if client is not None and self.room.profile.boot.raspberry_pi is not None:
            pi = self.room.identity.mac_of(client)
            own = pi and pi[:8] in BY_OUI and self.raspberry_pi(path, pi, server)
            if own:
                return own
        if path in LOADERS:
            return self.room.file(path)
        if path == grub.FIRST_FILE:
            return grub.render_first().encode()
        if not path.startswith(HTTP_FOLDER):
            return self.script(path, server)
        text, _, name = path.removeprefix(HTTP_FOLDER).partition("/")
        if name in LOADERS:
            return self._loader(text, name, path.rpartition("/")[0], server)
        seat = self.room.seat_of(text)
        if seat is None:
            return None
        file = self.room.file(name)
        if client is not None:
            if not is_played(seat) and self.room.identity.is_awaited(client):
                return NOT_YET
            self.room.admit(text, client, begins=file is None)
        if file is not None:
            return file
        if name.endswith(grub.CONFIG_SUFFIX):
            return self._configuration(seat, name, server)
        made = self.room.unified(seat, name, server)
        return None if made is None else WithEnd(*made)

    def _loader(
        self, text: str, name: str, folder: str, server: IPv4Address
    ) -> bytes | Path | None:
        if self.room.seat_of(text) is None:
            return None
        file = self.room.file(name)
        if file is not None and is_grub(name) and not LOADERS[name].signed:
            return self._aimed(file, folder, server)
        return file

    def _aimed(self, loader: Path, folder: str, server: IPv4Address) -> bytes | None:
        """Return a GRUB that knows its seat's ``folder``, or None if it cannot be read."""
        platform = next((row.grub for row in BY_GRUB.values() if loader.name in row.loaders), "")
        try:
            return grub.aimed(loader.read_bytes(), str(server), folder, platform)
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
        if arch is None or self.room.images is None:
            return None
        return grub.render(self.room.grub_plan(mac, arch, server), str(server)).encode()

    def raspberry_pi(self, path: str, mac: str, server: IPv4Address) -> bytes | Path | None:
        """Return a Pi's file: the one in the operator's folder, else ours of the same name.

        Return None if neither exists, or if Pis are not served.
        """
        if self.room.profile.boot.raspberry_pi is None or self.room.images is None:
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
            return self.room.file(image_name(raspberry.PROCESSOR, name))
        return None

    def script(self, path: str, server: IPv4Address) -> bytes | None:
        """Return a seat's first script, ``TICKET/ARCH.ipxe``, which leads to HTTP, or None."""
        ticket_text, _, name = path.partition("/")
        mac = self.room.seat_of(ticket_text)
        client = None if mac is None else ipxe_client(mac, name)
        if client is None:
            return None
        return ipxe.render_chain(
            self.room.plan_of(client, server), self.room.base_url(server)
        ).encode()

    def transferred(self, transfer: Transfer) -> None:
        """Journal a TFTP transfer for the seat whose ticket its path has, or else whose address."""
        path = transfer.filename.lstrip("/").removeprefix(HTTP_FOLDER)
        folder, _, name = path.partition("/") if "/" in path else ("", "", path)
        known = self.room.identity.mac_of(IPv4Address(transfer.client))
        mac = self.room.seat_of(folder) or known
        if mac is None or transfer.outcome is Outcome.PROBE:
            return
        refused = transfer.outcome is Outcome.REFUSED
        if known != mac and (known is not None or refused):
            return  # another machine with this seat's ticket, which ``admit`` told if it matters
        if refused and mac[:8] in BY_OUI and not raspberry.is_needed(transfer.filename):
            return  # a Pi asks for a dozen files that need not exist
        if refused and not grub.is_needed(name):
            return
        if transfer.outcome is Outcome.DONE:
            self.room.fetched(mac, name)
        kilobytes = transfer.sent / 1e3
        self.room.record(
            mac,
            "tftp",
            f"{name} {kilobytes:.1f} kB in {transfer.seconds:.2f} s"
            + ("" if transfer.outcome is Outcome.DONE else f": {transfer.outcome}")
            + (f" ({transfer.reason})" if transfer.outcome is Outcome.BROKEN else ""),
            file=name,
            bytes=transfer.sent,
            seconds=round(transfer.seconds, 3),
        )
