"""``netboot init``: five questions, a profile, and a look at the LAN."""

import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from netboot.cli.common import JsonOption
from netboot.cli.profile_path import INSTALLED, USUAL
from netboot.cli.verbs import App
from netboot.errors import OperatorError

if TYPE_CHECKING:
    from netboot.deploy.doctor import Finding
    from netboot.profile.profile import Profile

MOST_PCS = 1000
SHOWN = {
    "ram": "a small system in memory, to try the room",
    "kiosk": "one web page",
    "desktop": "a desktop",
    "thin": "the desktop of a server",
}

app = App()


@app.command(
    epilog="Examples:  sudo netboot init  |  "
    "sudo netboot init --router yes --interface eth0 --pcs 20 --show kiosk --swap memory --json"
)
def init(
    router: Annotated[
        Literal["yes", "no"] | None,
        typer.Option(
            metavar="yes|no", help="Whether a router gives out the addresses on this network."
        ),
    ] = None,
    interface: Annotated[
        str, typer.Option(metavar="NAME", help="The network card that leads to the PCs.")
    ] = "",
    pcs: Annotated[
        int | None, typer.Option(min=1, max=MOST_PCS, metavar="N", help="Number of PCs.")
    ] = None,
    show: Annotated[
        Literal["ram", "kiosk", "desktop", "thin"] | None,
        typer.Option(
            metavar="ram|kiosk|desktop|thin",
            help="; ".join(f"{name}: {what}" for name, what in SHOWN.items()) + ".",
        ),
    ] = None,
    swap: Annotated[
        Literal["memory", "disk"] | None,
        typer.Option(
            metavar="memory|disk", help="Where the PCs' swap is kept: this server's memory or disk."
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The profile to write.")
    ] = INSTALLED / USUAL,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a profile that is there.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a first profile by five questions, and look at the LAN, cards, clock and firewall.

    Options answer the questions without a terminal. The LAN is asked for an address by DHCP, as a PC
    does, which takes 8 s if nobody answers. Nothing else is sent.
    """
    from netboot.cli import checks
    from netboot.cli import show as shown
    from netboot.deploy import surroundings
    from netboot.deploy.doctor import Finding
    from netboot.host import interfaces
    from netboot.host.files import create_file, replace_file
    from netboot.profile import file as profile_file
    from netboot.profile.starting import Answers

    if os.path.lexists(output) and not replace:
        raise OperatorError(f"--output: {output} is there already", hint="add --replace")
    checks.check_output("--output", output.parent, folder=True)
    found = interfaces.find("auto")
    names = tuple(dict.fromkeys(each.name for each in found))
    interface = interface or _asked("--interface", "Which network card leads to the PCs", names)
    card = interfaces.find(interface)[0]
    print(f"netboot: asking for a DHCP server on {card.name}", file=sys.stderr, flush=True)
    begin = time.monotonic()
    lan = surroundings.find_dhcp(card)
    taken = round(time.monotonic() - begin, 3)
    likely = ("yes", "no") if lan.server or lan.unknown else ("no", "yes")
    router = router or _asked("--router", "Does a router give out addresses here", likely)
    pcs = pcs or _asked_number("--pcs", "How many PCs", MOST_PCS)
    show = show or _asked("--show", "What shall they show", tuple(SHOWN))
    swap = swap or _asked("--swap", "Where is their swap kept", ("memory", "disk"))
    text = Answers(
        router == "yes",
        card.name,
        pcs,
        show,
        swap,
        card.address,
        card.network,
        _capacity(swap),
    ).text()
    profile = profile_file.parse(text, str(output))
    profile.check_networks(interfaces.named_networks([card]))
    output.parent.mkdir(parents=True, exist_ok=True)
    if replace:
        replace_file(output, text, durable=True)
    elif not create_file(output, text):
        raise OperatorError(f"--output: {output} is there already", hint="add --replace")
    sight = lan.sight(wanted=router == "yes")
    findings, unseen = _around(profile)
    findings = [
        Finding(card.name, sight.check, sight.ok, sight.detail, taken, sight.known),
        *findings,
    ]
    if as_json:
        rows = [each.as_json() for each in findings]
        print(json.dumps({"profile": str(output), "checks": rows, "not_checked": unseen}))
        return
    print(f"{output}: written")
    print(shown.findings(findings))
    if unseen:
        print(f"card, clock and firewall were not looked at: {unseen}")
    print(f"next: {_next(output)}")


def _next(output: Path) -> str:
    """Return the command that serves the profile, which the package's unit reads at one place."""
    from netboot.deploy import layout

    if output == layout.PROFILE and layout.PACKAGED.exists():
        starts = f"sudo systemctl enable --now {layout.SERVICE}"
        return f"{starts}; if it runs already: sudo systemctl reload {layout.SERVICE}"
    return f"sudo netboot serve --profile {shlex.quote(str(output))}"


def _around(profile: "Profile") -> tuple[list["Finding"], str]:
    """Return the doctor's look around the server, and the reason if there is none."""
    from netboot.deploy.doctor import look_around

    try:
        return look_around(profile), ""
    except (OperatorError, OSError) as error:
        return [], "; ".join(str(error).splitlines())


def _capacity(swap: str) -> int:
    """Return the bytes for all swap: half of the memory, or half of what is free on the disk."""
    from netboot.host.memory import ram_bytes
    from netboot.profile.starting import FOLDER

    if swap == "memory":
        return ram_bytes() // 2
    folder = Path(FOLDER)
    while not folder.exists():
        folder = folder.parent
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize // 2


def _asked(option: str, question: str, words: tuple[str, ...]) -> Any:
    """Ask until one of ``words`` is the answer; the first one is that of an empty line."""
    among = ", ".join(words)

    def parsed(text: str) -> str | None:
        return (text or words[0]) if (text or words[0]) in words else None

    return _read(option, f"{question} ({among}) [{words[0]}]? ", parsed, f"one of {among}")


def _asked_number(option: str, question: str, most: int) -> Any:
    def parsed(text: str) -> int | None:
        return int(text) if text.isdecimal() and len(text) < 6 and 1 <= int(text) <= most else None

    expected = f"a whole number from 1 to {most}"
    return _read(option, f"{question} (1 to {most})? ", parsed, expected)


def _read(option: str, question: str, parse: Callable[[str], Any], expected: str) -> Any:
    if not sys.stdin.isatty():
        raise OperatorError(
            f"missing {option}", hint="netboot init --help; or run it in a terminal"
        )
    while True:
        print(question, end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            raise OperatorError(
                f"missing {option}: the input has ended", hint="netboot init --help"
            )
        if (answer := parse(line.strip())) is not None:
            return answer
        print(f"expected {expected}", file=sys.stderr)
