"""The Debian package's files agree with the code, and with what `fab deploy` makes."""

import os
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

import netboot
from netboot.deploy import layout, packaged, remote, service
from netboot.errors import OperatorError
from netboot.profile import file as profile_file
from tests import ROOT
from tests.support.confined import settings
from tools.chroots import RELEASES
from tools.deb import files, manual
from tools.deb.__main__ import PYTHON, SUFFIX, changelog
from tools.reference.cli import command, options, verbs

DEBIAN = ROOT / "packaging/debian"
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")


def _script(name: str) -> str:
    return (DEBIAN / f"netboot-classroom.{name}").read_text()


def test_the_server_has_the_unit_of_fab_deploy_with_its_own_program() -> None:
    deployed, units = layout.unit().splitlines(), packaged.units()
    changed = set(units[layout.SERVICE].splitlines()) - set(deployed)
    assert {line.partition("=")[0] for line in changed} == {
        "Wants",
        "After",
        "ExecStart",
        "ReadWritePaths",
    }
    panel = set(units[layout.PANEL_SERVICE].splitlines()) - set(layout.panel_unit().splitlines())
    assert {line.partition("=")[0] for line in panel} == {"ExecStart"}
    command = settings(units[layout.SERVICE])["ExecStart"][0]
    assert command.endswith(layout.unit().partition("venv/bin/python")[2].partition("\n")[0])


def test_the_images_are_where_the_server_looks_and_built_once() -> None:
    unit = settings(packaged.units()[packaged.IMAGES_SERVICE])
    assert f"--images {packaged.IMAGES} " in packaged.units()[layout.SERVICE]
    assert unit["ExecStart"][0].endswith(f"build --output {packaged.IMAGES}")
    assert f"/var/lib/{unit['StateDirectory'][0]}" == str(packaged.IMAGES.parent)
    assert "ConditionPathExists=!/var/lib/netboot/images/current/manifest.json" in (
        packaged.units()[packaged.IMAGES_SERVICE].splitlines()
    )


@pytest.mark.system
def test_systemd_reads_the_units_without_a_complaint(tmp_path: Path) -> None:
    for name, text in packaged.units().items():
        # The program is not installed here.
        (tmp_path / f"{name}.service").write_text(text.replace(packaged.COMMAND[0], "/bin/true"))
    paths = sorted(str(path) for path in tmp_path.glob("*.service"))
    verify = ["systemd-analyze", "verify", "--man=no", *paths]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "netboot" in line]
    assert ours == []


def test_the_users_are_those_of_fab_deploy() -> None:
    rows = [line.split() for line in _script("sysusers").splitlines() if line[0] != "#"]
    users = {row[1]: row[-1] for row in rows if row[0] == "u"}
    assert users == {
        layout.USER: str(layout.DATA),
        layout.PANEL_USER: str(layout.PANEL_STATE),
    }
    assert ["m", layout.PANEL_USER, layout.USER] in rows


def test_the_folders_are_those_of_the_code() -> None:
    made = _script("tmpfiles").splitlines()
    assert f"d {layout.DATA} 0755 {layout.USER} {layout.USER}" in made
    assert f"d {layout.STATE} {layout.STATE_MODE:04o} {layout.USER} {layout.USER}" in made
    assert f"INSIDE := {layout.PACKAGED}\n" in (DEBIAN / "rules").read_text()
    for name in ("preinst", "postrm"):
        assert f"-L {layout.CURRENT} ]" in _script(name)
    for path in (layout.DATA, layout.PROFILE, f"/var/cache/{packaged.CACHE}"):
        assert f" {path}" in _script("postrm")
    assert f"[ ! -e {layout.PROFILE} ]" in _script("postinst")
    units = (DEBIAN / "rules").read_text().partition("UNITS := ")[2].partition("\n")[0].split()
    assert units == list(packaged.units())


def test_an_upgrade_stops_no_unit() -> None:
    """Else debhelper's preinst does so, and postinst finds no server that it could reload."""
    (line,) = [line for line in (DEBIAN / "rules").read_text().splitlines() if "-enable" in line]
    assert "--no-stop-on-upgrade" in line and "--no-start" in line


def test_the_profile_has_no_mistake() -> None:
    profile = profile_file.load(DEBIAN / "profile.yaml")
    assert (profile.dhcp.mode, profile.swap.store) == ("proxy", "memory")
    assert profile.doubts == ()


