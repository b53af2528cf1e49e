"""The paths of `fab deploy` on a server, the systemd unit, and the server's command line. Pure.

A release is a folder with its own Python environment, profile and images. The link ``current``
points to the release that is served, so that a rollback changes one link.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from netboot.host.privileges import CAPABILITIES

SERVICE = "netboot"
USER = "netboot"

BASE = Path("/opt/netboot")
RELEASES = BASE / "releases"
CURRENT = BASE / "current"
PREVIOUS = BASE / "previous"
CONFIGURATION = Path("/etc/netboot")
PROFILE = CONFIGURATION / "profile.yaml"
DATA = Path("/var/lib/netboot")
IMAGES = DATA / "images"
STATE = DATA / "state"
UNIT = Path("/etc/systemd/system/netboot.service")
LOG = Path("/var/log/netboot.log")
PID_FILE = Path("/run/netboot.pid")
LOCK = Path("/run/netboot-deploy.lock")  # held by each process that changes any of this

# Within a release.
PROFILE_FILE = "profile.yaml"
COMPLETE_FILE = "complete"
PYTHON_FILE = "venv/bin/python"

KEPT_RELEASES = 3
WATCHDOG_SECONDS = 30


def netboot_command(release: Path) -> list[str]:
    """Return the command of a release. -P: no module comes from the current folder."""
    return [str(release / PYTHON_FILE), "-P", "-m", "netboot"]


def serve_command() -> list[str]:
    """Return the server's command line. It goes through ``current``, which a SIGHUP reads again."""
    return [
        *netboot_command(CURRENT),
        "serve",
        *("--profile", str(PROFILE), "--images", str(IMAGES / "current"), "--state", str(STATE)),
    ]


def unit(writable: Sequence[Path] = ()) -> str:
    """Return the systemd unit. ``writable`` are further folders for pages."""
    lines: list[str] = []
    for section, keys in _sections(writable).items():
        lines.append(f"[{section}]")
        for key, value in keys.items():
            lines += [f"{key}={each}" for each in ([value] if isinstance(value, str) else value)]
        lines.append("")
    return "\n".join(lines)


def _sections(writable: Sequence[Path]) -> Mapping[str, Mapping[str, str | Sequence[str]]]:
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
            "Nice": "-10",
            "UMask": "0077",
            # Page workers serve on while the control plane is away; the next one takes them over.
            "KillMode": "process",
            # PCs' memory is in here: the OOM killer takes it last, and it has no limit.
            "OOMScoreAdjust": "-900",
            "MemoryMax": "infinity",
            "LimitNOFILE": "65536",
            # Pages are in /dev/shm and must outlive a restart.
            "RemoveIPC": "no",
            "StateDirectory": STATE.relative_to("/var/lib").as_posix(),
            "StateDirectoryMode": "0700",
            "ReadWritePaths": [str(path) for path in writable],
            "AmbientCapabilities": capabilities,
            "CapabilityBoundingSet": capabilities,
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
            "RestrictAddressFamilies": "AF_INET AF_INET6 AF_NETLINK AF_PACKET AF_UNIX",
            "RestrictNamespaces": "yes",
            "RestrictRealtime": "yes",
            "RestrictSUIDSGID": "yes",
            "SystemCallArchitectures": "native",
            # Workers set their own priority and scheduler (@resources).
            "SystemCallFilter": ["@system-service", "~@privileged"],
            "SystemCallErrorNumber": "EPERM",
        },
        "Install": {"WantedBy": "multi-user.target"},
    }
