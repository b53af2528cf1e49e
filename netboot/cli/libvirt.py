"""``netboot lab libvirt``: the libvirtd that `vagrant up` needs, and the boot server beside it."""

import sys
from typing import Annotated

import typer

from netboot.cli.common import ImagesOption, SetOption, built
from netboot.cli.profile_path import find_profile
from netboot.cli.verbs import App
from netboot.errors import OperatorError

VAGRANT_PROFILE = "vagrant.yaml"
VagrantOption = Annotated[
    str,
    typer.Option(
        "--profile",
        "-p",
        metavar="FILE",
        help="The profile of the virtual PCs. A name without a folder is looked for in the current "
        "folder, /etc/netboot, then netboot's own profiles.",
    ),
]

app = App(
    help="Run the libvirtd of `vagrant up`, separate from the libvirtd of this machine.",
    no_args_is_help=True,
)


@app.command(epilog="Example:  sudo netboot lab libvirt up --profile vagrant.yaml --serve")
def up(
    profile: VagrantOption = VAGRANT_PROFILE,
    settings: SetOption = [],  # noqa: B006
    serve: Annotated[
        bool,
        typer.Option(
            "--serve", help="Also start the boot server on the bridge, unless one answers there."
        ),
    ] = False,
    image_folder: ImagesOption = None,
) -> None:
    """Start a libvirtd for virtual PCs, with a bridge, its network and a storage pool.

    This needs no systemd and changes no settings of this machine. Parts that run already stay.
    """
    from netboot.cli import checks
    from netboot.host.interfaces import AUTO
    from netboot.lab import libvirt, network
    from netboot.profile import file as profile_file
    from netboot.serve.http.status import is_there

    path = find_profile(profile)
    if image_folder is not None:
        checks.check_images("--images", image_folder, path)
    room_profile = profile_file.load(path, settings)
    network.check_root()
    libvirt.check_programs()
    bridge, address = room_profile.interface[0], room_profile.vagrant.address
    if bridge == AUTO or len(room_profile.interface) > 1:
        raise OperatorError(
            f"{path}: key 'interface': expected one name, for the bridge that up makes",
            hint="see vagrant.yaml, which comes with netboot",
        )
    libvirt.up(bridge, address)
    print(f"netboot: libvirt runs: virsh -c '{libvirt.URI}'", flush=True)
    if not serve:
        return
    http = f"{address.ip}:{room_profile.http.port}"
    if not is_there(http):
        command = [sys.executable, "-m", "netboot", "serve", "--user", "root"]
        command += ["--profile", str(path.resolve())]
        command += ["--images", str((image_folder or built(room_profile)).resolve())]
        command += ["--state", str(libvirt.STATE)]
        for setting in settings:
            command += ["--set", setting]
        libvirt.start_server(command, http)
    print(f"netboot: the boot server runs: http://{http}/status", flush=True)


@app.command(epilog="Example:  sudo netboot lab libvirt down")
def down(
    unused: Annotated[
        bool, typer.Option("--unused", help="Do this only if no virtual PC is left.")
    ] = False,
) -> None:
    """Undo up: end boot server, virtual PCs and libvirtd; remove the bridge and all files."""
    from netboot.lab import libvirt, network

    network.check_root()
    libvirt.down(unused=unused)
