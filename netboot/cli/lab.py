"""``netboot lab``: a virtual classroom."""

import contextlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from netboot.cli import libvirt
from netboot.cli.common import (
    DEFAULT_PROFILE,
    DEFAULT_ROOTS,
    MOST_SECONDS,
    ImagesOption,
    JsonOption,
    ProfileOption,
    RootsOption,
    SetOption,
    built,
    newest_rom,
    until_stopped,
    write_medium,
)
from netboot.cli.profile_path import find_profile
from netboot.cli.verbs import App
from netboot.errors import Exit, OperatorError

if TYPE_CHECKING:
    import socket
    from collections.abc import Coroutine

    from netboot.boot.events import BootEvent
    from netboot.lab.rig import Lesson, SeatReport

    Door = tuple[socket.socket, int]  # a listener outside of the lab, and the panel's port within

app = App()
verb = App(invoke_without_command=True)
app.add_typer(verb, name="lab")
verb.add_typer(libvirt.app, name="libvirt")


@verb.callback(
    epilog="Examples:  sudo netboot lab --clients 4 --dhcp proxy --until userland  |  "
    "sudo netboot lab --memory 256 --load 2  |  "
    "sudo netboot lab --image kiosk --memory 256 --screenshot page.png"
)
def lab(
    context: typer.Context,
    profile: ProfileOption = DEFAULT_PROFILE,
    clients: Annotated[
        int | None,
        typer.Option(
            min=1, max=120, metavar="N", help="Number of PCs. Default: one for each --firmware."
        ),
    ] = None,
    memory: Annotated[
        int, typer.Option(min=64, max=1 << 20, metavar="MIB", help="RAM of each PC.")
    ] = 256,
    firmware: Annotated[
        list[str],
        typer.Option(
            metavar="KIND",
            help="bios, bios-virtio, bios-new-rom, bios-usb, bios-cd, bios-i386, uefi, uefi-usb, "
            "uefi-http, uefi-secure, uefi-ia32, uefi-arm64, uefi-arm64-usb or uefi-arm64-http. If "
            "given several times, the first PC has the first kind, and so on.",
        ),
    ] = ["bios"],  # noqa: B006
    dhcp: Annotated[
        Literal["proxy", "full", "none"],
        typer.Option(
            metavar="proxy|full|none",
            help="full: netboot gives out the addresses. proxy: dnsmasq does, as the LAN's router. "
            "none: it names the boot files, too, but sticks and CDs know the server.",
        ),
    ] = "full",
    until: Annotated[
        Literal["swap", "userland", "screen"] | None,
        typer.Option(
            metavar="STAGE",
            help="The stage at which a PC is done: swap, userland or screen (its page is shown). "
            "Default: userland; with --image and --screenshot: screen, if the image has one.",
        ),
    ] = None,
    image: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="The root image of all PCs, as 'netboot image list' names it."
        ),
    ] = "",
    screen: Annotated[
        bool, typer.Option("--screen", help="Give each PC a screen, a keyboard and a mouse.")
    ] = False,
    screenshot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Take a picture of the screen when the PC is done: a .png or a .ppm. With several "
            "PCs: FILE-1.png, FILE-2.png and so on. Implies --screen.",
        ),
    ] = None,
    panel: Annotated[
        bool,
        typer.Option("--panel", help="Show the room to browsers of this machine while it runs."),
    ] = False,
    servers: Annotated[
        int,
        typer.Option(
            min=1, max=8, metavar="N", help="Number of page servers. If several: swap.servers."
        ),
    ] = 1,
    load: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=64,
            metavar="FACTOR",
            help="Then fill FACTOR times the RAM of each PC with data, and verify all of it.",
        ),
    ] = None,
    logs: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Where serial consoles and logs go. Default: a new folder."
        ),
    ] = None,
    capture: Annotated[
        bool, typer.Option(help="Write all frames of each PC to a pcap file.")
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            min=1,
            max=MOST_SECONDS,
            metavar="SECONDS",
            help="A PC that is not done by then has failed.",
        ),
    ] = 300.0,
    settings: SetOption = [],  # noqa: B006
    image_folder: ImagesOption = None,
    roots: RootsOption = DEFAULT_ROOTS,
    as_json: JsonOption = False,
) -> None:
    """Boot a virtual classroom: PCs in QEMU and a server, on an isolated network."""
    if context.invoked_subcommand is not None:
        return
    import tempfile

    from netboot.cli import checks
    from netboot.images import build as images
    from netboot.lab import machine, network
    from netboot.lab.rig import Lesson
    from netboot.profile import file as profile_file

    path = find_profile(profile)
    if logs is not None:
        checks.check_output("--logs", logs, folder=True)
    if screenshot is not None:
        _check_screenshot(screenshot, load)
    if image:
        settings = [*settings, *_root_image(image, roots)]
    if image_folder is not None:
        checks.check_images("--images", image_folder, path)
    if servers > 1:
        settings = [*settings, network.servers_setting(servers)]
    if panel:
        settings = [*settings, "http.panel=local"]
    room_profile = profile_file.load(path, settings)
    network.check_root()
    machine.check_programs(firmware)
    processors = {machine.KINDS[kind].processor: None for kind in firmware}
    wanted = dict.fromkeys([*room_profile.boot.architectures, *(row.name for row in processors)])
    if len(wanted) > len(room_profile.boot.architectures):
        settings = [*settings, f"boot.architectures={','.join(wanted)}"]
        room_profile = profile_file.load(path, settings)
    if load is not None and len(processors) > 1:
        found = " and ".join(row.name for row in processors)
        raise OperatorError(f"--load: expected PCs of one processor, found {found}")
    image_folder = image_folder or built(room_profile)
    checks.check_roots(room_profile, roots, image_folder)
    folder = logs or Path(tempfile.mkdtemp(prefix="netboot-lab-"))
    kept = logs.resolve() if logs is not None and logs.exists() else None
    before = frozenset[Path]() if kept is None else frozenset((kept, *kept.rglob("*")))
    folder.mkdir(parents=True, exist_ok=True)
    medium = None
    if any(machine.KINDS[name].medium for name in firmware):
        medium = folder.resolve() / "medium.iso"
        own = f"{network.SERVER.ip}:{room_profile.http.port}"
        write_medium(medium, own if dhcp == "none" else "")
    rom = newest_rom() if any(machine.KINDS[name].rom for name in firmware) else None
    lesson = Lesson(
        profile=path.resolve(),
        settings=tuple(settings),
        images=image_folder.resolve(),
        folder=folder.resolve(),
        clients=clients or len(firmware),
        memory=memory,
        firmware=tuple(firmware),
        dhcp=dhcp,
        until=_stage(until, image, screenshot, roots),
        load=load,
        capture=capture,
        timeout=timeout,
        arguments=room_profile.boot.arguments,
        initrds=()
        if load is None
        else (images.build_load_image(images.default_cache(), *processors),),
        servers=servers,
        medium=medium,
        rom=rom,
        screen=screen or screenshot is not None,
        roots=roots.resolve(),
    )
    target = screenshot and screenshot.absolute()
    door = _door(room_profile.http.panel_port, folder) if panel else None
    network.run_isolated(lambda: _lesson(lesson, before, target, as_json, door))


