"""Install netboot on a server, and boot a classroom of old PCs from it. See docs/howto/deploy.md.

Put -H behind the task: fab deploy -H root@server --profile room.yaml
"""

import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from fabric import Connection
from invoke import Collection, Context, Task, task

from netboot.cli import checks
from netboot.cli import show as shown
from netboot.cli.ending import (
    as_mistake,
    discard_output,
    open_streams,
)
from netboot.cli.profile_path import SHIPPED, find_profile
from netboot.deploy import bundle, classroom, hardware, remote, roster, sheet
from netboot.deploy import wake as wakeonlan
from netboot.deploy.fleet import Access, Failed, Far, in_waves, on_each
from netboot.deploy.report import Outcome, table
from netboot.deploy.seats import NewSeat, add_each, change, check_hostname
from netboot.errors import Exit, OperatorError
from netboot.host.files import rewrite_file
from netboot.host.text import printable_lines
from netboot.images import build
from netboot.images.manifest import MANIFEST_FILE, read
from netboot.profile import arguments, values
from netboot.profile import file as profile_file

KNOWN_HOSTS = "~/.ssh/known_hosts"
HELP = {
    "H": "machines: [USER@]HOST[:PORT], with commas",
    "csv": "machines: a CSV file with the columns seat,mac,address",
    "always": "boot from the network from now on, not only once",
    "wave": "number of PCs at a time (8)",
    "failures": "start no further wave after more failures than this (1)",
    "server": "HOST:PORT of the boot server's HTTP (127.0.0.1:8080)",
    "via": "the boot server, as root@SERVER: it orders the PCs that run without their disks",
    "timeout": "seconds for a PC to reach userland (300)",
    "broadcast": "the LAN's broadcast address",
    "profile": f"the room's profile, a YAML file ({SHIPPED})",
    "key": "private key file (default: the keys that ssh uses)",
    "known_hosts": f"file with the accepted host keys ({KNOWN_HOSTS})",
    "images": "folder of images, as 'netboot build' wrote it (default: build them)",
    "purge": "also remove the profile in /etc/netboot",
    "dry_run": "only print the commands that would change something",
}


@dataclass(frozen=True, slots=True)
class Machines:
    """The options that tasks share: the machines, and the way to reach them."""

    c: Context
    H: str = ""
    csv: str = ""
    profile: str = SHIPPED
    key: str = ""
    known_hosts: str = KNOWN_HOSTS
    dry_run: bool = False

    @property
    def room(self) -> Path:
        """Return the file of the profile."""
        return find_profile(self.profile)

    @property
    def access(self) -> Access:
        """Return the way to reach the machines."""
        if self.key:
            checks.check_file("--key", Path(os.path.expanduser(self.key)))
        known_hosts = Path(os.path.expanduser(self.known_hosts))
        if self.known_hosts != KNOWN_HOSTS:  # the usual file need not exist yet
            checks.check_file("--known-hosts", known_hosts)
        return Access(known_hosts, self.key, self.dry_run)

    @property
    def orders(self) -> classroom.Orders:
        """Return the store of the PCs' original boot orders, beside the profile."""
        return classroom.Orders(self.room.with_suffix(".bootorders.json"))

    def named(self) -> list[roster.Host]:
        """Return the hosts of -H. Raises OperatorError if none are given, or Fabric took them."""
        if isinstance(self.c, Connection):
            raise OperatorError("put -H behind the task's name: fab deploy -H SERVER")
        hosts = roster.from_words(self.H)
        if not hosts:
            raise OperatorError("no machine given; use -H root@SERVER")
        return hosts

    def seats(self) -> list[roster.Host]:
        """Return the PCs of -H, of a CSV, or of the profile. Raises OperatorError if none."""
        if self.H or isinstance(self.c, Connection):
            return self.named()
        room = profile_file.load(self.room)
        if self.csv:
            return roster.from_csv(_text(Path(self.csv)), self.csv, room.ssh)
        hosts = roster.from_profile(room)
        if not hosts:
            raise OperatorError(
                "no PCs given; use --csv FILE, -H ADDRESSES, or clients in the profile"
            )
        return hosts

    def server(self, via: str) -> classroom.Server | None:
        """Return the boot server of ``--via``. Raises OperatorError unless it names one."""
        if not via:
            return None
        hosts = roster.from_words(via)
        if len(hosts) != 1:
            raise OperatorError("--via: expected one machine, as root@SERVER")
        return classroom.Server(hosts[0], profile_file.load(self.room).http.port)


SERVER = ("H", "key", "known_hosts", "dry_run")
PCS = ("H", "csv", "profile", "key", "known_hosts", "dry_run")


