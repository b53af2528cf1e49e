"""Brings netboot to a server and a classroom of old PCs to netboot. The manual: docs/deploy.md.

Put -H behind the task: fab deploy -H root@server --profile room.yaml
"""

import inspect
import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from fabric import Connection
from invoke import Collection, Context, Task, task

from netboot import profile_file
from netboot import show as shown
from netboot.deploy import bundle, classroom, hardware, layout, roster
from netboot.deploy import wake as wakeonlan
from netboot.deploy.fleet import Access, Failed, Far, in_waves, on_each
from netboot.deploy.report import Outcome, table
from netboot.deploy.seats import NewSeat, add
from netboot.errors import OperatorError
from netboot.images import build

PROFILE = "profiles/lab.yaml"
KNOWN_HOSTS = "~/.ssh/known_hosts"
HELP = {
    "H": "machines: [USER@]HOST[:PORT], with commas",
    "csv": "machines: a file with the columns seat,mac,address",
    "always": "from now on, not only the next time",
    "wave": "how many at a time",
    "failures": "stop when more than so many have failed",
    "server": "the boot server's HOST:PORT for HTTP, where seats report",
    "timeout": "seconds until a seat has to be in userland",
    "broadcast": "the LAN's broadcast address",
    "profile": "the room's profile, a YAML file",
    "key": "private key file (default: those that ssh would use)",
    "known_hosts": "file with the host keys that are accepted",
    "images": "folder made by 'netboot build' (default: they are built)",
    "purge": "remove the profile in /etc/netboot as well",
    "dry_run": "only print the commands that would change something",
}
# The far side: unpack, an environment of its own, pip out of its wheel (Debian's Python has none).
# Not the python3 that root's shell finds first: another user has to be able to run it.
INSTALL = """set -eu; umask 022
release={release}
rm -rf "$release"; mkdir -p "$release"; trap 'rm -rf "$release" {archive}' EXIT
tar -xf {archive} -C "$release"
/usr/bin/python3 -m venv --without-pip "$release/venv"
pip=$(echo "$release"/wheels/pip-*.whl)
"$release/venv/bin/python" "$pip/pip" install --quiet --no-index \\
    --no-warn-script-location --root-user-action=ignore --find-links "$release/wheels" \\
    {distribution}
rm -r "$release/wheels"
mkdir -p {images}; rm -rf {images}/{name}; mv "$release/images" {images}/{name}
touch "$release/{complete}"; trap - EXIT; rm {archive}"""
ASK_PYTHON = (
    "/usr/bin/python3 -c 'import platform as p; print(p.python_version()[:4], p.machine())'"
)
ASK_WHOLE = f"test -e {layout.RELEASES}/{{}}/{layout.COMPLETE_FILE} && echo yes"
NETBOOT = " ".join(layout.netboot_command(layout.CURRENT))

_one_at_a_time = threading.Lock()


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
        bundle.clear(bundle.WORK)

        def step(far: Far) -> str:
            target = bundle.Target.parse(far.read(ASK_PYTHON))
            with _one_at_a_time:
                made = bundle.make(room, folder, target, bundle.WORK)
            if far.read(ASK_WHOLE.format(made.release), status=False).strip() != "yes":
                _install(far, made)
            its_own = " ".join(layout.netboot_command(layout.RELEASES / made.release))
            return _service(far, f"{its_own} service activate {made.release}")

        _finish(on_each(hosts, access, "deploy", step))


@_described
def rollback(
    c: Context, H: str = "", key: str = "", known_hosts: str = KNOWN_HOSTS, dry_run: bool = False
) -> None:
    """Put the boot server back to the version before."""
    with _errors_in_one_line():
        access, command = _access(key, known_hosts, dry_run), f"{NETBOOT} service rollback"
        _finish(on_each(_named(c, H), access, "rollback", lambda far: _service(far, command)))


@_described
def status(c: Context, H: str = "", key: str = "", known_hosts: str = KNOWN_HOSTS) -> None:
    """Show whether the boot server is well."""

    def step(far: Far) -> str:
        report = json.loads(far.read(f"{NETBOOT} service status", root=True))
        bad = [finding for finding in report["findings"] if not finding["ok"]]
        if bad or not report["serves"]:
            detail = f"{bad[0]['check']}: {bad[0]['detail']}" if bad else "does not run"
            raise Failed(f"release {report['release']}: {detail}")
        return f"release {report['release']} serves, process {report['pid']}"

    with _errors_in_one_line():
        _finish(on_each(_named(c, H), _access(key, known_hosts), "status", step))


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
        command = f"{NETBOOT} service uninstall" + (" --purge" if purge else "")
        _finish(on_each(_named(c, H), access, "uninstall", lambda far: _service(far, command)))


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
        text, manifest = room.read_text(), _images(room, images) / build.MANIFEST_FILE
        parts = json.loads(manifest.read_text())["processors"]
        modules = {name: part["modules"] for name, part in parts.items()}

        def step(far: Far) -> str:
            found = classroom.ask(far)
            wrong = hardware.problems(found, modules)
            if wrong:
                raise Failed(f"{found}: {'; '.join(wrong)}")
            name = far.host.seat if far.host.mac else found.hostname
            seats.append(NewSeat(found.mac, name, far.host.address, str(found)))
            return str(found)

        outcomes = on_each(_seats(c, H, csv, profile), _access(key, known_hosts), "look", step)
        known = profile_file.load(room)
        added = add(text, known, sorted(seats, key=lambda seat: seat.hostname))
        profile_file.parse(added, str(room))
        if dry_run:
            print(added)
        else:
            room.write_text(added)
        _finish(outcomes)


