"""The server installed on this machine: a release made the current one, taken back, removed.

These run on the far side of `fab deploy`, as `netboot service ...` of the release concerned.
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
from netboot.host.files import replace_file, replace_link
from netboot.host.programs import run
from netboot.images.build import MANIFEST_FILE
from netboot.pages.stores.memory import TMPFS
from netboot.profile import file as profile_file
from netboot.profile.stores import parse_store

DOCTOR_SECONDS = 30.0  # from the start until all has to be well
UPGRADE_SECONDS = 15.0  # from SIGHUP until the new program runs
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Result:
    """What was done, for people: ``done`` is one line; ``findings`` are the doctor's."""

    ok: bool
    changed: bool
    release: str
    done: str
    findings: tuple[Finding, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def activate(release: str, say: Callable[[str], None]) -> Result:
    """Serves ``release`` from now on if the doctor finds it well, else what was served before.

    Seats keep their swap: a running server replaces its program (SIGHUP). ``say`` hears each step.
    Raises OperatorError if the release is not complete or its profile is wrong; nothing changed then.
    """
    with _alone():
        return _activate(release, say)


def _activate(release: str, say: Callable[[str], None]) -> Result:
    _check(release)
    before = current()
    if before == release and _in_place(release) and _serves(release):
        findings = _doctor(release, 0)
        well = all(finding.ok for finding in findings)
        done = "nothing new" if well else f"nothing new, but not well: {_first_bad(findings)}"
        return Result(well, False, release, done, findings)
    _make_user()
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
    worse, _ = _serve(before, say, anew=True)
    outcome = f"rolled back to {before}" if worse is None else f"rollback to {before}: {worse}"
    return Result(False, True, before, f"{outcome}; release {release}: {complaint}", findings)


def rollback(say: Callable[[str], None]) -> Result:
    """Serves the release before this one. Raises OperatorError if there is none."""
    with _alone():
        before = _target(layout.PREVIOUS)
        if before is None:
            raise OperatorError("there is no release to go back to")
        return _activate(before, say)


def status() -> dict[str, Any]:
    """What is installed and what runs, JSON-ready."""
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
    """Stops the server and removes it with images, state and user."""
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
        for path in TMPFS.iterdir():  # pages that seats left
            if path.stat().st_uid == owner:
                shutil.rmtree(path)
        run(["userdel", layout.USER], package="passwd")
    kept = f"; {layout.PROFILE} is kept" if keep_profile and layout.PROFILE.exists() else ""
    return Result(True, True, "", f"uninstalled{kept}")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Keeps out another deploy, which may have gone on after who began it was interrupted."""
    with layout.LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OperatorError("another deploy is at work here", hint="wait for it") from None
        yield


def current() -> str | None:
    """The release that is served, or would be."""
    return _target(layout.CURRENT)


def _target(link: Path) -> str | None:
    try:
        return os.path.basename(os.readlink(link))
    except OSError:
        return None


def _check(release: str) -> None:
    folder = layout.RELEASES / release
    if not (folder / layout.COMPLETE_FILE).is_file():
        raise OperatorError(f"{folder} is no complete release")
    profile_file.load(folder / layout.PROFILE_FILE)


def _in_place(release: str) -> bool:
    """Whether the profile is still the release's: somebody may have changed it here."""
    wanted = (layout.RELEASES / release / layout.PROFILE_FILE).read_bytes()
    return layout.PROFILE.is_file() and layout.PROFILE.read_bytes() == wanted


def _serve(
    release: str, say: Callable[[str], None], *, anew: bool = False
) -> tuple[str | None, tuple[Finding, ...]]:
    """Makes ``release`` the current one and starts it; returns what is wrong, None if nothing."""
    try:
        _put(release)
        _start(release, say, anew=anew)
    except OperatorError as error:
        return str(error), ()
    findings = _doctor(release, DOCTOR_SECONDS)
    if supervisor().pid() is None:
        return f"the server has ended: {_last_words()}", findings
    bad = _first_bad(findings)
    return bad, findings


def _put(release: str) -> None:
    """Profile, images, unit and link of ``release``."""
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
    replace_file(layout.PROFILE, (folder / layout.PROFILE_FILE).read_bytes())
    _link(layout.IMAGES / "current", release)
    supervisor().install(layout.unit(writable))
    _link(layout.CURRENT, release)


def _start(release: str, say: Callable[[str], None], *, anew: bool) -> None:
    """Starts the server, or has the one that runs replace its program; if it does not, it is
    stopped and started ``anew``, or OperatorError is raised.
    """
    manager = supervisor()
    pid = manager.pid()
    if pid is None:
        say(f"starting release {release}")
        manager.start()
        return
    say(f"process {pid} goes over to release {release}; seats keep their swap")
    os.kill(pid, signal.SIGHUP)
    deadline = time.monotonic() + UPGRADE_SECONDS
    while not _serves(release) and manager.pid() is not None and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    if _serves(release):
        return
    if not anew:
        raise OperatorError(f"the server does not go over to it: {_last_words()}")
    say("it does not; starting it anew")
    manager.restart()


def _serves(release: str) -> bool:
    """Whether the process that runs is that release: it has mapped libraries of its folder."""
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
        # An operator's mistake has a second line with a hint.
        lines = layout.LOG.read_text(errors="replace").strip().splitlines()
        return " ".join(line.strip() for line in lines[-2:])
    return "see its log"


def _link(link: Path, release: str | None) -> None:
    """Points ``link`` at a release beside it (or in ``releases``), in one step."""
    if release is None:
        return
    replace_link(link, f"releases/{release}" if link.parent == layout.BASE else release)


def _make_user() -> None:
    with contextlib.suppress(KeyError):
        pwd.getpwnam(layout.USER)
        return
    home = ("--home-dir", str(layout.DATA), "--no-create-home")
    account = ("--system", "--user-group", *home, "--shell", "/usr/sbin/nologin", layout.USER)
    run(["useradd", *account], package="passwd")


def _prune() -> None:
    """Removes releases that nobody can go back to; the newest are kept."""
    linked = {_target(layout.CURRENT), _target(layout.PREVIOUS)}
    newest_first = sorted(
        layout.RELEASES.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True
    )
    for folder in newest_first[layout.KEPT_RELEASES :]:
        if folder.name not in linked:
            shutil.rmtree(folder)
            shutil.rmtree(layout.IMAGES / folder.name, ignore_errors=True)
