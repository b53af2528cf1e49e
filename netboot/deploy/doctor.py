"""``netboot doctor``: is this machine's server well? It walks the way of a PC and looks at each step.

The PC it plays, ``PROBE_MAC``, is no seat: it is in no list, and its swap is a single page.
"""

import asyncio
import hashlib
import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from netboot.boot.arch import BY_CODE
from netboot.boot.client import PROBE_MAC
from netboot.boot.ipxe import Boot, Chain, read
from netboot.errors import AnswerError, OperatorError, ProtocolError
from netboot.host.interfaces import Interface, find
from netboot.pages.nbd.backing import PAGE_BYTES
from netboot.pages.nbd.client import PageClient
from netboot.profile.profile import Profile
from netboot.serve.dhcp.client import Asking
from netboot.serve.dhcp.packet import MessageType
from netboot.serve.dhcp.question import Asker
from netboot.serve.http.client import http_download, http_read
from netboot.serve.leases import Granted, parse, serialize
from netboot.serve.tftp.client import fetch

RETRY_SECONDS = 0.3
DHCP_WAITS = (1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Finding:
    """One check on one interface: ``detail`` is one line for people, also if it is ``ok``."""

    interface: str
    check: str
    ok: bool
    detail: str
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def examine(
    profile: Profile,
    manifest: Path | None = None,
    wait: float = 0,
    alive: Callable[[], bool] = lambda: True,
) -> list[Finding]:
    """Checks the server of ``profile`` on each interface, again for ``wait`` seconds until all is
    well, or until it is not ``alive`` any more. ``manifest``: of the images it ought to serve; then
    their sums are compared. Raises OperatorError if there is no interface to ask on.
    """
    deadline = time.monotonic() + wait
    sums = {} if manifest is None else _sums(manifest)
    while True:
        findings = [
            finding
            for interface in find(*profile.interface)
            for finding in asyncio.run(_Walk(profile, interface, sums).steps())
        ]
        well = all(finding.ok for finding in findings)
        if well or time.monotonic() > deadline or not alive():
            return findings
        time.sleep(RETRY_SECONDS)


def _sums(manifest: Path) -> dict[str, str]:
    try:
        files = json.loads(manifest.read_text())["files"]
        return {file["name"]: file["sha256"] for file in files}
    except (OSError, ValueError, KeyError) as error:
        raise OperatorError(f"{manifest}: no manifest of images: {error}") from None


class _Walk:
    """The way of one PC on one interface; each step begins with what the one before was told."""

    def __init__(self, profile: Profile, interface: Interface, sums: dict[str, str]) -> None:
        self._profile = profile
        self._interface = interface
        self._sums = sums
        self._boot_file = ""
        self._script = ""
        self._boot = Boot((), {})

    async def steps(self) -> list[Finding]:
        """All findings; after one that is not ok the rest cannot be asked."""
        findings: list[Finding] = []
        steps: Sequence[tuple[str, Callable[[], Awaitable[str]]]] = (
            ("dhcp", self._dhcp),
            ("tftp", self._tftp),
            ("script", self._http_script),
            ("images", self._images),
            ("pages", self._pages),
        )
        for name, step in steps:
            begin = time.monotonic()
            try:
                detail, fine = await step(), True
            except (AnswerError, OperatorError, ProtocolError) as error:
                detail, fine = str(error), False
            taken = round(time.monotonic() - begin, 3)
            findings.append(Finding(self._interface.name, name, fine, detail, taken))
            if not fine:
                break
        return findings

    async def _dhcp(self) -> str:
        here = self._interface.address
        question = Asker(PROBE_MAC, BY_CODE[0], ipxe=True).discover(secrets.randbits(32))
        with closing(Asking(self._interface)) as asking:
            offer = await asking.ask(question, here, [MessageType.DHCPOFFER], DHCP_WAITS)
        self._boot_file = offer.file.decode("ascii", "replace")
        if not self._boot_file:
            raise AnswerError("an OFFER without a boot file")
        return f"OFFER from {here}"

    async def _tftp(self) -> str:
        content = await fetch(self._interface.address, self._boot_file)
        first = read(content.decode("ascii", "replace"))
        if not isinstance(first, Chain):
            raise AnswerError("the first script names no other")
        self._script = first.url
        return f"first script, {len(content)} bytes"

    async def _http_script(self) -> str:
        content = await http_read(self._script)
        boot = read(content.decode("ascii", "replace"))
        if not isinstance(boot, Boot):
            raise AnswerError("the boot script loads nothing")
        self._boot = boot
        return f"boot script, {len(content)} bytes"

    async def _images(self) -> str:
        sizes = []
        for url in self._boot.files:
            name, digest = re.sub(r"^.*/boot/[^/]+/", "", url), hashlib.sha256()
            size = await http_download(url, digest.update)
            expected = self._sums.get(name)
            if expected is not None and digest.hexdigest() != expected:
                raise AnswerError(f"{name} is not the one that was built: its sum differs")
            sizes.append(f"{name} {size / 1e6:.1f} MB")
        return ", ".join(sizes)

    async def _pages(self) -> str:
        """Writes a page and reads it back over another connection."""
        pages = self._boot.page_server()
        if pages is None:
            return "not asked: the profile gives no swap"
        base, _, rest = self._script.partition("/boot/")
        # fresh: with a token of this server's own, as further servers give it (swap.servers).
        url = f"{base}/lease/{rest.partition('/')[0]}?ram={PAGE_BYTES}&fresh=1"
        lease = parse((await http_read(url)).decode("utf-8", "replace"))
        if not isinstance(lease, Granted):
            raise AnswerError(f"no lease: {serialize(lease)}")
        page, server = secrets.token_bytes(PAGE_BYTES), str(self._interface.address)
        name = f"{pages[2]}@{lease.token}.{time.monotonic_ns() // 1_000_000:x}"
        port = self._profile.swap.port
        with closing(await PageClient.attach(server, port, name)) as client:
            await client.write(0, page)
        with closing(await PageClient.attach(server, port, name)) as client:
            if await client.read(0, PAGE_BYTES) != page:
                raise AnswerError("a page came back changed")
        return "a page written and read back"