def _door(port: int, folder: Path) -> "Door":
    """Listen in the network of this machine, which the lab is about to leave; tell where.

    Raises OperatorError.
    """
    from netboot.lab.rig import SERVER_LOG
    from netboot.lab.way_in import listen

    try:
        listener = listen(port)
    except OSError as error:
        raise OperatorError(f"--panel: no port of 127.0.0.1 is free: {error.strerror}") from None
    address, outside = listener.getsockname()
    # Not among the lines of --json.
    print(
        f"netboot: the room is shown at http://{address}:{outside}/ while its PCs run; "
        f"the password is in {folder / SERVER_LOG}.log",
        file=sys.stderr,
        flush=True,
    )
    return listener, port


def _check_screenshot(path: Path, load: float | None) -> None:
    from netboot.cli import checks
    from netboot.lab.screen import SUFFIXES

    checks.check_output("--screenshot", path, folder=False)
    if path.suffix not in SUFFIXES:
        expected = " or ".join(SUFFIXES)
        raise OperatorError(f"--screenshot: expected a file {expected}, found '{path}'")
    if load is not None:
        problem = "--screenshot: no picture with --load, which ends with the PC switched off"
        raise OperatorError(problem, hint="leave one of them out")


def _root_image(name: str, roots: Path) -> list[str]:
    """Return the settings for the root image ``name``. Raises OperatorError if there is none."""
    from netboot.roots.library import Library

    plain, at, _ = name.partition("@")
    if at:
        problem = f"--image: expected a name, found '{name}': PCs get the current version"
        raise OperatorError(problem, hint=f"sudo netboot image use {name}; --image {plain}")
    found = Library(roots).find(name)
    return ["root.kind=image", f"root.image={found.manifest.name}"]


