"""The server installed on this machine: activate a release, roll back, remove the server.

`fab deploy` runs these on the server, as `netboot service ...` of the release concerned.
"""

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from netboot.deploy import layout
from netboot.deploy.doctor import Finding, examine
from netboot.deploy.supervisor import supervisor
from netboot.errors import OperatorError
from netboot.host.files import READABLE, replace_file, replace_link
from netboot.host.programs import run
from netboot.images.build import MANIFEST_FILE
from netboot.pages.stores.memory import TMPFS
from netboot.profile import file as profile_file
from netboot.profile.stores import parse_store

DOCTOR_SECONDS = 30.0  # from the start until all checks must pass
UPGRADE_SECONDS = 15.0  # from SIGHUP until the new program runs
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a verb. ``done`` is one line to print; ``findings`` are the doctor's."""

    ok: bool
    changed: bool
    release: str
    done: str
    findings: tuple[Finding, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON-ready values."""
        return asdict(self)


def activate(release: str, say: Callable[[str], None]) -> Result:
    """Serve ``release``, or go back to the previous release if the doctor finds a fault.

    Seats keep their swap: a running server replaces its program (SIGHUP). Each step is passed to
    ``say``. Raises OperatorError if the release is incomplete or its profile is wrong; nothing has
    changed then.
    """
    with _alone():
        return _activate(release, say)


def _activate(release: str, say: Callable[[str], None]) -> Result:
    _check(release)
    before = current()
    if before == release and _in_place(release) and _serves(release):
        findings = _doctor(release, 0)
        well = all(finding.ok for finding in findings)
        done = "nothing new" if well else f"nothing new, but a check failed: {_first_bad(findings)}"
        return Result(well, False, release, done, findings)
    _make_users()
    complaint, findings = _serve(release, say)
    if complaint is None:
        if before != release:
            _link(layout.PREVIOUS, before)
        _prune()
        return Result(True, True, release, f"release {release} serves", findings)
    say(f"release {release}: {complaint}")
    if before is None or before == release:
        supervisor().stop()
        return Result(False, True, release, f"stopped: {complaint}", findings)
    say(f"going back to release {before}")
    worse, _ = _serve(before, say, restart=True)
    outcome = f"rolled back to {before}" if worse is None else f"rollback to {before}: {worse}"
    return Result(False, True, before, f"{outcome}; release {release}: {complaint}", findings)


def rollback(say: Callable[[str], None]) -> Result:
    """Serve the previous release. Raises OperatorError if there is none."""
    with _alone():
        before = _target(layout.PREVIOUS)
        if before is None:
            raise OperatorError("no previous release is installed")
        return _activate(before, say)


def status() -> dict[str, Any]:
    """Return the installed release and the running server as JSON-ready values."""
    pid, release = supervisor().pid(), current()
    return {
        "release": release,
        "previous": _target(layout.PREVIOUS),
        "pid": pid,
        "serves": release is not None and _serves(release),
        "supervisor": supervisor().name,
        "findings": [item.as_json() for item in _doctor(release, 0)] if release and pid else [],
    }


def uninstall(*, keep_profile: bool, say: Callable[[str], None]) -> Result:
    """Stop the server and its panel, and remove them with images, state and users."""
    with _alone():
        return _uninstall(keep_profile=keep_profile, say=say)


def _uninstall(*, keep_profile: bool, say: Callable[[str], None]) -> Result:
    supervisor().remove()
    say("stopped")
    gone = [layout.BASE, layout.DATA, layout.LOG]
    if not keep_profile:
        gone.append(layout.CONFIGURATION)
    for path in gone:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    with contextlib.suppress(KeyError):
        owner = pwd.getpwnam(layout.USER).pw_uid
        for path in TMPFS.iterdir():  # pages of seats
            if path.stat().st_uid == owner:
                shutil.rmtree(path)
    # The group of the server goes with its last member.
    for name in (layout.PANEL_USER, layout.USER):
        if _has_user(name):
            run(["userdel", name], package="passwd")
    kept = f"; {layout.PROFILE} stays" if keep_profile and layout.PROFILE.exists() else ""
    return Result(True, True, "", f"uninstalled{kept}")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Hold the lock against another deploy, which goes on even if its `fab` was interrupted.

    Raises OperatorError also if the Debian package is installed: it has the same users and units.
    """
    if os.path.lexists(layout.PACKAGED):
        raise OperatorError(
            f"{layout.PACKAGED}: the Debian package {layout.PACKAGE} has this machine's server",
            hint=f"apt upgrades and removes it: apt purge {layout.PACKAGE}",
        )
    with layout.LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OperatorError("another deploy runs here", hint="wait for its end") from None
        yield


def current() -> str | None:
    """Return the release that is served, or would be if the server ran."""
    return _target(layout.CURRENT)


def _target(link: Path) -> str | None:
    try:
        return os.path.basename(os.readlink(link))
    except OSError:
        return None


def _check(release: str) -> None:
    folder = layout.RELEASES / release
    if not (folder / layout.COMPLETE_FILE).is_file():
        raise OperatorError(f"{folder}: not a complete release")
    profile_file.load(folder / layout.PROFILE_FILE)


def _in_place(release: str) -> bool:
    """Return whether the installed profile is the release's: it may have been edited here."""
    wanted = (layout.RELEASES / release / layout.PROFILE_FILE).read_bytes()
    return layout.PROFILE.is_file() and layout.PROFILE.read_bytes() == wanted


def _serve(
    release: str, say: Callable[[str], None], *, restart: bool = False
) -> tuple[str | None, tuple[Finding, ...]]:
    """Make ``release`` the current one and start it; return the fault (or None) and findings."""
    try:
        _put(release)
        _start(release, say, restart=restart)
        _start_panel(say)
    except OperatorError as error:
        return str(error), ()
    findings = _doctor(release, DOCTOR_SECONDS)
    if supervisor().pid() is None:
        return f"the server has ended: {_last_words()}", findings
    bad = _first_bad(findings)
    return bad, findings


def _put(release: str) -> None:
    """Install profile, images, unit and link of ``release``."""
    folder = layout.RELEASES / release
    profile = profile_file.load(folder / layout.PROFILE_FILE)
    layout.CONFIGURATION.mkdir(mode=0o755, exist_ok=True)
    for path in (layout.DATA, layout.IMAGES):
        path.mkdir(mode=0o755, exist_ok=True)
    owner = pwd.getpwnam(layout.USER)
    store = parse_store(profile.swap.store).directory
    writable = [] if store is None else [store]
    for path in (layout.STATE, *writable):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chown(path, owner.pw_uid, owner.pw_gid)
    layout.STATE.chmod(layout.STATE_MODE)
    _put_profile(folder / layout.PROFILE_FILE, owner.pw_gid, has_hashes=profile.has_hashes)
    _link(layout.IMAGES / "current", release)
    supervisor().install(layout.unit(writable, whole_proc=_needs_whole_proc(release)))
    supervisor().install_panel(layout.panel_unit() if _has_panel(release) else "")
    _link(layout.CURRENT, release)


def _put_profile(source: Path, group: int, *, has_hashes: bool) -> None:
    """Install the profile of a release. Hashes of accounts are for root and the server alone."""
    if has_hashes:
        source.chmod(0o600)
    replace_file(layout.PROFILE, source.read_bytes(), mode=0o640 if has_hashes else READABLE)
    if has_hashes:
        os.chown(layout.PROFILE, -1, group)


def _start(release: str, say: Callable[[str], None], *, restart: bool) -> None:
    """Start the server, or have the running server replace its program.

    If it does not, ``restart`` it or raise OperatorError.
    """
    manager = supervisor()
    pid = manager.pid()
    if pid is None:
        say(f"starting release {release}")
        manager.start()
        return
    if _needs_whole_proc(release) and not Path(f"/proc/{pid}/root/proc/sys").exists():
        say(f"restarting the server for release {release}; seats keep their swap")
        manager.restart()  # a change of the program would leave it the /proc of the unit before
        return
    say(f"process {pid} changes to release {release}; seats keep their swap")
    os.kill(pid, signal.SIGHUP)
    deadline = time.monotonic() + UPGRADE_SECONDS
    while not _serves(release) and manager.pid() is not None and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    if _serves(release):
        return
    if not restart:
        raise OperatorError(f"the server does not change to release {release}: {_last_words()}")
    say(f"process {pid} does not change to it; restarting the server")
    manager.restart()


def _start_panel(say: Callable[[str], None]) -> None:
    """Start the panel. No seat needs it: a deploy does not go back for it."""
    try:
        supervisor().restart_panel()
    except OperatorError as error:
        say(f"no panel: {error}")


def _has_panel(release: str) -> bool:
    """Return whether a release, later than 0.2.0, has a panel."""
    return any((layout.RELEASES / release).glob(layout.PANEL_MODULES))


def _needs_whole_proc(release: str) -> bool:
    """Return whether a release, 0.2.0 or earlier, reads the boot id below /proc/sys."""
    return not any((layout.RELEASES / release).glob(layout.BOOT_MODULES))


def _serves(release: str) -> bool:
    """Return whether the running process is of ``release``: it has mapped libraries from there."""
    pid = supervisor().pid()
    try:
        maps = Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False
    return f"{layout.RELEASES / release}/" in maps


def _doctor(release: str, wait: float) -> tuple[Finding, ...]:
    profile = profile_file.load(layout.RELEASES / release / layout.PROFILE_FILE)
    manifest = layout.IMAGES / release / MANIFEST_FILE
    try:
        return tuple(examine(profile, manifest, wait, lambda: supervisor().pid() is not None))
    except OperatorError as error:
        return (Finding("", "start", False, str(error), 0.0),)


def _first_bad(findings: tuple[Finding, ...]) -> str | None:
    bad = next((finding for finding in findings if not finding.ok), None)
    return None if bad is None else f"{bad.interface} {bad.check}: {bad.detail}".strip()


def _last_words() -> str:
    with contextlib.suppress(OSError, IndexError):
        # After an operator's mistake the last line is the hint.
        lines = layout.LOG.read_text(errors="replace").strip().splitlines()
        return " ".join(line.strip() for line in lines[-2:])
    return f"see {layout.LOG}"


def _link(link: Path, release: str | None) -> None:
    """Point ``link`` to a release beside it (or in ``releases``), atomically."""
    if release is None:
        return
    replace_link(link, f"releases/{release}" if link.parent == layout.BASE else release)


def _make_users() -> None:
    """Make the user of the server, and that of the panel, which may read the feed of the server."""
    _make_user(layout.USER, layout.DATA)
    _make_user(layout.PANEL_USER, layout.PANEL_STATE, "--groups", layout.USER)


def _make_user(name: str, home: Path, *words: str) -> None:
    if _has_user(name):
        return
    account = ("--home-dir", str(home), "--no-create-home", "--shell", "/usr/sbin/nologin", name)
    run(["useradd", "--system", "--user-group", *words, *account], package="passwd")


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _prune() -> None:
    """Remove old releases that no link points to; keep the newest."""
    linked = {_target(layout.CURRENT), _target(layout.PREVIOUS)}
    newest_first = sorted(
        layout.RELEASES.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True
    )
    for folder in newest_first[layout.KEPT_RELEASES :]:
        if folder.name not in linked:
            shutil.rmtree(folder)
            shutil.rmtree(layout.IMAGES / folder.name, ignore_errors=True)
