"""Where `fab deploy` puts what on a server, the unit that runs it, and the command it runs. Pure.

A release is a folder with its own Python environment, profile and images. One link, ``current``,
says which is served, so that going back is changing a link.
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
LOCK = Path("/run/netboot-deploy.lock")  # held by who changes any of this

# In a release.
PROFILE_FILE = "profile.yaml"
COMPLETE_FILE = "complete"
PYTHON_FILE = "venv/bin/python"

KEPT_RELEASES = 3
WATCHDOG_SECONDS = 30


def netboot_command(release: Path) -> list[str]:
    """The ``netboot`` of a release. -P: no folder of that name where it is started is taken."""
    return [str(release / PYTHON_FILE), "-P", "-m", "netboot"]


def serve_command() -> list[str]:
    """The server's command line. By way of ``current``: a SIGHUP starts what that says then."""
    return [
        *netboot_command(CURRENT),
        "serve",
        *("--profile", str(PROFILE), "--images", str(IMAGES / "current"), "--state", str(STATE)),
    ]


def unit(writable: Sequence[Path] = ()) -> str:
    """The systemd unit. ``writable``: more folders it writes to (where pages are kept)."""
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
            # The network may come late on a cold morning: never give up.
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
            # Page workers serve on while the control plane is away, and are taken over.
            "KillMode": "process",
            # PCs' memory is in here: it goes last when memory is short, and has no bound.
            "OOMScoreAdjust": "-900",
            "MemoryMax": "infinity",
            "LimitNOFILE": "65536",
            # Pages lie in /dev/shm and must outlive a restart.
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
