"""``netboot doctor``: play a PC against the server of this machine, check each step, and look around.

The played PC, ``PROBE_MAC``, is not a seat: it is in no list, and its swap is a single page.
"""

import asyncio
import hashlib
import os
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from netboot.boot.arch import BY_CODE
from netboot.boot.client import PROBE_MAC
from netboot.boot.ipxe import Boot, Chain, read, read_obstacle
from netboot.boot.snippets import facts
from netboot.deploy import layout, surroundings
from netboot.deploy.packaged import IMAGES_SERVICE
from netboot.errors import AnswerError, OperatorError, ProtocolError
from netboot.host.interfaces import Interface, find, one_of_each
from netboot.images.manifest import read as read_manifest
from netboot.pages.nbd.backing import PAGE_BYTES
from netboot.pages.nbd.client import SwapEntry
from netboot.profile.profile import Profile
from netboot.roots import checks
from netboot.roots.library import Library
from netboot.serve.dhcp.client import Asking
from netboot.serve.dhcp.packet import MessageType, Option, Packet
from netboot.serve.dhcp.question import Asker
from netboot.serve.http.client import http_download, http_read
from netboot.serve.http.status import is_there
from netboot.serve.leases import Granted, parse, serialize
from netboot.serve.tftp.client import fetch

RETRY_SECONDS = 0.3
DHCP_WAITS = (1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Finding:
    """One check on one interface. ``detail`` is one line to print, also if the check is ``ok``.

    A thing that could not be looked at is ``ok``, as it is no failure, but not ``known``.
    """

    interface: str
    check: str
    ok: bool
    detail: str
    seconds: float
    known: bool = True

    @property
    def verdict(self) -> str:
        """One word for a person."""
        return "FAILED" if not self.ok else "ok" if self.known else "unknown"

    def as_json(self) -> dict[str, Any]:
        """Return the finding as JSON-ready values."""
        return asdict(self)


def examine(
    profile: Profile,
    manifest: Path | None = None,
    wait: float = 0,
    alive: Callable[[], bool] = lambda: True,
) -> list[Finding]:
    """Check the server of ``profile`` on each interface; return the findings.

    Failed checks are repeated for ``wait`` seconds, as long as the server is ``alive``. If
    ``manifest`` is given, the served images must have its sums. Raises OperatorError if there is no
    interface to ask on.
    """
    deadline = time.monotonic() + wait
    sums = {} if manifest is None else _sums(manifest)
    first = None if profile.dhcp.range is None else profile.dhcp.range.first
    while True:
        findings = [
            finding
            for interface in one_of_each(find(*profile.interface), first)
            for finding in asyncio.run(_Walk(profile, interface, sums).steps())
        ]
        well = all(finding.ok for finding in findings)
        if well or time.monotonic() > deadline or not alive():
            return findings
        time.sleep(RETRY_SECONDS)


def look_around(profile: Profile) -> list[Finding]:
    """Check what is around the server of ``profile``: cards, clock, firewall. Raises OperatorError."""
    findings = []
    for interface in find(*profile.interface):
        begin = time.monotonic()
        sights = surroundings.look(profile, interface)
        taken = round(time.monotonic() - begin, 3)
        findings += [
            Finding(interface.name, sight.check, sight.ok, sight.detail, taken, sight.known)
            for sight in sights
        ]
    return findings


def read_roots(profile: Profile, library: Library) -> list[Finding]:
    """Check the current version of each root image of ``profile``: all its bytes are read."""
    findings = []
    for name in sorted(profile.image_names):
        begin, version = time.monotonic(), library.current(name)
        if version is None:
            told, fine = checks.missing(name, library), False
        else:
            told = checks.line(version, checks.damage(version))
            told = told or (checks.without_nfs(version) if name in profile.nfs_images else "")
            told = told or (checks.without_login(version) if name in profile.login_images else "")
            told, fine = told or f"{version.label}, {version.manifest.size / 1e6:.1f} MB", not told
        taken = round(time.monotonic() - begin, 3)
        findings.append(Finding("", "root", fine, told, taken))
    return findings


def _sums(manifest: Path) -> dict[str, str]:
    try:
        return {file.name: file.sha256 for file in read_manifest(manifest).files}
    except (OSError, ValueError) as error:
        raise OperatorError(f"{manifest}: not a manifest of images: {error}") from None


def named_file(offer: Packet) -> str:
    """Return the boot file of an offer: option 67, or the field; empty if there is none."""
    name = offer.options.get(Option.BOOTFILE_NAME, b"") or offer.file
    return name.partition(b"\0")[0].decode("ascii", "replace")


class _NotLookedAt(Exception):
    """A step that this user cannot take. The next steps go on without its answer."""


class _Walk:
    """The boot of one PC on one interface. Each step uses the answer of the step before."""

    def __init__(self, profile: Profile, interface: Interface, sums: dict[str, str]) -> None:
        self._profile = profile
        self._interface = interface
        self._sums = sums
        self._boot_file = ""
        self._script = ""
        self._boot = Boot((), {})

    async def steps(self) -> list[Finding]:
        """Return the findings; after a failed step the rest cannot be checked."""
        findings: list[Finding] = []
        steps: Sequence[tuple[str, Callable[[], Awaitable[str]]]] = (
            ("dhcp", self._dhcp),
            ("tftp", self._tftp),
            ("script", self._http_script),
            ("images", self._images),
            ("pages", self._pages),
        )
        for name, step in steps:
            begin, known = time.monotonic(), True
            try:
                detail, fine = await step(), True
            except _NotLookedAt as reason:
                detail, fine, known = str(reason), True, False
            except (AnswerError, OperatorError, ProtocolError) as error:
                detail, fine = str(error), False
            taken = round(time.monotonic() - begin, 3)
            findings.append(Finding(self._interface.name, name, fine, detail, taken, known))
            if not fine:
                break
        return findings

    async def _dhcp(self) -> str:
        here = self._interface.address
        if os.geteuid():
            self._boot_file = f"{BY_CODE[0].name}.ipxe"
            raise _NotLookedAt("skipped: only root may ask as a PC does")
        if self._profile.dhcp.mode == "none":
            return await self._dhcp_of_the_lan(here)
        question = Asker(PROBE_MAC, BY_CODE[0], ipxe=True).discover(secrets.randbits(32))
        with closing(Asking(self._interface)) as asking:
            try:
                offer = await asking.ask(question, here, [MessageType.DHCPOFFER], DHCP_WAITS)
            except AnswerError as error:
                raise AnswerError(f"{error}; {self._whereabouts()}") from None
        self._boot_file = offer.file.decode("ascii", "replace")
        if not self._boot_file:
            raise AnswerError("the OFFER names no boot file")
        return f"OFFER from {here}"

    async def _dhcp_of_the_lan(self, here: IPv4Address) -> str:
        """Ask the LAN's own DHCP server, which must name our files (dhcp.mode none)."""
        self._boot_file = f"{BY_CODE[0].name}.ipxe"
        known = facts(self._profile, here)
        row = next(row for row in known.rows if not row.by_http)
        asker = Asker(PROBE_MAC, BY_CODE[row.code])
        files = {row.file for row in known.rows if not row.by_http}
        told = []
        with closing(Asking(self._interface)) as asking:
            # A server that names one file for firmware and iPXE will do (snippets.instead_of_loader).
            for each, best, wanted in (
                (asker, row.file, files),
                (asker.chained(), known.script, {*files, known.script}),
            ):
                question = each.discover(secrets.randbits(32))
                try:
                    offer = await asking.ask(
                        question, None, [MessageType.DHCPOFFER], surroundings.LAN_WAITS
                    )
                except AnswerError:
                    reason = "cannot tell: the LAN's DHCP server offers the doctor no address"
                    raise _NotLookedAt(reason) from None
                server, file = offer.siaddr, named_file(offer)
                if server != here or file not in wanted:
                    named = f"'{file}' at {server}" if file else "no boot file"
                    whose = offer.address(Option.SERVER_IDENTIFIER)
                    raise AnswerError(
                        f"the LAN's DHCP server {whose} names {named}: expected '{best}' at "
                        f"{here}; 'netboot dhcp-snippet' prints how"
                    )
                told.append(file)
        return f"the LAN's DHCP server names {' and '.join(dict.fromkeys(told))}"

    def _whereabouts(self) -> str:
        """Return what to look at if there is no OFFER."""
        if is_there(f"127.0.0.1:{self._profile.http.port}"):
            name = self._interface.name
            return f"a server runs here: does it have this profile, and serve {name}?"
        if layout.PACKAGED.exists():  # the first start builds boot images, which takes minutes
            return f"is it running? systemctl status {layout.SERVICE} {IMAGES_SERVICE}"
        return "is 'netboot serve' running?"

    async def _tftp(self) -> str:
        content = await fetch(self._interface.address, self._boot_file)
        first = read(content.decode("ascii", "replace"), PROBE_MAC)
        if not isinstance(first, Chain):
            raise AnswerError("the first script names no boot script")
        self._script = first.url
        return f"first script, {len(content)} bytes"

    async def _http_script(self) -> str:
        content = await http_read(self._script)
        script = content.decode("ascii", "replace")
        boot = read(script, PROBE_MAC)
        if not isinstance(boot, Boot):
            raise AnswerError(read_obstacle(script) or "the boot script loads no kernel")
        self._boot = boot
        return f"boot script, {len(content)} bytes"

    async def _images(self) -> str:
        sizes = []
        for url in self._boot.files:
            name, digest = re.sub(r"^.*/boot/[^/]+/", "", url), hashlib.sha256()
            size = await http_download(url, digest.update)
            expected = self._sums.get(name)
            if expected is not None and digest.hexdigest() != expected:
                raise AnswerError(f"{name} is not the file that was built: its SHA-256 differs")
            sizes.append(f"{name} {size / 1e6:.1f} MB")
        return ", ".join(sizes)

    async def _pages(self) -> str:
        """Write a page and read it back over another connection."""
        pages = self._boot.page_server()
        if pages is None:
            return "skipped: the profile gives no swap"
        base = self._script.partition("/boot/")[0]
        session = self._boot.arguments.get("netboot.ticket", "")
        # fresh: this server makes the token, as further servers do (swap.servers).
        url = f"{base}/lease/{session}?ram={PAGE_BYTES}&fresh=1"
        lease = parse((await http_read(url)).decode("utf-8", "replace"))
        if not isinstance(lease, Granted):
            raise AnswerError(f"no lease: {serialize(lease)}")
        page, server = secrets.token_bytes(PAGE_BYTES), str(self._interface.address)
        entry = SwapEntry(server, self._profile.swap.port, pages[2], lease.token)
        with closing(await entry.connect()) as client:
            await client.write(0, page)
        with closing(await entry.connect()) as client:
            if await client.read(0, PAGE_BYTES) != page:
                raise AnswerError("the page read is not the page written")
        return "a page written and read back"
