"""The command of the panel that a server starts beside itself: its user, its words, its folder."""

import contextlib
import hashlib
import importlib.util
import os
import pwd
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from netboot import __version__
from netboot.feed.protocol import PANEL_FOLDER, SOCKET_FILE
from netboot.host import folders
from netboot.profile.panel import without_password

if TYPE_CHECKING:
    from netboot.profile.profile import Profile

USER = "netboot-panel"
PACKAGES = ("fastapi", "uvicorn", "sqlalchemy", "argon2", "prometheus_client")


@dataclass(frozen=True, slots=True)
class Panel:
    """The command of a panel, what is added to its environment, and its user; None is ours."""

    command: tuple[str, ...]
    environment: dict[str, str] = field(repr=False)
    user: pwd.struct_passwd | None

    @property
    def mark(self) -> str:
        """A word that differs for another release, command or password."""
        text = repr((__version__, self.command, sorted(self.environment.items())))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def has_unit(state: Path) -> bool:
    """Return True if systemd runs the panel of the server with this state folder.

    `fab deploy` installs the unit only where systemd runs. The Debian package always has it.
    """
    from netboot.deploy import layout, supervisor

    is_packaged = layout.PACKAGED_PANEL_UNIT.exists() and supervisor.SYSTEMD_RUNS.is_dir()
    return (layout.PANEL_UNIT.exists() or is_packaged) and state.resolve() == layout.STATE


def panel_of(profile: "Profile", state: Path, folder: Path | None = None) -> Panel | str:
    """Return the panel that the profile asks for, or the reason why it cannot work.

    The reason is empty if the profile wants no panel. ``folder`` is the panel's own; by default it is
    in the server's state folder.
    """
    http = profile.http
    if http.panel == "off" or http.panel_port in (http.port, profile.swap.port):
        return ""  # the port is one of the profile's doubts, which are told
    lacking = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if lacking:
        names = ", ".join(lacking)
        return f"no panel: {names} cannot be imported; install the packages, or set http.panel: off"
    address = "127.0.0.1" if http.panel == "local" else "0.0.0.0"
    state = state.resolve()
    feed = (folders.given(folders.RUNTIME) or state) / SOCKET_FILE
    words = ["--feed", str(feed), "--listen", f"{address}:{http.panel_port}"]
    words += ["--state", str(folder or state / PANEL_FOLDER)]
    database, password = without_password(profile.panel.database)
    words += ["--database", database] if database else []
    environment = {"PGPASSWORD": password} if password else {}
    command = (sys.executable, "-P", "-m", "netboot", "panel", *words)
    return Panel(command, environment, _own_user())


def _own_user() -> pwd.struct_passwd | None:
    """Return the panel's own user, if there is one and we may become it."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(USER)
    return None


def group_of(panel: Panel | str) -> int:
    """Return the group that may read the feed's socket; -1 if it is ours."""
    return -1 if isinstance(panel, str) or panel.user is None else panel.user.pw_gid


def open_state(panel: Panel, state: Path) -> None:
    """Make the folder in which the panel keeps its files, and let its user reach it. Raises OSError."""
    folder = state / PANEL_FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    if panel.user is not None:
        if folder.stat().st_uid == 0:  # of a time without that user, who could put nothing in it
            for path in folder.iterdir():
                os.chown(path, panel.user.pw_uid, panel.user.pw_gid, follow_symlinks=False)
        os.chown(folder, panel.user.pw_uid, panel.user.pw_gid)
        # To pass through. Files with secrets are root's alone.
        os.chown(state, -1, panel.user.pw_gid)
        state.chmod(state.stat().st_mode & 0o700 | 0o010)
