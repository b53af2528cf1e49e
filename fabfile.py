"""Brings netboot to a server and a classroom of old PCs to netboot. The manual: docs/deploy.md.

Put -H behind the task: fab deploy -H root@server --profile room.yaml
"""

import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from fabric import Connection
from invoke import Collection, Context, Task, task

from netboot.cli import show as shown
from netboot.deploy import bundle, classroom, hardware, remote, roster
from netboot.deploy import wake as wakeonlan
from netboot.deploy.fleet import Access, Failed, Far, in_waves, on_each
from netboot.deploy.report import Outcome, table
from netboot.deploy.seats import NewSeat, add
from netboot.errors import OperatorError
from netboot.images import build
from netboot.profile import file as profile_file

PROFILE = "profiles/lab.yaml"
KNOWN_HOSTS = "~/.ssh/known_hosts"
INTERRUPTED = 130  # what a shell makes of SIGINT
HELP = {
    "H": "machines: [USER@]HOST[:PORT], with commas",
    "csv": "machines: a file with the columns seat,mac,address",
    "always": "from now on, not only the next time",
    "wave": "how many at a time (8)",
    "failures": "stop when more than so many have failed (1)",
    "server": "the boot server's HOST:PORT for HTTP (127.0.0.1:8080)",
    "via": "the boot server, as root@SERVER: it tells the PCs that run without their disks",
    "timeout": "seconds until a seat has to be in userland (300)",
    "broadcast": "the LAN's broadcast address",
    "profile": f"the room's profile, a YAML file ({PROFILE})",
    "key": "private key file (default: those that ssh would use)",
    "known_hosts": f"file with the host keys that are accepted ({KNOWN_HOSTS})",
    "images": "folder made by 'netboot build' (default: they are built)",
    "purge": "remove the profile in /etc/netboot as well",
    "dry_run": "only print the commands that would change something",
}


def _described(function: Callable[..., None]) -> Task:
    """A task whose parameters are explained as they are everywhere."""
    names = inspect.signature(function).parameters
    explained = {name: HELP[name] for name in names if name in HELP}
    made: Task = task(help=explained, auto_shortflags=False)(function)
    return made


@_described
def deploy(
    c: Context,
    H: str = "",
    profile: str = PROFILE,
    images: str = "",
    key: str = "",
    known_hosts: str = KNOWN_HOSTS,
    dry_run: bool = False,
) -> None:
    """Install or upgrade the boot server, safely."""
    with _errors_in_one_line():
        hosts, access, room = _named(c, H), _access(key, known_hosts, dry_run), Path(profile)
        folder = _images(room, images)
        _finish(on_each(hosts, access, "deploy", lambda far: remote.deploy(far, room, folder)))


@_described
def rollback(
    c: Context, H: str = "", key: str = "", known_hosts: str = KNOWN_HOSTS, dry_run: bool = False
) -> None:
    """Put the boot server back to the version before."""
    with _errors_in_one_line():
        access = _access(key, known_hosts, dry_run)
        _finish(on_each(_named(c, H), access, "rollback", partial(remote.service, "rollback")))


@_described
def status(c: Context, H: str = "", key: str = "", known_hosts: str = KNOWN_HOSTS) -> None:
    """Show whether the boot server is well."""
    with _errors_in_one_line():
        _finish(on_each(_named(c, H), _access(key, known_hosts), "status", remote.health))


@_described
def uninstall(
    c: Context,
    H: str = "",
    purge: bool = False,
    key: str = "",
    known_hosts: str = KNOWN_HOSTS,
    dry_run: bool = False,
) -> None:
    """Remove the boot server (its profile stays)."""
    with _errors_in_one_line():
        access = _access(key, known_hosts, dry_run)
        verb = "uninstall" + (" --purge" if purge else "")
        _finish(on_each(_named(c, H), access, "uninstall", partial(remote.service, verb)))


