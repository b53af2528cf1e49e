"""Brings netboot to a server and a classroom of old PCs to netboot. The manual: docs/deploy.md.

Put -H behind the task: fab deploy -H root@server --profile room.yaml
"""

import inspect
import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fabric import Connection
from invoke import Context, Task, task

from netboot import profile_file
from netboot import show as shown
from netboot.deploy import bundle, layout, roster
from netboot.deploy.fleet import Access, Failed, Far, on_each
from netboot.deploy.report import Outcome, table
from netboot.errors import OperatorError
from netboot.images import build

PROFILE = "profiles/lab.yaml"
WORK = bundle.CHECKOUT / "build/fab"  # wheels and archives, kept for the next time
KNOWN_HOSTS = "~/.ssh/known_hosts"
HELP = {
    "H": "machines: [USER@]HOST[:PORT], with commas",
    "profile": "the room's profile, a YAML file",
    "key": "private key file (default: those that ssh would use)",
    "known_hosts": "file with the host keys that are accepted",
    "images": "folder made by 'netboot build' (default: they are built)",
    "purge": "remove the profile in /etc/netboot as well",
    "dry_run": "only print the commands that would change something",
}
# The far side: unpack, an environment of its own, pip out of its wheel (Debian's Python has none).
INSTALL = """set -eu; umask 022
release={release}
rm -rf "$release"; mkdir -p "$release"; trap 'rm -rf "$release" {archive}' EXIT
tar -xf {archive} -C "$release"
python3 -m venv --without-pip "$release/venv"
"$release/venv/bin/python" "$release"/wheels/pip-*.whl/pip install --quiet --no-index \\
    --no-warn-script-location --root-user-action=ignore --find-links "$release/wheels" \\
    {distribution}
rm -r "$release/wheels"
mkdir -p {images}; rm -rf {images}/{name}; mv "$release/images" {images}/{name}
touch "$release/{complete}"; trap - EXIT; rm {archive}"""
ASK_PYTHON = "python3 -c 'import platform as p; print(p.python_version()[:4], p.machine())'"
ASK_WHOLE = f"test -e {layout.RELEASES}/{{}}/{layout.COMPLETE_FILE} && echo yes"
NOW = f"{layout.CURRENT}/{layout.PYTHON_FILE}"

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
    """Install or upgrade the boot server (back by itself if unwell)."""
    with _errors_in_one_line():
        access, room = _access(key, known_hosts, dry_run), Path(profile)
        folder = _images(room, images)

        def step(far: Far) -> str:
            target = bundle.Target.parse(far.read(ASK_PYTHON))
            with _one_at_a_time:
                made = bundle.make(room, folder, target, WORK)
            if far.read(ASK_WHOLE.format(made.release), status=False) != "yes":
                _install(far, made)
            python = layout.RELEASES / made.release / layout.PYTHON_FILE
            return _service(far, f"{python} -m netboot service activate {made.release}")

        _finish(on_each(_named(c, H), access, "deploy", step))


@_described
def rollback(
    c: Context, H: str = "", key: str = "", known_hosts: str = KNOWN_HOSTS, dry_run: bool = False
) -> None:
    """Put the boot server back to the version before."""
    with _errors_in_one_line():
        access, command = _access(key, known_hosts, dry_run), f"{NOW} -m netboot service rollback"
        _finish(on_each(_named(c, H), access, "rollback", lambda far: _service(far, command)))


@_described
def status(c: Context, H: str = "", key: str = "", known_hosts: str = KNOWN_HOSTS) -> None:
    """Show whether the boot server is well, and its version."""

    def step(far: Far) -> str:
        report = json.loads(far.read(f"{NOW} -m netboot service status", root=True))
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
    """Remove the boot server; the profile in /etc/netboot stays."""
    with _errors_in_one_line():
        access = _access(key, known_hosts, dry_run)
        command = f"{NOW} -m netboot service uninstall" + (" --purge" if purge else "")
        _finish(on_each(_named(c, H), access, "uninstall", lambda far: _service(far, command)))


def _install(far: Far, made: bundle.Bundle) -> None:
    """Makes the release complete on the far side; nothing is served by it yet."""
    remote = f"/tmp/netboot-{made.release}.tar"
    far.put(made.archive, remote)
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
    if not printed:
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
        return build.build(loaded, WORK / "images", build.default_cache(), progress).folder


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
