"""Options that verbs share, and the runner of commands that run until they are stopped."""

import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netboot.errors import OperatorError

if TYPE_CHECKING:
    from netboot.profile.profile import Profile

DEFAULT_PROFILE = ""  # looked for: netboot.cli.profile_path
MOST_SECONDS = 30 * 86400.0  # for an option; a larger number is a mistyped one
IMAGES = "images"  # in the cache
DEFAULT_STATE = Path("/var/lib/netboot")
DEFAULT_ROOTS = DEFAULT_STATE / "roots"

ProfileOption = Annotated[
    str,
    typer.Option(
        "--profile",
        "-p",
        metavar="FILE",
        envvar="NETBOOT_PROFILE",
        show_envvar=False,
        show_default=False,
        help="The room's profile. A name without a folder is looked for in the current folder, "
        "/etc/netboot, then netboot's own profiles. Default: /etc/netboot/profile.yaml, else "
        "netboot's own lab.yaml.",
    ),
]
SetOption = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        envvar="NETBOOT_SET",
        show_envvar=False,
        help="Override one key of the profile, such as dhcp.mode=full. May be given several times.",
    ),
]
ImagesOption = Annotated[
    Path | None,
    typer.Option(
        "--images",
        metavar="FOLDER",
        help="The images, as 'netboot build' wrote them. Default: build them.",
    ),
]
RootsOption = Annotated[
    Path,
    typer.Option(
        "--roots",
        metavar="FOLDER",
        envvar="NETBOOT_ROOTS",
        show_envvar=False,
        help="The root images, as 'netboot image' keeps them.",
    ),
]
StateOption = Annotated[
    Path,
    typer.Option(
        "--state",
        metavar="FOLDER",
        envvar="NETBOOT_STATE",
        show_envvar=False,
        help="The server's state folder, with its secret.",
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option(
        "--json", envvar="NETBOOT_JSON", show_envvar=False, help="Print JSON, for scripts."
    ),
]


def built(profile: "Profile", output: Path | None = None, *, waits: bool = True) -> Path:
    """Build the images of ``profile`` unless they are current; return their folder.

    That is ``output``, or by default one in the cache. Without ``waits`` another build that runs is
    an error.
    """
    from netboot.cli import show
    from netboot.images import build as images

    cache = images.default_cache()
    target = output or cache / IMAGES
    with show.BuildProgress() as progress:
        built = images.build(profile, target, cache, progress, waits=waits)
    for warning in built.warnings:
        print(f"netboot: {warning}", file=sys.stderr)
    return target


def last_build() -> Path | None:
    """Return the folder in which a server builds its images; None if this user has no cache."""
    from netboot.images.cache import default_cache

    try:
        return default_cache() / IMAGES
    except OperatorError:
        return None


def write_medium(target: Path, server: str = "", vlan: int | None = None) -> None:
    """Write the image of a CD or USB stick, for PCs that cannot boot from the network.

    ``server`` is ``HOST:PORT`` of the boot server's HTTP, empty if DHCP has to name it. ``vlan`` is
    the VLAN whose tag the PC puts on its frames.
    """
    from netboot.cli import show
    from netboot.images import build, medium

    with show.BuildProgress() as progress:
        warnings = medium.write(target, build.default_cache(), progress, server, vlan)
    for warning in warnings:
        print(f"netboot: {warning}", file=sys.stderr)


def newest_rom() -> Path:
    """Return the ROM with the newest iPXE for a virtual PC's card. Raises OperatorError."""
    from netboot.cli import show
    from netboot.images import build, rom

    with show.BuildProgress() as progress:
        return rom.newest(build.default_cache(), progress)


def until_stopped(work: Coroutine[Any, Any, Any], status: int = 0) -> None:
    """Run ``work`` until it ends, or until SIGINT or SIGTERM cancels it.

    After a signal exit with ``status``: 0 for a server, whose operator ends it so.
    """
    import asyncio

    from netboot.host import faults, turns

    async def run() -> None:
        task = asyncio.current_task()
        assert task is not None
        faults.tell_faults(asyncio.get_running_loop())
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await work

    try:
        turns.run(run())
    except asyncio.CancelledError:
        sys.exit(status)