@_described
def adopt(
    c: Context,
    H: str = "",
    csv: str = "",
    profile: str = PROFILE,
    images: str = "",
    key: str = "",
    known_hosts: str = KNOWN_HOSTS,
    dry_run: bool = False,
) -> None:
    """Look at the old PCs; write them into the profile."""
    with _errors_in_one_line():
        room, seats = Path(profile), []
        hosts = _seats(c, H, csv, profile)
        modules = _modules(_images(room, images) / build.MANIFEST_FILE)

        def step(far: Far) -> str:
            found = classroom.ask(far)
            wrong = hardware.problems(found, modules)
            if wrong:
                raise Failed(f"{found}: {'; '.join(wrong)}")
            name = far.host.seat if far.host.mac else found.hostname
            seats.append(NewSeat(found.mac, name, far.host.address, str(found)))
            return str(found)

        outcomes = on_each(hosts, _access(key, known_hosts), "look", step)
        known, text = profile_file.load(room), room.read_text()
        added = add(text, known, sorted(seats, key=lambda seat: seat.hostname))
        count = len(profile_file.parse(added, str(room)).clients) - len(known.clients)
        if dry_run:
            print(added)
        elif count:
            room.write_text(added)
        print(f"{room}: {count or 'no'} new seat{'' if count == 1 else 's'}")
        _finish(outcomes)


@_described
def netboot(
    c: Context,
    H: str = "",
    csv: str = "",
    profile: str = PROFILE,
    server: str = "127.0.0.1:8080",
    always: bool = False,
    wave: str = "8",
    failures: str = "1",
    timeout: str = "300",
    key: str = "",
    known_hosts: str = KNOWN_HOSTS,
    dry_run: bool = False,
) -> None:
    """Boot the PCs from the network, wave by wave."""
    with _errors_in_one_line():
        access, orders = _access(key, known_hosts, dry_run), _orders(profile)
        size, most = _number("--wave", wave, 1), _number("--failures", failures)
        seconds, hosts = _number("--timeout", timeout, 1), _seats(c, H, csv, profile)
        with shown.BuildProgress() as progress:
            loader = bundle.ipxe_for_grub(build.default_cache(), progress)

        def step(far: Far) -> str:
            found = classroom.ask(far)
            since = 0.0 if dry_run else classroom.last_event(server, found.mac)
            how = classroom.to_network(far, found, orders, loader, once=not always)
            far.do(classroom.COMMANDS["reboot"])
            if dry_run:
                return f"{how} (dry run)"
            far.tell(f"{how}, reboots")
            return f"{how}, {classroom.wait_for_userland(server, found.mac, since, seconds)}"

        _finish(in_waves(hosts, access, "netboot", step, size, most))


@_described
def restore(
    c: Context,
    H: str = "",
    csv: str = "",
    profile: str = PROFILE,
    key: str = "",
    known_hosts: str = KNOWN_HOSTS,
    dry_run: bool = False,
) -> None:
    """Have the PCs boot from their disks again."""
    with _errors_in_one_line():
        access, orders = _access(key, known_hosts, dry_run), _orders(profile)

        def step(far: Far) -> str:
            return classroom.to_disk(far, classroom.ask(far), orders)

        _finish(on_each(_seats(c, H, csv, profile), access, "restore", step))


@_described
def wake(
    c: Context,
    H: str = "",
    csv: str = "",
    profile: str = PROFILE,
    broadcast: str = "255.255.255.255",
    wave: str = "8",
    dry_run: bool = False,
) -> None:
    """Switch the PCs on (Wake-on-LAN), wave by wave."""
    with _errors_in_one_line():
        hosts, size = _seats(c, H, csv, profile), _number("--wave", wave, 1)
        if dry_run:
            print("\n".join(f"[{host.seat}] wake {host.mac or '?'}" for host in hosts))
        else:
            _finish(wakeonlan.wake(hosts, broadcast, size))


@_described
def reboot(
    c: Context,
    H: str = "",
    csv: str = "",
    profile: str = PROFILE,
    via: str = "",
    wave: str = "8",
    key: str = "",
    known_hosts: str = KNOWN_HOSTS,
    dry_run: bool = False,
) -> None:
    """Reboot the PCs, with or without disk, wave by wave."""
    with _errors_in_one_line():
        access, size = _access(key, known_hosts, dry_run), _number("--wave", wave, 1)
        _finish(
            classroom.tell(
                "reboot", _seats(c, H, csv, profile), access, _server(via, profile), size
            )
        )


