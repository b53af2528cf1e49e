"""``netboot lab``: a virtual classroom."""

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from netboot.cli import libvirt
from netboot.cli.common import (
    DEFAULT_PROFILE,
    INTERRUPTED,
    ImagesOption,
    JsonOption,
    ProfileOption,
    SetOption,
    built,
    until_stopped,
    write_medium,
)
from netboot.cli.profile_path import find_profile
from netboot.errors import OperatorError

if TYPE_CHECKING:
    from netboot.boot.events import BootEvent
    from netboot.lab.rig import Lesson, SeatReport

app = typer.Typer()
verb = typer.Typer(invoke_without_command=True)
app.add_typer(verb, name="lab")
verb.add_typer(libvirt.app, name="libvirt")


@verb.callback(
    epilog="Examples:  sudo netboot lab --clients 4 --dhcp proxy --until userland  |  "
    "sudo netboot lab --memory 256 --load 2"
)
def lab(
    context: typer.Context,
    profile: ProfileOption = DEFAULT_PROFILE,
    clients: Annotated[
        int | None,
        typer.Option(min=1, max=120, help="How many PCs; default: one of each --firmware."),
    ] = None,
    memory: Annotated[int, typer.Option(min=64, metavar="MB", help="RAM of each.")] = 256,
    firmware: Annotated[
        list[str],
        typer.Option(
            metavar="KIND",
            help="bios, bios-virtio, bios-usb, bios-cd, bios-i386, uefi, uefi-usb, uefi-http, uefi-secure, "
            "uefi-ia32, uefi-arm64 or uefi-arm64-http. Several of them: the first PC has the first, and so on.",
        ),
    ] = ["bios"],  # noqa: B006
    dhcp: Annotated[
        Literal["proxy", "full"],
        typer.Option(help="proxy: dnsmasq plays the LAN's own DHCP server."),
    ] = "full",
    until: Annotated[Literal["swap", "userland"], typer.Option(help="When a PC is done.")] = (
        "userland"
    ),
    servers: Annotated[
        int,
        typer.Option(min=1, max=8, help="Page servers: more than one are its swap.servers."),
    ] = 1,
    load: Annotated[
        float | None,
        typer.Option(metavar="FACTOR", help="Then fill FACTOR times its RAM and verify it."),
    ] = None,
    logs: Annotated[
        Path | None, typer.Option(help="Folder for serial consoles and logs; default: a new one.")
    ] = None,
    capture: Annotated[bool, typer.Option(help="Keep every frame in a pcap file per PC.")] = False,
    timeout: Annotated[float, typer.Option(metavar="SECONDS")] = 300.0,
    settings: SetOption = [],  # noqa: B006
    image_folder: ImagesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Boot a virtual classroom: PCs in QEMU on a network of their own, from this server."""
    if context.invoked_subcommand is not None:
        return
    from netboot.images import build as images
    from netboot.lab import machine, network
    from netboot.lab.rig import Lesson
    from netboot.profile import file as profile_file

    path = find_profile(profile)
    if servers > 1:
        settings = [*settings, network.servers_setting(servers)]
    room_profile = profile_file.load(path, settings)
    network.check_root()
    machine.check_programs(firmware)
    processors = {machine.KINDS[kind].processor: None for kind in firmware}
    wanted = dict.fromkeys([*room_profile.boot.architectures, *(row.name for row in processors)])
    if len(wanted) > len(room_profile.boot.architectures):
        settings = [*settings, f"boot.architectures={','.join(wanted)}"]
        room_profile = profile_file.load(path, settings)
    if load is not None and len(processors) > 1:
        raise OperatorError("--load: it is for PCs of one processor at a time")
    folder = logs or Path(tempfile.mkdtemp(prefix="netboot-lab-"))
    folder.mkdir(parents=True, exist_ok=True)
    image_folder = image_folder or built(room_profile)
    medium = None
    if any(machine.KINDS[name].medium for name in firmware):
        medium = folder.resolve() / "medium.iso"
        write_medium(medium)
    lesson = Lesson(
        profile=path.resolve(),
        settings=tuple(settings),
        images=image_folder.resolve(),
        folder=folder.resolve(),
        clients=clients or len(firmware),
        memory=memory,
        firmware=tuple(firmware),
        dhcp=dhcp,
        until=until,
        load=load,
        capture=capture,
        timeout=timeout,
        arguments=room_profile.boot.arguments,
        initrds=()
        if load is None
        else (images.build_load_image(images.default_cache(), *processors),),
        servers=servers,
        medium=medium,
    )
    network.run_isolated(lambda: _lesson(lesson, as_json))


def _lesson(lesson: "Lesson", as_json: bool) -> int:
    from netboot.cli import show
    from netboot.lab.rig import Classroom

    def tell(report: "SeatReport", event: "BootEvent") -> None:
        if not as_json:
            print(show.timeline_line(report, event), flush=True)

    classroom = Classroom(lesson, tell)
    until_stopped(classroom.run(), INTERRUPTED)
    _hand_over(lesson.folder)
    if as_json:
        print(json.dumps(classroom.as_json(), indent=2))
    else:
        print(show.lesson(classroom))
    return 0 if classroom.ok else 1


def _hand_over(folder: Path) -> None:
    """Gives what sudo made to the user who called it, who could not even delete it else."""
    owner = os.environ.get("SUDO_UID")
    if owner is not None:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, int(owner), -1, follow_symlinks=False)
