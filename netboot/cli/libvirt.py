"""``netboot lab libvirt``: what `vagrant up` needs of libvirt, and the boot server beside it."""

import sys
from typing import Annotated

import typer

from netboot.cli.common import ImagesOption, ProfileOption, SetOption, built
from netboot.cli.profile_path import find_profile
from netboot.errors import OperatorError

VAGRANT_PROFILE = "vagrant.yaml"

app = typer.Typer(
    help="libvirt for the virtual PCs of `vagrant up`, apart from the machine's own.",
    no_args_is_help=True,
)


@app.command(epilog="Example:  sudo netboot lab libvirt up --profile vagrant.yaml --serve")
def up(
    profile: ProfileOption = VAGRANT_PROFILE,
    settings: SetOption = [],  # noqa: B006
    serve: Annotated[
        bool,
        typer.Option(
            "--serve", help="Start the boot server on the bridge too, unless one answers there."
        ),
    ] = False,
    image_folder: ImagesOption = None,
) -> None:
    """Start a libvirtd with a bridge, a network around it and a storage pool, for virtual PCs.

    It needs no systemd and touches no settings of this machine. What is there already stays.
    """
    from netboot.host.interfaces import AUTO
    from netboot.lab import libvirt, network
    from netboot.profile import file as profile_file

    path = find_profile(profile)
    room_profile = profile_file.load(path, settings)
    network.check_root()
    libvirt.check_programs()
    bridge, address = room_profile.interface[0], room_profile.vagrant.address
    if bridge == AUTO or len(room_profile.interface) > 1:
        raise OperatorError(
            f"{path}: key 'interface': expected one name, of the bridge that is to be made",
            hint="see vagrant.yaml, which came with netboot",
        )
    libvirt.up(bridge, address)
    print(f"netboot: libvirt is up: virsh -c '{libvirt.URI}'", flush=True)
    if not serve:
        return
    http = f"{address.ip}:{room_profile.http.port}"
    if not libvirt.answers(http):
        command = [sys.executable, "-m", "netboot", "serve", "--profile", str(path.resolve())]
        command += ["--images", str((image_folder or built(room_profile)).resolve())]
        command += ["--state", str(libvirt.STATE)]
        for setting in settings:
            command += ["--set", setting]
        libvirt.start_server(command, http)
    print(f"netboot: the boot server is up: http://{http}/status", flush=True)


@app.command(epilog="Example:  sudo netboot lab libvirt down")
def down(
    unused: Annotated[
        bool, typer.Option("--unused", help="Only if there are no virtual PCs (any more).")
    ] = False,
) -> None:
    """Undo up: ends the boot server, all virtual PCs and libvirtd, removes the bridge and all files."""
    from netboot.lab import libvirt, network

    network.check_root()
    libvirt.down(unused=unused)
