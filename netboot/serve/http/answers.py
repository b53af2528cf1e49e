"""The questions of the HTTP server to the room, and its part for panels."""

from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from netboot.boot.ticket import Key
from netboot.feed.records import Report
from netboot.serve.http.beacon import Beacon
from netboot.serve.http.lease_request import LeaseRequest
from netboot.serve.http.menu import MenuAnswers


class Answers(MenuAnswers, Protocol):
    """The questions of the HTTP server to the room. Each ``mac`` is that of an admitted seat."""

    def is_awaited(self, address: IPv4Address) -> bool:
        """Return True if the kernel does not know a machine on our links yet. Have it look."""

    def admit(self, text: str, address: IPv4Address) -> Key | None:
        """Return the ticket or session ``text``, or None. Raises DeniedError."""

    def open(self, who: str, address: IPv4Address, *, begins: bool = False) -> Key | None:
        """Return the seat of a loader at ``address``, or None. Raises DeniedError.

        ``who`` is what its URL says. ``begins``: to begin a boot.
        """

    def seat_of(self, who: str, address: IPv4Address) -> str | None:
        """Return the seat of a loader that asks for what is nobody's secret, if it is known."""

    def is_boot_file(self, name: str) -> bool:
        """Return True if there may be a boot file ``name``, for all seats or for each its own."""

    def script(
        self, mac: str, name: str, server: IPv4Address, modules: str = "", *, begins: bool = True
    ) -> str | None:
        """Return the iPXE script ``name`` of a seat, or None if there is no such script.

        ``begins``: the script begins a boot. Else only its length counts.
        """

    def file(self, name: str, server: IPv4Address) -> Path | None:
        """Return the path of the boot image ``name`` at our address ``server``; None if there is none."""

    def begun(self, mac: str) -> None:
        """Note that a seat has begun to fetch a boot file."""

    def fetched(self, mac: str, name: str) -> None:
        """Note that a seat has fetched the boot file ``name``."""

    def missing(self, mac: str, name: str, address: IPv4Address) -> None:
        """Tell that a boot file does not exist. ``mac`` is empty if the seat is not known."""

    def unified(self, mac: str, name: str, server: IPv4Address) -> tuple[Path, str] | None:
        """Return the file ``name`` of this seat only, or None if there is none.

        The result is a file that all seats share, and the text that replaces its last characters.
        """

    def may_download(self, mac: str, name: str, patience: float) -> bool:
        """Return True if a seat may fetch such a file now; True after ``patience`` seconds."""

    def lease(self, mac: str, request: LeaseRequest) -> str:
        """Grant a swap lease. Return ``size=BYTES`` or ``refused=REASON``.

        `` token=TOKEN`` follows the size for a fresh lease and for a further area.
        """

    async def is_saved(self, mac: str, area: int) -> bool:
        """Wait until the next server would know the lease of an area; False if it cannot be saved."""

    def end_lease(self, mac: str, area: int) -> str:
        """End the lease of an area. Return ``ended`` or ``refused=REASON``."""

    def delete_kept(self, mac: str) -> str:
        """Delete the files that a seat keeps. Return the refusal; empty if they are gone."""

    def own_files(self, key: Key, server: IPv4Address, address: IPv4Address) -> bytes:
        """Return the archive with the files of a seat. Raises DeniedError without a session."""

    def order_refusal(self, key: str, order: str, mac: str) -> str:
        """Return why a caller with this key may not give the order; empty if it may."""

    def count(self, cpu_seconds: float) -> str:
        """Return what strangers may know as JSON: the number of seats, and ``cpu_seconds``."""

    def status(self, cpu_seconds: float) -> str:
        """Return the last event of each seat as JSON, without secrets."""

    def history(self, mac: str) -> str | None:
        """Return the events of a seat as JSON, without secrets; None if there are none."""

    def record(self, mac: str, stage: str, message: str, **data: Any) -> None:
        """Journal an event."""

    def beacon(self, mac: str, stage: str, beacon: Beacon) -> None:
        """Journal a beacon of an initramfs."""

    def report(self, mac: str, report: Report) -> None:
        """Note how a seat is. Each one tells it every 10 s."""

    def asked_orders(self, mac: str) -> None:
        """Note that the userland of a seat asks for orders."""


class Panels(Protocol):
    """The part of the server for panels (netboot.serve.feed)."""

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Return the routes that ask each request for the key of a panel."""

    def most_bytes(self, request: web.Request) -> int | None:
        """Return how long the body of a request may be; None for what holds for all."""
