"""The paths of `fab deploy` on a server, the systemd units, and the server's command line. Pure.

A release is a folder with its own Python environment, profile and images. The link ``current``
points to the release that is served, so that a rollback changes one link.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from netboot.host.boot import VARIABLE as BOOT_ID
from netboot.host.privileges import CAPABILITIES

SERVICE = "netboot"
USER = "netboot"
PANEL_SERVICE = "netboot-panel"
PANEL_USER = "netboot-panel"  # of the group of USER, which may read the feed's socket

BASE = Path("/opt/netboot")
RELEASES = BASE / "releases"
CURRENT = BASE / "current"
PREVIOUS = BASE / "previous"
CONFIGURATION = Path("/etc/netboot")
PROFILE = CONFIGURATION / "profile.yaml"
DATA = Path("/var/lib/netboot")
IMAGES = DATA / "images"
STATE = DATA / "state"
STATE_MODE = 0o710  # the panel passes through to the socket; secrets in it are the server's alone
PANEL_STATE = DATA / "panel"
UNIT = Path("/etc/systemd/system/netboot.service")
PANEL_UNIT = Path("/etc/systemd/system/netboot-panel.service")
LOG = Path("/var/log/netboot.log")
PID_FILE = Path("/run/netboot.pid")
LOCK = Path("/run/netboot-deploy.lock")  # held by each process that changes any of this

# Within a release.
PROFILE_FILE = "profile.yaml"
COMPLETE_FILE = "complete"
PYTHON_FILE = "venv/bin/python"
BOOT_MODULES = "venv/lib/python3*/site-packages/netboot/host/boot.py"  # a pattern
PANEL_MODULES = "venv/lib/python3*/site-packages/netboot/panel/process.py"

# The Debian package: the same users, units, profile and state, and a program of its own.
PACKAGE = "netboot-classroom"
PACKAGED = Path("/usr/lib/netboot-classroom")
PACKAGED_PANEL_UNIT = Path("/usr/lib/systemd/system/netboot-panel.service")

KEPT_RELEASES = 3
WATCHDOG_SECONDS = 30

Sections = Mapping[str, Mapping[str, str | Sequence[str]]]  # of a unit: its keys and their values

# Of each unit: its name in the journal, and no right that no part of netboot needs.
CONFINED = {
    "SyslogIdentifier": SERVICE,
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "PrivateMounts": "yes",
    "ProtectClock": "yes",
    "ProtectControlGroups": "yes",
    "ProtectHostname": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectProc": "invisible",
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "SystemCallArchitectures": "native",
}


def netboot_command(release: Path) -> list[str]:
    """Return the command of a release. -P: no module comes from the current folder."""
    return [str(release / PYTHON_FILE), "-P", "-m", "netboot"]


def serve_command(command: Sequence[str] = ()) -> list[str]:
    """Return the server's command line, with ``command`` as netboot's own.

    Without one it goes through ``current``, which a SIGHUP reads again.
    """
    return [
        *(command or netboot_command(CURRENT)),
        "serve",
        *("--profile", str(PROFILE), "--images", str(IMAGES / "current"), "--state", str(STATE)),
    ]


def panel_command() -> list[str]:
    """Return the panel's command line, which reads the profile for its port and its database."""
    return [*netboot_command(CURRENT), "service", "panel"]


def unit(writable: Sequence[Path] = (), *, whole_proc: bool = False) -> str:
    """Return the systemd unit. ``writable`` are further folders for pages.

    ``whole_proc``: the server sees all of /proc, which releases without BOOT_MODULES need.
    """
    return text(sections(writable, whole_proc=whole_proc))


def text(sections: Sections) -> str:
    """Return a unit as systemd reads it."""
    lines: list[str] = []
    for section, keys in sections.items():
        lines.append(f"[{section}]")
        for key, value in keys.items():
            lines += [f"{key}={each}" for each in ([value] if isinstance(value, str) else value)]
        lines.append("")
    return "\n".join(lines)


