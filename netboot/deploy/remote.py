"""The commands that `fab deploy` and its kin run on the boot server over SSH."""

import json
import tempfile
from pathlib import Path

from netboot.deploy import bundle, layout
from netboot.deploy.fleet import Failed, Far

# The server's own `netboot service` says the same, if it is there.
NOT_PACKAGED = (
    f"[ ! -e {layout.PACKAGED} ] || {{ "
    f"echo '{layout.PACKAGED}: the Debian package {layout.PACKAGE} has the server there; "
    f"remedy: apt purge {layout.PACKAGE}, or use apt and netboot there' >&2; exit 1; }}"
)
# Unpack, make an environment, run pip from its wheel: Debian's Python has no pip. /usr/bin/python3,
# not the first one in root's PATH, because another user has to be able to run it.
INSTALL = """set -eu; umask 022
{not_packaged}
exec 9>{lock}
flock -n 9 || {{ echo 'another deploy runs here; wait for it' >&2; exit 1; }}
release={release}
rm -rf "$release"; mkdir -p "$release"; trap 'rm -rf "$release"' EXIT
tar -xf {archive} -C "$release"
/usr/bin/python3 -m venv --without-pip "$release/venv"
pip=$(echo "$release"/wheels/pip-*.whl)
"$release/venv/bin/python" "$pip/pip" install --quiet --no-index \\
    --no-warn-script-location --root-user-action=ignore --find-links "$release/wheels" \\
    {distribution}
rm -r "$release/wheels"
mkdir -p {images}; rm -rf {images}/{name}; mv "$release/images" {images}/{name}
touch "$release/{complete}"; trap - EXIT"""
ASK_PYTHON = (
    "/usr/bin/python3 -c 'import platform as p; print(p.python_version()[:4], p.machine())'"
)
ASK_WHOLE = f"test -e {layout.RELEASES}/{{}}/{layout.COMPLETE_FILE} && echo yes"
NETBOOT = (
    f"{NOT_PACKAGED}; test -e {layout.CURRENT} || "
    "{ echo 'netboot is not installed there; remedy: fab deploy' >&2; exit 1; }"
    f"; {' '.join(layout.netboot_command(layout.CURRENT))}"
)


def deploy(far: Far, profile: Path, images: Path) -> str:
    """Install a release of this checkout and serve it; return the result in words.

    Raises Failed, OperatorError.
    """
    target = bundle.Target.parse(far.read(ASK_PYTHON))
    made = bundle.make(profile, images, target, bundle.WORK)
    if far.read(ASK_WHOLE.format(made.release), status=False).strip() != "yes":
        _install(far, made)
    its_own = " ".join(layout.netboot_command(layout.RELEASES / made.release))
    return _run(far, f"{its_own} service activate {made.release}")


def service(verb: str, far: Far) -> str:
    """Run a verb of ``netboot service`` of the installed server. Raises Failed."""
    return _run(far, f"{NETBOOT} service {verb}")


def health(far: Far) -> str:
    """Return the release that serves. Raises Failed if it does not run or has a fault."""
    report = json.loads(far.read(f"{NETBOOT} service status", root=True))
    bad = [finding for finding in report["findings"] if not finding["ok"]]
    if bad or not report["serves"]:
        detail = f"{bad[0]['check']}: {bad[0]['detail']}" if bad else "the server does not run"
        raise Failed(f"release {report['release']}: {detail}")
    return f"release {report['release']} serves, process {report['pid']}"


def _install(far: Far, made: bundle.Bundle) -> None:
    """Copy and unpack the release on the server; it does not serve yet."""
    with tempfile.TemporaryDirectory(dir=bundle.WORK) as folder:
        archive = made.pack(Path(folder))
        far.tell(f"copying release {made.release}, {archive.stat().st_size / 1e6:.0f} MB")
        remote = far.put(archive)
    far.tell("installing it")
    far.do(
        INSTALL.format(
            not_packaged=NOT_PACKAGED,
            lock=layout.LOCK,
            release=layout.RELEASES / made.release,
            archive=remote,
            name=made.release,
            images=layout.IMAGES,
            complete=layout.COMPLETE_FILE,
            distribution=bundle.DISTRIBUTION,
        )
    )


def _run(far: Far, command: str) -> str:
    """Run a verb of ``netboot service``; with status 1 too it prints a result."""
    printed = far.do(f"{command} || test $? = 1", tell=True)
    if not printed.strip():
        return "(dry run)"
    result = json.loads(printed)
    if not result["ok"]:
        raise Failed(result["done"])
    return str(result["done"])
