"""``netboot doctor``: is this machine's server well? It walks the way of a PC and looks at each step.

The PC it plays, ``PROBE_MAC``, is no seat: it is in no list, and its swap is a single page.
"""

import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from netboot.client import PROBE_MAC
from netboot.errors import OperatorError, ProtocolError
from netboot.interfaces import Interface, find
from netboot.probe import PageClient, ProbeError, dhcp_offer, http_read, tftp_read
from netboot.profile import Profile

PAGE_BYTES = 4096
RETRY_SECONDS = 0.3


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
            for finding in _Walk(profile, interface, sums).steps()
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
        self._text = ""

    def steps(self) -> list[Finding]:
        """All findings; after one that is not ok the rest cannot be asked."""
        findings: list[Finding] = []
        steps: Sequence[tuple[str, Callable[[], str]]] = (
            ("dhcp", self._dhcp),
            ("tftp", self._tftp),
            ("script", self._http_script),
            ("images", self._images),
            ("pages", self._pages),
        )
        for name, step in steps:
            begin = time.monotonic()
            try:
                detail, fine = step(), True
            except (ProbeError, ProtocolError) as error:
                detail, fine = str(error), False
            taken = round(time.monotonic() - begin, 3)
            findings.append(Finding(self._interface.name, name, fine, detail, taken))
            if not fine:
                break
        return findings

    def _dhcp(self) -> str:
        self._boot_file = dhcp_offer(self._interface, PROBE_MAC)
        if not self._boot_file:
            raise ProbeError("an OFFER without a boot file")
        return f"OFFER from {self._interface.address}"

    def _tftp(self) -> str:
        text = tftp_read(self._interface.address, self._boot_file).decode("ascii", "replace")
        self._script = _found(r"(http://\S+\.ipxe)", text, "the first script names no other")
        return f"first script, {len(text)} bytes"

    def _http_script(self) -> str:
        self._text = http_read(self._script).decode("ascii", "replace")
        return f"boot script, {len(self._text)} bytes"

    def _images(self) -> str:
        sizes = []
        for url in re.findall(r"^(?:kernel|initrd) (\S+)", self._text, re.MULTILINE):
            name = re.sub(r"^.*/boot/[^/]+/", "", url)
            content = http_read(url)
            expected = self._sums.get(name)
            if expected is not None and hashlib.sha256(content).hexdigest() != expected:
                raise ProbeError(f"{name} is not the one that was built: its sum differs")
            sizes.append(f"{name} {len(content) / 1e6:.1f} MB")
        return ", ".join(sizes)

    def _pages(self) -> str:
        """Writes a page and reads it back over another connection."""
        if "netboot.swap=" not in self._text:
            return "not asked: the profile gives no swap"
        export = _found(r"netboot\.swap=\S+?/(\S+)", self._text, "no export")
        url = _found(r"(http://\S+?)/boot/", self._script, "no address") + "/lease/"
        ticket = _found(r"/boot/([^/]+)/", self._script, "no ticket")
        # fresh: with a token of this server's own, as further servers give it (swap.servers).
        url += f"{ticket}?ram={PAGE_BYTES}&fresh=1"
        lease = http_read(url).decode("utf-8", "replace").strip()
        token = _found(r"^size=\d+ token=(\w+)$", lease, f"no lease: {lease}")
        page, server = secrets.token_bytes(PAGE_BYTES), self._interface.address
        name = f"{export}@{token}.{time.monotonic_ns() // 1_000_000:x}"
        with closing(PageClient(server, self._profile.swap.port, name)) as client:
            client.write(0, page)
        with closing(PageClient(server, self._profile.swap.port, name)) as client:
            if client.read(0, PAGE_BYTES) != page:
                raise ProbeError("a page came back changed")
        return "a page written and read back"


def _found(pattern: str, text: str, complaint: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise ProbeError(complaint)
    return match[1]
