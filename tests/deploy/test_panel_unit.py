"""The panel of an installed server: a unit and a user of its own, made and removed with the server."""

import os
import pwd
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from netboot.cli import panel_command
from netboot.cli import service as verbs
from netboot.deploy import layout, service, supervisor
from netboot.deploy.supervisor import Systemd
from netboot.errors import OperatorError

EXPOSURE = 1.3  # of systemd-analyze security, at most
PANEL = layout.panel_unit()


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what systemctl is asked for. The units are below the test's folder."""
    words: list[str] = []
    monkeypatch.setattr(
        supervisor, "_systemctl", lambda *all_words: words.append(" ".join(all_words))
    )
    monkeypatch.setattr(layout, "UNIT", tmp_path / "netboot.service")
    monkeypatch.setattr(layout, "PANEL_UNIT", tmp_path / "netboot-panel.service")
    return words


def test_the_unit_is_hardened(tmp_path: Path) -> None:
    (unit := tmp_path / "netboot-panel.service").write_text(PANEL)
    analyze = ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(unit)]
    done = subprocess.run(analyze, capture_output=True, text=True, check=True)
    score = re.search(r"exposure level for netboot-panel.service: ([\d.]+)", done.stdout)
    assert score is not None and float(score[1]) <= EXPOSURE, done.stdout
    for line in ("User=netboot-panel", "SupplementaryGroups=netboot", "CapabilityBoundingSet="):
        assert f"{line}\n" in PANEL


def test_nothing_in_the_state_folder_is_for_all() -> None:
    assert not layout.STATE_MODE & 0o007
    assert f"StateDirectoryMode={layout.STATE_MODE:04o}\n" in layout.unit()
    assert "StateDirectory=netboot/panel\nStateDirectoryMode=0700\n" in PANEL


def test_systemd_runs_the_panel_and_ends_it(called: list[str]) -> None:
    systemd = Systemd()
    systemd.restart_panel()
    assert called == [], "none is installed"
    systemd.install_panel(PANEL)
    systemd.restart_panel()
    assert layout.PANEL_UNIT.read_text() == PANEL
    restart = "restart --no-block netboot-panel"
    assert called == ["daemon-reload", "enable --quiet netboot-panel", restart]
    called.clear()
    systemd.install_panel(PANEL)
    assert called == ["enable --quiet netboot-panel"]
    called.clear()
    systemd.install_panel("")  # for a release without a panel
    systemd.install_panel("")
    assert called == ["disable --quiet --now netboot-panel", "daemon-reload"]
    assert not layout.PANEL_UNIT.exists()


def test_the_panel_is_removed_with_the_server(called: list[str]) -> None:
    Systemd().install(layout.unit())
    Systemd().install_panel(PANEL)
    Systemd().remove()
    assert not layout.UNIT.exists() and not layout.PANEL_UNIT.exists()
    assert "disable --quiet --now netboot-panel" in called


def test_a_panel_that_does_not_start_is_no_failed_deploy(
    called: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: str) -> None:
        raise OperatorError("systemctl: no")

    monkeypatch.setattr(supervisor, "_systemctl", refuse)
    monkeypatch.setattr(service, "supervisor", Systemd)
    layout.PANEL_UNIT.write_text(PANEL)
    said: list[str] = []
    service._start_panel(said.append)
    assert said == ["no panel: systemctl: no"]


def test_a_release_without_a_panel_gets_no_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "RELEASES", tmp_path)
    module = tmp_path / "new/venv/lib/python3.11/site-packages/netboot/panel/process.py"
    module.parent.mkdir(parents=True)
    module.touch()
    assert service._has_panel("new") and not service._has_panel("0.2.0")


def test_the_users_are_made_once_and_the_panel_may_read_the_feed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[Sequence[str]] = []
    known = {"root"}

    def run(words: Sequence[str], **_: Any) -> None:
        ran.append(words)
        known.add(words[-1])

    monkeypatch.setattr(service, "run", run)
    monkeypatch.setattr(service, "_has_user", lambda name: name in known)
    service._make_users()
    service._make_users()
    server, panel = ran
    assert server[-1] == "netboot" and "--groups" not in server
    assert panel[-1] == "netboot-panel"
    assert panel[panel.index("--groups") + 1] == "netboot"
    assert service._has_user("root")


@pytest.fixture
def replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Return what the verb of the unit runs, with a profile."""

    def run(profile: str) -> list[str]:
        monkeypatch.setattr(layout, "PROFILE", tmp_path / "profile.yaml")
        layout.PROFILE.write_text(profile)
        found: list[str] = []

        def execve(_: str, words: Sequence[str], environment: dict[str, str]) -> None:
            found.extend([*words, environment.get("PGPASSWORD", "")])

        monkeypatch.setattr(os, "execve", execve)
        verbs.panel()
        return found

    return run


def test_the_unit_runs_the_panel_that_the_profile_wants(
    replaced: Callable[[str], list[str]],
) -> None:
    words = replaced("panel: {database: 'postgresql://netboot:hm@10.0.0.5/netboot'}\n")
    line = " ".join(words)
    assert "--feed /var/lib/netboot/state/feed.sock --listen 0.0.0.0:8081" in line
    assert "--state /var/lib/netboot/panel" in line
    assert words[-1] == "hm" and "hm" not in " ".join(words[:-1])
    assert "127.0.0.1:9000" in replaced("http: {panel: local, panel_port: 9000}\n")
    assert replaced("http: {panel: off}\n") == []


def test_a_server_with_a_unit_for_its_panel_starts_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "PANEL_UNIT", tmp_path / "unit")
    monkeypatch.setattr(layout, "STATE", tmp_path / "state")
    assert not panel_command.has_unit(layout.STATE)
    layout.PANEL_UNIT.touch()
    assert panel_command.has_unit(layout.STATE)
    assert not panel_command.has_unit(tmp_path / "other"), (
        "a server by hand beside the installed one"
    )


def test_the_packages_unit_counts_only_where_systemd_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "PANEL_UNIT", tmp_path / "none")
    monkeypatch.setattr(layout, "PACKAGED_PANEL_UNIT", tmp_path / "unit")
    monkeypatch.setattr(supervisor, "SYSTEMD_RUNS", tmp_path / "systemd")
    (tmp_path / "unit").touch()
    assert not panel_command.has_unit(layout.STATE), "the server starts one in a container"
    (tmp_path / "systemd").mkdir()
    assert panel_command.has_unit(layout.STATE)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Yield a folder that all users reach. Those of pytest are for its user alone."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@pytest.mark.root
def test_the_panels_group_passes_to_the_socket_and_reads_no_secret(open_folder: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    group = 64_000  # stands in for that of the server
    open_folder.chmod(0o755)
    (state := open_folder / "state").mkdir()
    for name, mode in (("feed.sock", 0o660), ("secret", 0o600), ("leases.json", 0o600)):
        (state / name).touch()
        os.chown(state / name, 0, group)
        (state / name).chmod(mode)
    os.chown(state, 0, group)
    state.chmod(layout.STATE_MODE)
    drop = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}"]
    look = f"cd {state} || exit; for each in feed.sock secret leases.json; do test -r $each && echo $each; done; ls"
    for groups, seen in ((["--clear-groups"], ""), ([f"--groups={group}"], "feed.sock\n")):
        done = subprocess.run(
            [*drop, *groups, "sh", "-c", look], capture_output=True, text=True, check=False
        )
        assert done.stdout == seen
