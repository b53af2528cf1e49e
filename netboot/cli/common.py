"""What the verbs share: options, and how a command runs until it is stopped."""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from netboot.profile.profile import Profile

INTERRUPTED = 130  # what a shell makes of SIGINT
DEFAULT_PROFILE = "lab.yaml"

ProfileOption = Annotated[
    str,
    typer.Option(
        "--profile",
        "-p",
        metavar="FILE",
        help="The room's profile. A name without a folder is looked for in the current folder, "
        "/etc/netboot, then netboot's own profiles.",
    ),
]
SetOption = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Override one key, as in dhcp.mode=full."),
]
ImagesOption = Annotated[
    Path | None,
    typer.Option("--images", help="Folder made by 'netboot build'; without it, they are built."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def built(profile: "Profile", output: Path | None = None) -> Path:
    """The folder of the images of ``profile``, built if need be: ``output``, or one in the cache."""
    from netboot.cli import show
    from netboot.images import build as images

    cache = images.default_cache()
    target = output or cache / "images"
    with show.BuildProgress() as progress:
        built = images.build(profile, target, cache, progress)
    for warning in built.warnings:
        print(f"netboot: {warning}", file=sys.stderr)
    return target


def write_medium(target: Path) -> None:
    """Writes what a PC boots from that cannot boot from the network."""
    from netboot.cli import show
    from netboot.images import build, medium

    with show.BuildProgress() as progress:
        medium.write(target, build.default_cache(), progress)


def until_stopped(work: Coroutine[Any, Any, Any], status: int = 0) -> None:
    """Runs ``work``; SIGINT and SIGTERM cancel it, and what it started is stopped in order.

    ``status`` is the exit status then: 0 for what serves until it is stopped.
    """

    async def run() -> None:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await work

    try:
        asyncio.run(run())
    except asyncio.CancelledError:
        sys.exit(status)
