"""PCs with a screen: rows, results, bars and the table of their benchmark. Nothing is measured here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bench.report import Verdict
from bench.seat import Boot

Swap = Literal["network", "zram", "none"]
KIOSK, NETSURF, DESKTOP, FIREFOX = "bench-kiosk", "bench-netsurf", "bench-desktop", "bench-firefox"


@dataclass(frozen=True, slots=True)
class Row:
    """One boot of ``clients`` PCs with ``memory`` MiB until their page is shown.

    ``image`` is a definition in bench/images. ``mb`` and ``requests``: at most so many of the image,
    for each PC. ``shows``: the page has to come. ``kills``: the kernel may end programs to get RAM.
    """

    name: str
    image: str
    memory: int
    swap: Swap = "network"
    clients: int = 1
    mb: float | None = None
    requests: int | None = None
    shows: bool = True
    kills: bool = True
    until_still: bool = False  # and not only until the page is shown
    page: bool = False  # one that is fetched, with a script, a picture and much text

    @property
    def title(self) -> str:
        """The name in the table."""
        return f"{self.name}, {self.memory} MB, swap: {self.swap}"


ROWS = (
    Row("kiosk, surf", KIOSK, 256, mb=180, requests=4000, kills=False),
    Row("kiosk, surf", KIOSK, 256, "none", shows=False),
    Row("kiosk, surf", KIOSK, 256, "zram", shows=False),
    Row("kiosk, NetSurf", NETSURF, 192, mb=50, requests=1500, kills=False),
    Row("kiosk, NetSurf", NETSURF, 128),
    Row("desktop, three programs", DESKTOP, 256, mb=130, kills=False, until_still=True),
    Row("Firefox, a real page", FIREFOX, 512, kills=False, page=True),
    Row("Firefox, a real page", FIREFOX, 384, kills=False, page=True),
    # Programs of this PC do not fit into its RAM, so its kind of swap decides.
    Row("Firefox, a real page", FIREFOX, 384, "none", shows=False, page=True),
    Row("Firefox, a real page", FIREFOX, 384, "zram", shows=False, page=True),
    Row("Firefox, a real page", FIREFOX, 256, shows=False, page=True),
    Row("kiosk, NetSurf", NETSURF, 512),
    Row("12 kiosks at once, surf", KIOSK, 256, clients=12),
    Row("2 PCs with Firefox, a real page", FIREFOX, 384, clients=2, shows=False, page=True),
)
QUICK = tuple(row for row in ROWS if row.mb is not None)
# The peer has no swap, and its initramfs needs RAM: with less it would not come to its page.
BESIDE_PEER = next(row for row in ROWS if row.memory == 512 and row.image == NETSURF)
PEER = "LTSP-like peer, NetSurf"
PEER_BAR = 0.5  # of its seconds and of its bytes
BUILD_BAR = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class Sample:
    """One boot. Figures of the image and of swap are those of one PC, the mean of all.

    ``shown``: PCs whose page came. ``seconds``: until the last one. ``again_mb``: of the image's, read
    before. ``killed``: programs, of all PCs. ``wire_mb``: all that the server's cable carried to PCs.
    ``refault_mb``, ``memory`` and ``io``: pages that came back soon, and seconds in which a task waited
    (PSI), None if not measured. ``filled_mb``: of ``out_mb``, pages of one value; ``common_mb``: those that another PC wrote.
    """

    shown: int
    seconds: float
    image_requests: float
    image_mb: float
    again_mb: float
    out_mb: float
    in_mb: float
    killed: int
    wire_mb: float
    server_cpu: float
    refault_mb: float | None
    memory: float | None
    io: float | None
    filled_mb: float
    common_mb: float


Results = Mapping[Row, Sample]


def verdicts(results: Results, build_seconds: float | None, peer: Boot | None) -> list[Verdict]:
    """Return the bars. ``build_seconds``: of a build with nothing new. None is what was not measured."""
    found = [verdict for row, got in results.items() for verdict in _of_row(row, got)]
    ours = results.get(BESIDE_PEER)
    if peer is not None and ours is not None:
        for unit, ratio in (
            ("s", ours.seconds / peer.seconds),
            ("bytes on the wire", ours.wire_mb / peer.mb),
        ):
            name = f"{BESIDE_PEER.title}: {unit} / {PEER}"
            found.append(Verdict(name, ratio, PEER_BAR, at_least=False))
    if build_seconds is not None:
        name = "image build, the second time: s"
        found.append(Verdict(name, build_seconds, BUILD_BAR, at_least=False))
    return found


def _of_row(row: Row, got: Sample) -> list[Verdict]:
    found = []
    if row.mb is not None:
        found.append(Verdict(f"{row.title}: MB of image", got.image_mb, row.mb, at_least=False))
    if row.requests is not None:
        name = f"{row.title}: requests of image"
        found.append(Verdict(name, got.image_requests, row.requests, at_least=False))
    if row.shows:
        found.append(Verdict(f"{row.title}: shown", got.shown, row.clients, at_least=True))
    if not row.kills:
        found.append(Verdict(f"{row.title}: killed", got.killed, 0, at_least=False))
    return found


def table(results: Results, peer: Boot | None) -> str:
    """Return a Markdown table with a line for each row, and one for the peer if it was measured."""
    titles = "screen | RAM MB | swap | shown | s | / with network swap | image: requests | MB "
    titles += "| MB again | swap out MB | of one value | of another PC | in MB | refaults MB "
    titles += "| s PSI memory | s PSI io | killed | wire MB | server CPU s"
    lines = [f"| {titles} |", "|---|--:|---|" + "--:|" * 16]
    lines += [_line(row, got, results) for row, got in results.items()]
    if peer is not None:
        shown = f"{BESIDE_PEER.memory} | none | 1/1 | {peer.seconds:.0f}"
        lines.append(f"| {PEER} | {shown} {'| - ' * 12}| {peer.mb:.0f} | - |")
    return "\n".join(lines)


def _line(row: Row, got: Sample, results: Results) -> str:
    seconds = f"{got.seconds:.0f}" if got.shown == row.clients else f"never in {got.seconds:.0f}"
    waits = " | ".join(
        "-" if each is None else f"{each:.1f}" for each in (got.refault_mb, got.memory, got.io)
    )
    return (
        f"| {row.name} | {row.memory} | {row.swap} | {got.shown}/{row.clients} | {seconds} "
        f"| {_ratio(row, got, results)} | {got.image_requests:.0f} | {got.image_mb:.1f} "
        f"| {got.again_mb:.1f} | {got.out_mb:.1f} | {got.filled_mb:.1f} | {got.common_mb:.1f} "
        f"| {got.in_mb:.1f} | {waits} | {got.killed} "
        f"| {got.wire_mb:.0f} | {got.server_cpu:.1f} |"
    )


def _ratio(row: Row, got: Sample, results: Results) -> str:
    """Return the seconds in relation to the same PC with network swap."""
    peers = [
        each
        for other, each in results.items()
        if (other.name, other.memory, other.swap) == (row.name, row.memory, "network")
    ]
    if row.swap == "network" or not peers or not peers[0].shown or not got.shown:
        return "-"
    return f"{got.seconds / peers[0].seconds:.2f}"


def details(results: Results, peer: Boot | None) -> dict[str, Any]:
    """Return the figures for the JSON."""
    rows = [{**asdict(row), **asdict(got)} for row, got in results.items()]
    return {"rows": rows, "peer": None if peer is None else asdict(peer)}
