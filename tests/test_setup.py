"""tools/packages and tools/setup in a folder that stands for the system, with programs that play apt."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests import ROOT

pytestmark = pytest.mark.system

PLACES = r"/(?:var/lib|usr/sbin|usr/lib/systemd|lib/systemd|etc|run/systemd)\b"
UNITS = "lib/systemd/system"
APT = r"""#!/bin/sh
case $* in
    -s\ *) echo "Inst new-server (1.0 Debian)" ;;
    *purge*) echo "$*" >>@/purged ;;
    *) . @/apt.sh ;;
esac
"""
# What Debian's packages do as they are installed: a unit, a link that enables it, and the question.
INSTALL = """
touch @/lib/systemd/system/new.service
ln -sf @/lib/systemd/system/new.service @/etc/systemd/system/multi-user.target.wants/new.service
for each in new old ssh; do
    @/usr/sbin/policy-rc.d $each start && echo $each >>@/started || true
done
"""


class System:
    """A folder with the files of a system, programs in place of apt and dpkg, and the script."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in (UNITS, "usr/sbin", "etc/init.d", "etc/rc2.d", "var/lib", "bin"):
            (root / name).mkdir(parents=True)
        (root / "etc/systemd/system/multi-user.target.wants").mkdir(parents=True)
        self.policy = root / "usr/sbin/policy-rc.d"
        self.kept = root / "usr/sbin/policy-rc.d.before-netboot"
        self.state = root / "var/lib/netboot-setup"
        (root / UNITS / "old.service").touch()
        text = (ROOT / "tools/packages").read_text()
        self.program("packages", re.sub(rf"(?<![\w/]){PLACES}", rf"{root}\g<0>", text))
        self.program("apt-get", APT.replace("@", str(root)))
        self.program("update-rc.d", f"#!/bin/sh\nrm -f {root}/etc/rc*/S??$1\n")
        self.dpkg("installed bash\n")
        (root / "apt.sh").write_text(INSTALL.replace("@", str(root)))

    def program(self, name: str, text: str) -> None:
        (path := self.root / "bin" / name).write_text(text)
        path.chmod(0o755)

    def dpkg(self, names: str, left: str = "") -> None:
        """Let dpkg-query show these packages, and the conffiles ``left`` by removed ones."""
        script = f"case $3 in *Conffiles*) printf '%s' '{left}' ;; *) printf '%s' '{names}' ;; esac"
        self.program("dpkg-query", f"#!/bin/sh\n{script}\n")

    def run(self, *words: str) -> tuple[int, str]:
        environment = {**os.environ, "PATH": f"{self.root}/bin:{os.environ['PATH']}"}
        # The locale of an operator: its order of words is not that of the files' writer.
        environment["LC_ALL"] = "en_US.UTF-8"
        done = subprocess.run(
            [f"{self.root}/bin/packages", *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def started(self) -> list[str]:
        path = self.root / "started"
        return path.read_text().split() if path.exists() else []

    def enabled(self) -> list[str]:
        links = (self.root / "etc").rglob("*")
        return sorted(path.name for path in links if path.is_symlink())


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


def test_a_new_service_is_left_off_and_an_old_one_is_not(system: System) -> None:
    status, output = system.run("install", "new-server")
    assert status == 0 and "left off" in output and "new.service" in output
    assert system.started() == ["old"] and system.enabled() == []
    assert not system.policy.exists()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_policy(system: System, number: int) -> None:
    system.policy.write_text("theirs")
    apt = system.root / "apt.sh"
    apt.write_text(f"{apt.read_text()}\nkill -{number:d} $PPID\n")
    status, _ = system.run("install", "new-server")
    assert status != 0 and system.policy.read_text() == "theirs" and not system.kept.exists()
    assert system.enabled() == []


def killed(system: System) -> None:
    """Let the script be killed as the packages are installed."""
    apt = system.root / "apt.sh"
    before = apt.read_text()
    apt.write_text(f"{before}\nkill -KILL $PPID\n")
    assert system.run("install", "new-server")[0] == -signal.SIGKILL
    apt.write_text(before)
    assert system.kept.read_text() == "theirs" and system.policy.read_text() != "theirs"


def test_the_run_after_a_kill_tells_old_from_new(system: System) -> None:
    system.policy.write_text("theirs")
    killed(system)
    assert system.enabled() == ["new.service"]
    assert system.run("install", "new-server")[0] == 0
    assert "new" not in system.started() and system.enabled() == []
    assert system.policy.read_text() == "theirs" and not system.kept.exists()


def test_a_removal_after_a_kill_takes_the_policy_away(system: System) -> None:
    system.policy.write_text("theirs")
    killed(system)
    ours = system.policy.read_bytes()
    system.dpkg("installed bash\nconfig-files gone\ninstalled new-server\n")
    assert system.run("remove") == (0, "")
    assert (system.root / "purged").read_text().split() == ["purge", "new-server"]
    assert system.policy.read_text() == "theirs"
    assert not system.state.exists() and not system.kept.exists()
    system.policy.write_bytes(ours)  # also a copy of it forbids nothing without its list
    system.policy.chmod(0o755)
    assert subprocess.run([system.policy, "new", "start"], check=False).returncode == 0


def test_a_removal_without_an_installation_is_none(system: System) -> None:
    assert system.run("remove") == (0, "")
    system.state.mkdir()  # as after 'leave-off'
    assert system.run("remove") == (0, "") and not system.state.exists()
    assert not (system.root / "purged").exists()


def test_what_a_removed_package_left_behind_was_not_there_before(system: System) -> None:
    """Of Debian's openssh-server: the script stays, and so do its links; the unit is masked."""
    (system.root / "etc/init.d/ssh").touch()
    (system.root / "etc/rc2.d/S01ssh").symlink_to("../init.d/ssh")
    (system.root / "etc/systemd/system/ssh.service").symlink_to("/dev/null")
    left = f"installed\n\nconfig-files\n\n {system.root}/etc/init.d/ssh 0123\n"
    system.dpkg("installed bash\n", left)
    apt = system.root / "apt.sh"
    unmask = f"rm {system.root}/etc/systemd/system/ssh.service\n"
    installed = f"echo '#!/bin/sh' >{system.root}/bin/dpkg-query\n"
    apt.write_text(f"{unmask}{apt.read_text()}\n{installed}")
    assert system.run("install", "new-server")[0] == 0
    assert system.started() == ["old"] and system.enabled() == []


PROGRAMS = {
    # The package lists know nothing before the first update, and then this.
    "apt-cache": "[ ! -e HERE/lists ] || case $* in *clang-rt-dev* | *linux-image*) echo there ;; esac",
    "apt-get": "echo apt-get $1 >>HERE/log; [ $1 != update ] || touch HERE/lists",
    "dpkg": "cat HERE/architecture",
    "dpkg-query": "true",
    "sudo": 'shift 2; "$@"',
    "packages": 'shift; echo installed "$@" >>HERE/log',
    "python3": (
        "[ $1 = -V ] && exec cat HERE/version\n"
        "echo venv >>HERE/log; mkdir -p .venv/bin; ln -sf /bin/true .venv/bin/python"
    ),
}


class Clone:
    """A clone with tools/setup, on a system of Debian 12 without package lists."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / "clone"
        (self.folder / "tools").mkdir(parents=True)
        (root / "bin").mkdir()
        text = (ROOT / "tools/setup").read_text()
        text = text.replace("/usr/bin/python3", f"{root}/bin/python3")
        text = text.replace("/etc/os-release", f"{root}/os-release")
        text = text.replace("tools/packages", f"{root}/bin/packages")
        self._program(self.folder / "tools/setup", text)
        for name, body in PROGRAMS.items():
            self._program(root / "bin" / name, f"#!/bin/sh\n{body.replace('HERE', str(root))}\n")
        for name in ("pyproject.toml", "requirements-deploy.lock", "requirements-dev.lock"):
            (self.folder / name).touch()
        (root / "os-release").write_text("ID=debian VERSION_ID=12 PRETTY_NAME=Twelve\n")
        (root / "architecture").write_text("amd64\n")
        (root / "version").write_text("Python 3.11.2\n")

    @staticmethod
    def _program(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def setup(self, *words: str) -> tuple[list[str], str]:
        """Return what was done, without what was asked, and what was told."""
        (log := self.root / "log").write_text("")
        environment = {**os.environ, "PATH": f"{self.root}/bin:{os.environ['PATH']}"}
        done = subprocess.run(
            [self.folder / "tools/setup", *words],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        lines = log.read_text().splitlines()
        return [line for line in lines if line != "apt-get install"], done.stdout + done.stderr


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_packages_are_chosen_among_those_that_the_lists_have(clone: Clone) -> None:
    done, _ = clone.setup("fuzz")
    assert done == ["apt-get update", "installed clang libclang-rt-dev libc6-dev llvm", "venv"]


def test_python_s_packages_are_for_this_place_and_this_python(clone: Clone) -> None:
    assert "venv" in clone.setup()[0]
    assert "venv" not in clone.setup()[0]
    clone.folder = clone.folder.rename(clone.root / "moved")
    assert "venv" in clone.setup()[0]
    (clone.root / "version").write_text("Python 3.13.5\n")
    assert "venv" in clone.setup()[0]
    assert "venv" not in clone.setup()[0]


@pytest.mark.parametrize(
    ("system_id", "architecture", "told"),
    [
        ("ID=debian VERSION_ID=13", "amd64", ""),
        (
            "ID=debian VERSION_ID=12",
            "arm64",
            "made for Debian 12 and 13 on amd64; this is X on arm64",
        ),
        (
            "ID=ubuntu VERSION_ID=12",
            "amd64",
            "made for Debian 12 and 13 on amd64; this is X on amd64",
        ),
    ],
)
def test_another_system_or_processor_is_told(
    clone: Clone, system_id: str, architecture: str, told: str
) -> None:
    (clone.root / "os-release").write_text(f"{system_id} PRETTY_NAME=X\n")
    (clone.root / "architecture").write_text(f"{architecture}\n")
    output = clone.setup()[1]
    assert told in output and ("warning" in output) == bool(told)
