"""``netboot dhcp-snippet``: what another DHCP server needs to name our boot files."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from netboot.cli.common import DEFAULT_PROFILE, JsonOption, ProfileOption, SetOption
from netboot.cli.profile_path import find_profile
from netboot.cli.verbs import App
from netboot.errors import OperatorError
from netboot.profile import arguments, values

if TYPE_CHECKING:
    from ipaddress import IPv4Address

    from netboot.profile.profile import Profile

app = App()

KINDS = "dnsmasq|kea|isc|mikrotik|opnsense|pihole|unifi|windows"


@app.command(
    "dhcp-snippet",
    epilog="Examples:  netboot dhcp-snippet dnsmasq --profile room.yaml  |  "
    "netboot dhcp-snippet kea -p room.yaml --server 10.0.0.1",
)
def dhcp_snippet(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help=f"The DHCP server of the LAN: {KINDS}.")
    ],
    profile: ProfileOption = DEFAULT_PROFILE,
    server: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="The boot server's address. Default: this machine's, if it has one on the "
            "profile's interface.",
        ),
    ] = "",
    settings: SetOption = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Print what to put into another DHCP server, so that PCs boot from netboot (dhcp.mode none)."""
    from netboot.boot import snippets
    from netboot.profile import file as profile_file

    loaded = profile_file.load(find_profile(profile), settings)
    given = arguments.parse_word("--server", values.HOST_ADDRESS, server) if server else None
    known = snippets.facts(loaded, given or _own_address(loaded))
    text = snippets.snippet(kind, known)
    if loaded.dhcp.mode != "none":
        print(
            f"netboot: dhcp.mode is {loaded.dhcp.mode}: with this in the LAN's DHCP server set it to "
            "none",
            file=sys.stderr,
        )
    if not as_json:
        print(text, end="")
        return
    rows = [asdict(row) | {"vendor_class": row.vendor_class} for row in known.rows]
    print(
        json.dumps(
            {
                "kind": kind,
                "server": str(known.server),
                "firmware": rows,
                "ipxe": known.script,
                "snippet": text,
            }
        )
    )


def _own_address(profile: "Profile") -> "IPv4Address":
    """Return the only address at which this machine would serve. Raises OperatorError."""
    from netboot.host.interfaces import look

    found = list(dict.fromkeys(each.address for each in look(*profile.interface).interfaces))
    if len(found) == 1:
        return found[0]
    listed = ", ".join(map(str, found))
    raise OperatorError(
        f"--server: expected the boot server's address: this machine has {listed or 'none'}",
        hint="--server ADDRESS",
    )
