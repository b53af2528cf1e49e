"""The Debian package's units: those of `fab deploy`, with its own program and images. Pure.

Package and `fab deploy` have the same users, units, profile and state. So a machine has one of them,
and each refuses to be installed beside the other one.
"""

from netboot.deploy import layout

COMMAND = (str(layout.PACKAGED / "bin/python"), "-P", "-m", "netboot")
IMAGES = layout.IMAGES / "current"  # a folder here; `fab deploy` has a link of that name
IMAGES_SERVICE = "netboot-images"
CACHE = "netboot"  # below /var/cache: that of the command when root runs it


def units() -> dict[str, str]:
    """Return the units by their names without suffix."""
    return {
        layout.SERVICE: layout.text(_server()),
        layout.PANEL_SERVICE: layout.text(_panel()),
        IMAGES_SERVICE: layout.text(_images()),
    }


def _server() -> layout.Sections:
    # `netboot init` puts pages on the disk there; `fab deploy` reads the folder from the profile.
    unit = layout.sections([layout.DATA])
    before = f"network-online.target {IMAGES_SERVICE}.service"
    wanted = f"{before} {layout.PANEL_SERVICE}.service"  # the panel waits for the server
    command = " ".join(layout.serve_command(COMMAND))
    return {
        **unit,
        "Unit": {**unit["Unit"], "Wants": wanted, "After": before},
        "Service": {**unit["Service"], "ExecStart": command},
    }


def _panel() -> layout.Sections:
    unit = layout.panel_sections()
    command = " ".join([*COMMAND, "service", "panel"])
    return {**unit, "Service": {**unit["Service"], "ExecStart": command}}


def _images() -> layout.Sections:
    """Return the unit that builds the boot images before the first start.

    Later builds are the operator's: a server that restarts after a crash must not wait for one, and
    after a power cut there may be no internet. It has root's cache, which a build by hand has, too.
    """
    confined = (
        *("SyslogIdentifier", "ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices"),
        *("ProtectClock", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules"),
        *("ProtectKernelTunables", "ProtectControlGroups", "LockPersonality", "RestrictRealtime"),
    )
    return {
        "Unit": {
            "Description": "netboot: builds the boot images before the first start",
            "Documentation": "man:netboot-build(1)",
            "Wants": "network-online.target",
            "After": "network-online.target",
            "ConditionPathExists": f"!{IMAGES}/manifest.json",
        },
        "Service": {
            "Type": "oneshot",
            "ExecStart": " ".join([*COMMAND, "build", "--output", str(IMAGES)]),
            "Environment": f"NETBOOT_PROFILE={layout.PROFILE}",
            "CacheDirectory": CACHE,
            "StateDirectory": layout.IMAGES.relative_to("/var/lib").as_posix(),
            "TimeoutStartSec": "1h",
            **{key: layout.CONFINED[key] for key in confined},
        },
    }