def _stage(until: str | None, image: str, screenshot: Path | None, roots: Path) -> str:
    """Return the stage of ``--until``, and without one that which fits the image."""
    from netboot.lab.pictures import SHOWN
    from netboot.roots.library import Library
    from netboot.roots.manifest import has_screen

    if until is None and image and screenshot is not None:
        until = "screen" if has_screen(Library(roots).find(image).manifest) else "userland"
    return SHOWN if until == "screen" else until or "userland"


def _lesson(
    lesson: "Lesson",
    before: frozenset[Path],
    screenshot: Path | None,
    as_json: bool,
    door: "Door | None" = None,
) -> int:
    from netboot.cli import show
    from netboot.lab import pictures, tried
    from netboot.lab.rig import Classroom

    def tell(report: "SeatReport", event: "BootEvent") -> None:
        if not as_json:
            print(show.timeline_line(report, event), flush=True)

    def tell_picture(report: "SeatReport", message: str) -> None:
        if not as_json:
            print(show.picture_line(report, message), flush=True)

    classroom = Classroom(lesson, tell)
    if screenshot is None:
        until_stopped(_seen(classroom.run(), door), Exit.INTERRUPTED)
    else:
        shown = pictures.paths(screenshot, lesson.clients)
        before |= {path for path in shown if path.exists()}
        taken = pictures.photograph(classroom, screenshot, tell_picture)
        until_stopped(_seen(taken, door), Exit.INTERRUPTED)
        _give([path for path in shown if path.exists()], before)
    tried.note(classroom)
    _hand_over(lesson.folder, before)
    if as_json:
        print(json.dumps(classroom.as_json(), indent=2))
    else:
        print(show.lesson(classroom))
    return Exit.DONE if classroom.ok else Exit.FAILED


async def _seen(work: "Coroutine[Any, Any, None]", door: "Door | None") -> None:
    """Do ``work``, and let browsers through the ``door`` meanwhile."""
    from netboot.lab.way_in import way_in

    async with way_in(*door) if door is not None else contextlib.nullcontext():
        await work


def _hand_over(folder: Path, before: frozenset[Path]) -> None:
    """Give files created under sudo to the calling user, who could not delete them otherwise.

    Files that were there ``before`` keep their owner.
    """
    _give((folder, *folder.rglob("*")), before)


def _give(paths: Iterable[Path], before: frozenset[Path]) -> None:
    owner = os.environ.get("SUDO_UID")
    if owner is not None:
        for path in paths:
            if path not in before:
                os.chown(path, int(owner), -1, follow_symlinks=False)