def _task(*shared: str) -> Callable[[Callable[..., None]], Task]:
    """Make a task with the ``shared`` options of Machines and those of its function.

    The function gets a Machines first. An option has the same help in all tasks. A mistake of the
    operator is one line.
    """

    def made(function: Callable[..., None]) -> Task:
        def body(c: Context, **options: Any) -> None:
            with _errors_in_one_line():
                common = {name: options.pop(name) for name in shared if name in options}
                function(Machines(c, **common), **options)

        first, *own = inspect.signature(function).parameters.values()
        added = [
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default)
            for field in fields(Machines)
            if field.name in shared
        ]
        parameters = [first, *(each.replace(kind=each.KEYWORD_ONLY) for each in own), *added]
        # Invoke makes its command line from the signature.
        body.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        body.__name__, body.__doc__ = function.__name__, function.__doc__
        explained = {each.name: HELP[each.name] for each in parameters[1:]}
        wrapped: Task = task(help=explained, auto_shortflags=False)(body)
        return wrapped

    return made


@_task(*SERVER, "profile")
def deploy(machines: Machines, images: str = "") -> None:
    """Install or upgrade the boot server; undo if it fails."""
    hosts, room = machines.named(), machines.room
    folder = _images(room, images)
    access = machines.access
    _finish(on_each(hosts, access, "deploy", lambda far: remote.deploy(far, room, folder)))


@_task(*SERVER)
def rollback(machines: Machines) -> None:
    """Go back to the previous version of the boot server."""
    step = partial(remote.service, "rollback")
    _finish(on_each(machines.named(), machines.access, "rollback", step))


@_task("H", "key", "known_hosts")
def status(machines: Machines) -> None:
    """Check whether the boot server is healthy."""
    _finish(on_each(machines.named(), machines.access, "status", remote.health))


@_task(*SERVER)
def uninstall(machines: Machines, purge: bool = False) -> None:
    """Remove the boot server; its profile stays."""
    step = partial(remote.service, "uninstall" + (" --purge" if purge else ""))
    _finish(on_each(machines.named(), machines.access, "uninstall", step))


@_task(*PCS)
def adopt(machines: Machines, images: str = "") -> None:
    """Check the old PCs; write them into the profile."""
    room, seats = machines.room, dict[NewSeat, roster.Host]()
    hosts = machines.seats()
    known, text = profile_file.load(room), _profile_text(room)
    _check_merge(room, hosts)
    for place in () if machines.dry_run else (room, room.resolve().parent):
        if not os.access(place, os.W_OK):
            raise OperatorError(f"{place}: this user cannot write to it")
    modules = _modules(_images(room, images) / MANIFEST_FILE)

    def step(far: Far) -> str:
        found = classroom.ask(far)
        wrong = hardware.problems(found, modules)
        if wrong:
            raise Failed(f"{found}: {'; '.join(wrong)}")
        name = far.host.seat if far.host.mac else found.hostname
        check_hostname(name)
        seats[NewSeat(found.mac, name, far.host.address, str(found))] = far.host
        return str(found)

    outcomes = on_each(hosts, machines.access, "look", step)
    added, refused = add_each(
        text,
        known,
        sorted(seats, key=lambda seat: seat.hostname),
        lambda whole: profile_file.parse(whole, str(room)),
    )
    left_out = {seats[seat].seat: f"left out: {reason}" for seat, reason in refused.items()}
    count = len(profile_file.parse(added, str(room)).clients) - len(known.clients)
    if machines.dry_run:
        print(change(text, added, str(room)), end="")
    elif count:
        rewrite_file(room, added)
    print(f"{room}: {count or 'no'} new seat{'' if count == 1 else 's'}")
    _finish(
        [
            replace(each, ok=False, result=left_out[each.seat]) if each.seat in left_out else each
            for each in outcomes
        ]
    )


@_task(*PCS)
def netboot(
    machines: Machines,
    server: str = "127.0.0.1:8080",
    always: bool = False,
    wave: str = "8",
    failures: str = "1",
    timeout: str = "300",
) -> None:
    """Boot the PCs from the network, wave by wave."""
    orders, dry_run, server = machines.orders, machines.dry_run, arguments.parse_server(server)
    size, most = _number("--wave", wave, 1), _number("--failures", failures)
    seconds, hosts = _number("--timeout", timeout, 1), machines.seats()
    with shown.BuildProgress() as progress:
        loader = bundle.ipxe_for_grub(build.default_cache(), progress)

    def step(far: Far) -> str:
        found = classroom.ask(far)
        since = 0.0 if dry_run else classroom.last_event(server, found.mac)
        how = classroom.to_network(far, found, orders, loader, once=not always)
        far.do(classroom.COMMANDS["reboot"])
        if dry_run:
            return f"{how} (dry run)"
        far.tell(f"{how}, rebooting")
        return f"{how}, {classroom.wait_for_userland(server, found.mac, since, seconds)}"

    _finish(in_waves(hosts, machines.access, "netboot", step, size, most))


