"""The verbs about a profile: build its images, check it, explain it."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from netboot.cli.common import (
    DEFAULT_PROFILE,
    DEFAULT_ROOTS,
    JsonOption,
    ProfileOption,
    RootsOption,
    SetOption,
    built,
    last_build,
    write_medium,
)
from netboot.cli.profile_path import find_profile
from netboot.cli.verbs import App
from netboot.errors import OperatorError
from netboot.profile import arguments, values

app = App()


@app.command(epilog="Example:  netboot build --profile lab.yaml --output images")
def build(
    profile: ProfileOption = DEFAULT_PROFILE,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="The folder to write. Default: the cache."
        ),
    ] = None,
    settings: SetOption = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Build the boot images: Debian's kernel, an initramfs with our swap agent, boot loaders."""
    from netboot.cli import checks, show
    from netboot.images import build as images
    from netboot.profile import file as profile_file

    if output is not None:
        checks.check_output("--output", output, folder=True)
    folder = built(profile_file.load(find_profile(profile), settings), output)
    manifest = json.loads((folder / images.MANIFEST_FILE).read_text())
    print(json.dumps(manifest) if as_json else show.manifest(folder, manifest))


@app.command(
    epilog="Examples:  netboot media --output netboot.iso  (then, to a USB stick: "
    "sudo cp netboot.iso /dev/sdX; sync)  |  netboot media --server 10.0.0.5"
)
def media(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")
    ] = Path("netboot.iso"),
    server: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="The boot server, with the port of its HTTP unless 8080, for a network whose DHCP "
            "names no server. Default: DHCP names it.",
        ),
    ] = "",
    vlan: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER",
            min=1,
            max=4094,
            help="The VLAN whose tag the PC itself puts on its frames, as boot.vlan in the profile. "
            "Default: none.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the image of a CD or USB stick, for PCs that cannot boot from the network."""
    from netboot.cli import checks

    checks.check_output("--output", output, folder=False)
    named = arguments.parse_server(server, port=8080) if server else ""
    write_medium(output, named, vlan)
    size = output.stat().st_size
    if as_json:
        print(json.dumps({"file": str(output), "size": size, "server": named, "vlan": vlan}))
    else:
        tagged = "" if vlan is None else f", for ports with VLAN {vlan} tagged"
        known = f"of the server at {named}" if named else "whose server DHCP names"
        print(
            f"{output}: {size / 1e6:.1f} MB, for CDs and USB sticks, BIOS and UEFI, {known}{tagged}"
        )


@app.command(epilog="Example:  netboot check --profile lab.yaml")
def check(
    profile: ProfileOption = DEFAULT_PROFILE,
    settings: SetOption = [],  # noqa: B006
    roots: RootsOption = DEFAULT_ROOTS,
    as_json: JsonOption = False,
) -> None:
    """Check a profile. Print a line for each mistake; exit status 2 if there is one.

    Its root images have to fit the kernels of the last 'netboot build' on this machine.
    """
    from netboot.cli import checks
    from netboot.profile import file as profile_file

    path = find_profile(profile)
    try:
        loaded = profile_file.load(path, settings)
        checks.check_paths(path, loaded)
        checks.check_roots(loaded, roots, last_build())
    except OperatorError as error:
        if not as_json:
            raise
        print(json.dumps({"profile": str(path), "mistakes": str(error).splitlines()}))
        sys.exit(error.exit)
    doubts = [*loaded.doubts, *checks.doubts_here(loaded)]
    doubts += checks.doubts_of_readers(path, loaded)
    doubts += checks.doubts_of_logins(loaded, roots)
    clients, groups = len(loaded.clients), len(loaded.groups)
    if as_json:
        found = {"mistakes": [], "warnings": doubts, "explained": loaded.explained}
        print(json.dumps({"profile": str(path), **found, "clients": clients, "groups": groups}))
        return
    for doubt in doubts:
        print(f"{path}: warning: {doubt}", file=sys.stderr)
    for line in loaded.explained:
        print(f"{path}: {line}")
    print(f"{path}: no mistakes (clients: {clients}, groups: {groups})")


@app.command(epilog="Example:  netboot schema > netboot.schema.json")
def schema(
    image: Annotated[
        bool, typer.Option("--image", help="That of definitions of root images.")
    ] = False,
) -> None:
    """Print the JSON Schema of profiles, for editors."""
    from netboot.profile import file as profile_file
    from netboot.roots import definition

    found = definition.schema() if image else profile_file.schema()
    print(json.dumps(found, indent=2))


@app.command(epilog="Example:  netboot plan --profile lab.yaml --mac 52:54:00:77:00:01 --arch bios")
def plan(
    mac: Annotated[str, typer.Option(metavar="MAC", help="MAC address of the PC.")],
    arch: Annotated[
        str,
        typer.Option(
            metavar="ARCH",
            help="The PC's kind: bios, uefi-x64, uefi-arm64-http, ... or a code of DHCP option 93.",
        ),
    ] = "bios",
    profile: ProfileOption = DEFAULT_PROFILE,
    server: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="The server's address. Default: one beside dhcp.range."
        ),
    ] = "",
    settings: SetOption = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Print each answer and file that one PC would get. This sends nothing."""
    from netboot.cli import show
    from netboot.profile import file as profile_file
    from netboot.serve.dryrun import SOMEWHERE, rehearse

    seat = arguments.parse_word("--mac", values.MAC, mac)
    address = arguments.parse_word("--server", values.HOST_ADDRESS, server) if server else None
    loaded = profile_file.load(find_profile(profile), settings)
    rehearsal = rehearse(loaded, seat, arch, address)
    if address is None and loaded.dhcp.range is None:
        stands = (
            f"netboot: {SOMEWHERE[1]} stands for the server's address; --server ADDRESS names it"
        )
        print(stands, file=sys.stderr)
    print(json.dumps(rehearsal.as_json(), indent=2) if as_json else show.rehearsal(rehearsal))