@_described
def poweroff(
    c: Context,
    H: str = "",
    csv: str = "",
    profile: str = PROFILE,
    via: str = "",
    key: str = "",
    known_hosts: str = KNOWN_HOSTS,
    dry_run: bool = False,
) -> None:
    """Switch the PCs off, with or without disk."""
    with _errors_in_one_line():
        access, hosts = _access(key, known_hosts, dry_run), _seats(c, H, csv, profile)
        _finish(classroom.tell("poweroff", hosts, access, _server(via, profile), len(hosts)))


namespace = Collection(
    deploy,
    rollback,
    status,
    uninstall,
    classroom=Collection(adopt, netboot, restore, wake, reboot, poweroff),
)


def _server(via: str, profile: str) -> classroom.Server | None:
    """The boot server of ``--via``. Raises OperatorError if that names none or several."""
    if not via:
        return None
    hosts = roster.from_words(via)
    if len(hosts) != 1:
        raise OperatorError("--via: expected one machine, as root@SERVER")
    return classroom.Server(hosts[0], profile_file.load(Path(profile)).http.port)


def _seats(c: Context, words: str, csv: str, profile: str) -> list[roster.Host]:
    """The PCs of -H, of a CSV, or the profile's clients. Raises OperatorError if there are none."""
    if words or isinstance(c, Connection):
        return _named(c, words)
    room = profile_file.load(Path(profile))
    if csv:
        return roster.from_csv(_text(Path(csv)), csv, room.ssh)
    hosts = roster.from_profile(room)
    if not hosts:
        raise OperatorError("which PCs? --csv FILE, -H ADDRESSES, or clients in the profile")
    return hosts


def _text(path: Path) -> str:
    """A file that a spreadsheet saved. Raises OperatorError if it is none of text."""
    try:
        return path.read_text()
    except OSError as error:
        raise OperatorError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise OperatorError(
            f"{path}: not text in UTF-8", hint="save it from the spreadsheet as CSV, UTF-8"
        ) from None


def _modules(manifest: Path) -> dict[str, list[str]]:
    """The drivers in a build's images, by processor. Raises OperatorError if it is not one of ours."""
    try:
        parts = json.loads(manifest.read_text())["processors"]
        return {name: part["modules"] for name, part in parts.items()}
    except (OSError, ValueError, KeyError):
        raise OperatorError(
            f"{manifest.parent}: not a folder of images", hint="netboot build --output FOLDER"
        ) from None


def _orders(profile: str) -> classroom.Orders:
    return classroom.Orders(Path(profile).with_suffix(".bootorders.json"))


def _images(room: Path, given: str) -> Path:
    """The images of a profile, which is checked by the way."""
    loaded = profile_file.load(room)
    if given:
        return Path(given)
    with shown.BuildProgress() as progress:
        return build.build(loaded, bundle.WORK / "images", build.default_cache(), progress).folder


def _access(key: str, known_hosts: str, dry_run: bool = False) -> Access:
    return Access(Path(known_hosts).expanduser(), key, dry_run)


def _number(option: str, text: str, least: int = 0) -> int:
    """An option's number, which Invoke would answer with a traceback. Raises OperatorError."""
    if not re.fullmatch("[0-9]{1,6}", text) or int(text) < least:
        raise OperatorError(f"{option}: expected a number of {least} or more, found {text!a}")
    return int(text)


def _named(c: Context, words: str) -> list[roster.Host]:
    """The hosts of -H. Raises OperatorError if there are none, or if Fabric has taken them."""
    if isinstance(c, Connection):
        raise OperatorError("put -H behind the task's name: fab deploy -H SERVER")
    hosts = roster.from_words(words)
    if not hosts:
        raise OperatorError("which machine? -H root@SERVER")
    return hosts


def _finish(outcomes: Sequence[Outcome]) -> None:
    print(table(outcomes))
    if not all(outcome.ok for outcome in outcomes):
        sys.exit(1)


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    try:
        yield
    except OperatorError as error:
        print(f"{error}" + (f"\n  hint: {error.hint}" if error.hint else ""), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; what was begun on a machine goes on there", file=sys.stderr)
        sys.stdout.flush()
        os._exit(INTERRUPTED)  # sys.exit would wait for the machines