@_described
def netboot(
    c: Context,
    H: str = "",
    csv: str = "",
    profile: str = PROFILE,
    server: str = "127.0.0.1:8080",
    always: bool = False,
    wave: int = 8,
    failures: int = 1,
    timeout: int = 300,
    key: str = "",
    known_hosts: str = KNOWN_HOSTS,
    dry_run: bool = False,
) -> None:
    """Boot the PCs from the network, wave by wave."""
    with _errors_in_one_line():
        access, orders = _access(key, known_hosts, dry_run), _orders(profile)
        with shown.BuildProgress() as progress:
            loader = bundle.ipxe_for_grub(build.default_cache(), progress)

        def step(far: Far) -> str:
            found = classroom.ask(far)
            since = 0.0 if dry_run else classroom.last_event(server, found.mac)
            how = classroom.to_network(far, found, orders, loader, once=not always)
            far.do(classroom.REBOOT)
            if dry_run:
                return f"{how} (dry run)"
            return f"{how}, {classroom.wait_for_userland(server, found.mac, since, timeout)}"

        hosts = _seats(c, H, csv, profile)
        _finish(in_waves(hosts, access, "netboot", step, wave, failures))


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
    """Undo classroom.netboot."""
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
    wave: int = 8,
    dry_run: bool = False,
) -> None:
    """Switch the PCs on (Wake-on-LAN), wave by wave."""
    with _errors_in_one_line():
        hosts = _seats(c, H, csv, profile)
        if dry_run:
            print("\n".join(f"[{host.seat}] wake {host.mac or '?'}" for host in hosts))
        else:
            _finish(wakeonlan.wake(hosts, broadcast, wave))


@_described
def reboot(
    c: Context,
    H: str = "",
    csv: str = "",
    profile: str = PROFILE,
    wave: int = 8,
    key: str = "",
    known_hosts: str = KNOWN_HOSTS,
    dry_run: bool = False,
) -> None:
    """Reboot the PCs over SSH, wave by wave."""
    with _errors_in_one_line():
        access = _access(key, known_hosts, dry_run)
        hosts = _seats(c, H, csv, profile)
        step: Callable[[Far], str] = partial(_told, classroom.REBOOT)
        _finish(in_waves(hosts, access, "reboot", step, wave, len(hosts)))


@_described
def poweroff(
    c: Context,
    H: str = "",
    csv: str = "",
    profile: str = PROFILE,
    key: str = "",
    known_hosts: str = KNOWN_HOSTS,
    dry_run: bool = False,
) -> None:
    """Switch the PCs off over SSH."""
    with _errors_in_one_line():
        access = _access(key, known_hosts, dry_run)
        step: Callable[[Far], str] = partial(_told, classroom.POWEROFF)
        _finish(on_each(_seats(c, H, csv, profile), access, "poweroff", step))


namespace = Collection(
    deploy,
    rollback,
    status,
    uninstall,
    classroom=Collection(adopt, netboot, restore, wake, reboot, poweroff),
)


def _told(command: str, far: Far) -> str:
    far.do(command)
    return "told"


def _seats(c: Context, words: str, csv: str, profile: str) -> list[roster.Host]:
    """The PCs of -H, of a CSV, or the profile's clients. Raises OperatorError if there are none."""
    if words or isinstance(c, Connection):
        return _named(c, words)
    room = profile_file.load(Path(profile))
    if csv:
        return roster.from_csv(Path(csv).read_text(), csv, room.ssh)
    hosts = roster.from_profile(room)
    if not hosts:
        raise OperatorError("which PCs? --csv FILE, -H ADDRESSES, or clients in the profile")
    return hosts


def _orders(profile: str) -> classroom.Orders:
    return classroom.Orders(Path(profile).with_suffix(".bootorders.json"))


def _install(far: Far, made: bundle.Bundle) -> None:
    """Makes the release complete on the far side; nothing is served by it yet."""
    remote = f"/tmp/netboot-{made.release}.tar"
    with _one_at_a_time:
        archive = made.pack(bundle.WORK)
    far.put(archive, remote)
    far.do(
        INSTALL.format(
            release=layout.RELEASES / made.release,
            archive=remote,
            name=made.release,
            images=layout.IMAGES,
            complete=layout.COMPLETE_FILE,
            distribution=bundle.DISTRIBUTION,
        )
    )


def _service(far: Far, command: str) -> str:
    """Runs a verb of ``netboot service``; its status 1 comes with a result to show."""
    printed = far.do(f"{command} || test $? = 1")
    if not printed.strip():
        return "(dry run)"
    result = json.loads(printed)
    if not result["ok"]:
        raise Failed(result["done"])
    return str(result["done"])


def _images(room: Path, given: str) -> Path:
    """The images of a profile, which is checked by the way."""
    loaded = profile_file.load(room)
    if given:
        return Path(given)
    with shown.BuildProgress() as progress:
        return build.build(loaded, bundle.WORK / "images", build.default_cache(), progress).folder


def _access(key: str, known_hosts: str, dry_run: bool = False) -> Access:
    return Access(Path(known_hosts).expanduser(), key, dry_run)


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