def sections(writable: Sequence[Path] = (), *, whole_proc: bool = False) -> Sections:
    """Return the sections of the server's unit; the parameters are those of ``unit``."""
    capabilities = " ".join(CAPABILITIES)
    return {
        "Unit": {
            "Description": "netboot: boots the room's diskless PCs and keeps their swap",
            "Documentation": "man:netboot(1)",
            "Wants": "network-online.target",
            "After": "network-online.target",
            # The network may come late after a power cut: never give up.
            "StartLimitIntervalSec": "0",
        },
        "Service": {
            "Type": "notify",
            "ExecStart": " ".join(serve_command()),
            "ExecReload": "/bin/kill -HUP $MAINPID",
            "Restart": "always",
            "RestartSec": "1",
            "WatchdogSec": str(WATCHDOG_SECONDS),
            "User": USER,
            "Group": USER,
            # The control plane goes first. Its workers and threads get the usual priority, and are
            # batch processes like it: they ask for that themselves where no unit gives it.
            "Nice": "-10",
            "CPUSchedulingPolicy": "batch",
            "CPUSchedulingResetOnFork": "yes",
            "UMask": "0077",
            # Page workers serve on while the control plane is away; the next one takes them over.
            "KillMode": "process",
            # PCs' memory is in here: the OOM killer takes it last, and it has no limit. But what
            # each process has for itself has one: pages are shared mappings, which do not count.
            "OOMScoreAdjust": "-900",
            "MemoryMax": "infinity",
            "LimitDATA": "1G",
            "LimitNOFILE": "65536",
            # Pages are in /dev/shm and must outlive a restart.
            "RemoveIPC": "no",
            "StateDirectory": STATE.relative_to("/var/lib").as_posix(),
            "StateDirectoryMode": f"{STATE_MODE:04o}",
            "ReadWritePaths": [str(path) for path in writable],
            "AmbientCapabilities": capabilities,
            "CapabilityBoundingSet": capabilities,
            **CONFINED,
            **({} if whole_proc else {"ProcSubset": "pid", "Environment": f"{BOOT_ID}=%b"}),
            "RestrictAddressFamilies": "AF_INET AF_INET6 AF_NETLINK AF_PACKET AF_UNIX",
            # A worker's calls for its priority and scheduler do nothing and succeed (error 0): the
            # unit has done that already, and workers of earlier releases end if they are refused.
            "SystemCallFilter": [
                "@system-service",
                "~@privileged @resources",
                "~sched_setscheduler:0 setpriority:0",
            ],
            "SystemCallErrorNumber": "EPERM",
        },
        "Install": {"WantedBy": "multi-user.target"},
    }


def panel_unit() -> str:
    """Return the unit of the panel. It has a user of its own, and may harm nothing but its own files."""
    return text(panel_sections())


def panel_sections() -> Sections:
    """Return the sections of the panel's unit."""
    return {
        "Unit": {
            "Description": "netboot: the page of the room",
            "Documentation": "man:netboot(1)",
            "Wants": "network-online.target",
            "After": f"network-online.target {SERVICE}.service",
            "StartLimitIntervalSec": "0",
        },
        "Service": {
            "Type": "exec",
            "ExecStart": " ".join(panel_command()),
            # It ends well if http.panel is off. A notify unit would have failed then.
            "Restart": "on-failure",
            "RestartSec": "5",
            "User": PANEL_USER,
            "Group": PANEL_USER,
            "SupplementaryGroups": USER,
            # Pages and DHCP go first, and when memory is short the panel goes first.
            "Nice": "5",
            "OOMScoreAdjust": "500",
            "MemoryMax": "1G",
            "UMask": "0077",
            "RemoveIPC": "yes",
            "StateDirectory": PANEL_STATE.relative_to("/var/lib").as_posix(),
            "StateDirectoryMode": "0700",
            "CapabilityBoundingSet": "",
            **CONFINED,
            "ProcSubset": "pid",
            "RestrictAddressFamilies": "AF_INET AF_INET6 AF_NETLINK AF_UNIX",
            "SystemCallFilter": ["@system-service", "~@privileged @resources"],
            "SystemCallErrorNumber": "EPERM",
        },
        "Install": {"WantedBy": "multi-user.target"},
    }