def test_control_has_its_fields_and_a_changelog_for_each_release() -> None:
    source, binary = (DEBIAN / "control").read_text().strip().split("\n\n")
    assert {
        "Source",
        "Section",
        "Priority",
        "Maintainer",
        "Build-Depends",
        "Standards-Version",
    } <= {line.partition(":")[0] for line in source.splitlines()}
    needed = re.findall(
        r"[\w$:{}.+-]+", binary.partition("Depends: ")[2].partition("Recommends")[0]
    )
    assert {"${misc:Depends}", "${python3:Depends}", "${shlibs:Depends}"} <= set(needed)
    # What builds the boot images (tools/setup, the set demo).
    assert {"gcc", "libc6-dev", "musl-tools", "zstd", "kmod", "iproute2", "apt", "procps"} <= set(
        needed
    )
    versions = []
    for release in RELEASES:
        line = changelog(release, datetime(2026, 11, 30, tzinfo=UTC)).partition("\n")[0]
        assert line == (
            f"netboot-classroom ({netboot.__version__}{SUFFIX[release]}) {release}; urgency=medium"
        )
        versions.append(line)
    assert set(PYTHON) == set(SUFFIX) == set(RELEASES) and len(set(versions)) == len(RELEASES)


def test_every_verb_has_a_manual_page_with_each_option() -> None:
    pages = manual.pages()
    shown = [each for each in verbs(command()) if not each[1].hidden]
    assert pages.keys() == {f"{name.replace(' ', '-')}.1" for name, *_ in shown}
    for name, verb, _ in shown[1:]:
        page = pages[f"{name.replace(' ', '-')}.1"].replace("\\-", "-")
        for option in options(verb) - {"-h", "--help"}:
            assert option in page, name
        assert page.startswith(f".TH {name.replace(' ', '-').upper()} 1 ")


@pytest.mark.system
def test_groff_reads_the_pages_without_a_warning() -> None:
    if shutil.which("groff") is None:
        pytest.skip("needs groff")
    text = "".join(manual.pages().values())
    command = ["groff", "-man", "-Tutf8", "-ww", "-z"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_shells_complete_the_command() -> None:
    assert "complete -o default -F _netboot_completion netboot" in files.completion("bash")
    assert "#compdef netboot" in files.completion("zsh")
    assert "complete --command netboot" in files.completion("fish")


def test_fab_deploy_and_the_package_refuse_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "PACKAGED", tmp_path)
    with pytest.raises(OperatorError, match="the Debian package netboot-classroom") as caught:
        service.activate("one", print)
    assert "apt purge" in caught.value.hint
    with pytest.raises(OperatorError, match="Debian package"):
        service.rollback(print)
    with pytest.raises(OperatorError, match="Debian package"):
        service.uninstall(keep_profile=True, say=print)
    text = remote.INSTALL.format(
        not_packaged=remote.NOT_PACKAGED.replace("/usr/lib/netboot-classroom", str(tmp_path)),
        distribution="netboot-classroom",
        **dict.fromkeys(("lock", "release", "archive", "images", "name", "complete"), "/none"),
    )
    asked = f"{remote.NETBOOT} service status".replace("/usr/lib/netboot-classroom", str(tmp_path))
    for line in (text, asked):
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        assert "remedy: apt purge netboot-classroom" in done.stderr
    current = tmp_path / "current"
    current.symlink_to("releases/one")
    words = _script("preinst").replace(str(layout.CURRENT), str(current)).replace("#DEBHELPER#", "")
    for action, status in (("install", 1), ("upgrade", 0)):
        done = subprocess.run(
            ["sh", "-c", words, "preinst", action], capture_output=True, text=True, check=False
        )
        assert done.returncode == status
        assert ("remedy: fab uninstall" in done.stderr) is bool(status)
    current.unlink()
    subprocess.run(["sh", "-c", words, "preinst", "install"], check=True)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_maintainer_script_ends_at_an_error_and_has_debhelpers_part(name: str) -> None:
    assert _script(name).startswith("#!/bin/sh\nset -e\n")
    assert "\n#DEBHELPER#\n" in _script(name)
    assert os.access(DEBIAN / "rules", os.X_OK)