@_task(*PCS)
def restore(machines: Machines) -> None:
    """Make the PCs boot from their disks again."""
    orders = machines.orders

    def step(far: Far) -> str:
        return classroom.to_disk(far, classroom.ask(far), orders)

    _finish(on_each(machines.seats(), machines.access, "restore", step))


@_task("H", "csv", "profile", "dry_run")
def wake(machines: Machines, broadcast: str = "255.255.255.255", wave: str = "8") -> None:
    """Switch the PCs on (Wake-on-LAN), wave by wave."""
    hosts, size = machines.seats(), _number("--wave", wave, 1)
    arguments.parse_word("--broadcast", values.ADDRESS, broadcast)
    if machines.dry_run:
        print("\n".join(f"[{host.seat}] wake {host.mac or '?'}" for host in hosts))
    else:
        _finish(wakeonlan.wake(hosts, broadcast, size))


@_task(*PCS)
def reboot(machines: Machines, via: str = "", wave: str = "8") -> None:
    """Reboot the PCs, with or without disk, wave by wave."""
    size, hosts = _number("--wave", wave, 1), machines.seats()
    _finish(classroom.tell("reboot", hosts, machines.access, machines.server(via), size))


@_task(*PCS)
def poweroff(machines: Machines, via: str = "") -> None:
    """Switch the PCs off, with or without disk."""
    hosts, server = machines.seats(), machines.server(via)
    _finish(classroom.tell("poweroff", hosts, machines.access, server, len(hosts)))


namespace = Collection(
    deploy,
    rollback,
    status,
    uninstall,
    classroom=Collection(adopt, netboot, restore, wake, reboot, poweroff),
)


def _text(path: Path) -> str:
    """Return the text of a file that a spreadsheet saved. Raises OperatorError."""
    try:
        with path.open("rb") as file:
            return sheet.text_of(file.read(sheet.MOST_BYTES + 1), str(path))
    except OSError as error:
        raise OperatorError(f"{path}: cannot be read: {error.strerror}") from None


def _profile_text(room: Path) -> str:
    """Return the text of a profile that could be read, with its own ends of lines."""
    return room.read_bytes().decode()


def _check_merge(room: Path, hosts: Sequence[roster.Host]) -> None:
    """Check that the profile can take the PCs, before the first connection. Raises OperatorError.

    PCs whose MAC address is not known yet are checked when they have told it.
    """
    wanted = [NewSeat(host.mac, host.seat, host.address, "") for host in hosts if host.mac]
    _, refused = add_each(
        _profile_text(room),
        profile_file.load(room),
        wanted,
        lambda whole: profile_file.parse(whole, str(room)),
    )
    if refused:
        lines = [f"{seat.hostname}: {reason}" for seat, reason in refused.items()]
        raise OperatorError("\n".join(lines), hint=f"change the list, or {room}")


def _modules(manifest: Path) -> dict[str, list[str]]:
    """Return the drivers of a folder of images, by processor. Raises OperatorError."""
    try:
        parts = read(manifest).processors or {}
        return {name: part["modules"] for name, part in parts.items()}
    except (OSError, ValueError, KeyError, TypeError):
        raise OperatorError(
            f"{manifest.parent}: not a folder of images", hint="netboot build --output FOLDER"
        ) from None


def _images(room: Path, given: str) -> Path:
    """Check the profile and return the folder of its images, which are built unless given."""
    loaded = profile_file.load(room)
    if given:
        checks.check_images("--images", Path(given), room, loaded.boot.architectures)
        return Path(given)
    with shown.BuildProgress() as progress:
        return build.build(loaded, bundle.WORK / "images", build.default_cache(), progress).folder


def _number(option: str, text: str, least: int = 0) -> int:
    """Parse the number of an option. Raises OperatorError; Invoke would show a traceback."""
    if not re.fullmatch("[0-9]{1,6}", text) or int(text) < least:
        raise OperatorError(f"{option}: expected a number of {least} or more, found {text!r}")
    return int(text)


def _finish(outcomes: Sequence[Outcome]) -> None:
    print(table(outcomes))
    if not all(outcome.ok for outcome in outcomes):
        sys.exit(Exit.FAILED)


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    open_streams()
    try:
        yield
        sys.stdout.flush()
    except OperatorError as error:
        print(printable_lines(error.text()), file=sys.stderr)
        sys.exit(error.exit)
    except BrokenPipeError:  # the reader has enough: `| head`
        discard_output()
        sys.exit(Exit.FAILED)
    except OSError as error:
        discard_output()
        mistake = as_mistake(error)
        print(printable_lines(mistake.text()), file=sys.stderr)
        sys.exit(mistake.exit)
    except KeyboardInterrupt:
        print("interrupted; work that has begun on a machine goes on there", file=sys.stderr)
        sys.stdout.flush()
        os._exit(Exit.INTERRUPTED)  # sys.exit would wait for the machines
