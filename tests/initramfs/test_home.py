"""initramfs/home.sh: homes on a real file system, in a mount namespace; NFS is played. Needs root."""

import os
from pathlib import Path

import pytest

from tests.support.shell import BEFORE, INITRAMFS, SHELLS, run

pytestmark = [pytest.mark.system, pytest.mark.root]

SEAT, ANNA, OTHER = 1000, 2345, 2777
PASSWD = f"""root:x:0:0:root:/root:/bin/bash
seat:x:{SEAT}:{SEAT}::/home/seat:/bin/bash
anna:x:{ANNA}:{ANNA}::/home/anna:/bin/sh
mail:x:{SEAT + 1}:8::/var/mail:/bin/false
"""
FULL = "area of this PC is full"


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def pc(request: pytest.FixtureRequest, tmp_path: Path) -> "Pc":
    return Pc(request.param, tmp_path)


class Pc:
    """A PC's root below ``top``; each ``run`` is a boot, whose RAM is ``top`` itself."""

    def __init__(self, shell: list[str], folder: Path) -> None:
        self.shell, self.folder, self.top = shell, folder, folder / "top"
        for name in ("etc/netboot", "etc/skel", "home/anna", "persist", "area"):
            (self.top / name).mkdir(parents=True)
        for name in ("netboot", "beacons"):
            (folder / name).mkdir()
        (self.top / "etc/passwd").write_text(PASSWD)
        (self.top / "etc/skel/.profile").write_text("skeleton")
        (self.top / "home/anna/own").write_text("from the image")

    def boot(self, home: str, text: str = "set_up_homes", login: str = "guest") -> str:
        """Run ``text`` with `seat.home: HOME`; the area is a folder or what ``text`` mounts."""
        conf = f"SEAT_HOME='{home}'\nSEAT_LOGIN='{login}'\nSEAT_HOSTNAME='pc-1'\n"
        (self.top / "etc/netboot/seat.conf").write_text(conf)
        for path in (*(self.folder / "beacons").iterdir(), *(self.folder / "netboot").iterdir()):
            if not path.is_dir():
                path.unlink()
        environment = {
            "run": str(self.folder),
            "top": str(self.top),
            "screen": str(self.folder / "console"),
        }
        before = f"{BEFORE}HOME_SECONDS=0\n"
        script = f". {INITRAMFS / 'home.sh'}\nonline=no\n{before}cd {self.top}\n{text}\n"
        return run(self.shell, script, environment, ("unshare", "--mount"))

    def told(self) -> list[str]:
        """Return the stages and messages that the PC reports."""
        paths = sorted((self.folder / "beacons").iterdir())
        return [f"{path.name.split('_')[1]}: {path.read_text().strip()}" for path in paths]

    def state(self, name: str) -> str:
        path = self.folder / "netboot" / f"home.{name}"
        return path.read_text().strip() if path.exists() else ""


AREA = "mount -o bind $top/area $top/persist\n"
SHOW = "\nfor each in seat anna; do stat -c '%a %u %n' home/$each; ls -A home/$each; done"
NFS = "nfs:10.0.0.2:/srv/homes"


def test_homes_in_the_area_are_made_once_with_the_right_owners(pc: Pc) -> None:
    found = pc.boot("seat", f"{AREA}set_up_homes{SHOW}\necho kept >home/seat/file")
    assert found.splitlines() == [
        *(f"700 {SEAT} home/seat", ".profile"),
        *(f"700 {ANNA} home/anna", "own"),
    ]
    assert pc.told() == ["home:ready: homes are in the area of this PC"]
    assert (pc.state("ram"), pc.state("done")) == ("", "")
    assert (pc.folder / "netboot/home.done").exists()
    area = pc.top / "area/home"
    assert not (pc.top / "home/seat/file").exists(), "it is in the area"
    os.chown(area / "anna", OTHER, OTHER)  # another image had another ID
    again = pc.boot("seat", f"{AREA}set_up_homes{SHOW}")
    assert again.splitlines()[1:3] == [".profile", "file"]
    assert f"700 {ANNA} home/anna" in again
    assert sorted(path.name for path in area.iterdir()) == ["anna", "seat"]


def test_homes_are_unmounted_before_the_area(pc: Pc) -> None:
    text = f"{AREA}set_up_homes\nrelease_homes\numount persist && grep -c $top /proc/mounts || :"
    assert pc.boot("seat", text).strip() == "0"


def test_nobody_is_a_guest_where_a_login_is_asked_for(pc: Pc) -> None:
    pc.boot("seat", f"{AREA}set_up_homes", login="local")
    assert [path.name for path in (pc.top / "area/home").iterdir()] == ["anna"]


def test_without_the_key_nothing_is_mounted(pc: Pc) -> None:
    assert pc.boot("none", f"{AREA}set_up_homes\ngrep -c $top/home /proc/mounts || :") == "0\n"
    assert pc.told() == []


TINY = (
    "mount -t tmpfs -o size=2m tmpfs $top/persist\nmkdir -p persist/home/seat persist/home/anna\n"
)


@pytest.mark.parametrize(
    ("area", "key", "message"),
    [
        (f"{TINY}head -c 3145728 /dev/zero >persist/home/seat/big 2>/dev/null\n", "homefull", FULL),
        (f"{TINY}mount -o remount,ro persist\n", "homebad", "Read-only file system"),
        ("", "homebad", "not mounted (failed:keep tells why)"),
        ("mount -t tmpfs -o nr_inodes=2 tmpfs $top/persist\n", "homefull", FULL),
    ],
)
def test_a_pc_whose_area_is_of_no_use_gets_a_home_in_ram(
    pc: Pc, area: str, key: str, message: str
) -> None:
    found = pc.boot("seat", f"{area}set_up_homes\ngrep -c $top/home /proc/mounts || :")
    assert found == "0\n"
    assert pc.state("ram") == key
    (told,) = pc.told()
    assert told.startswith("home:ram: ") and message in told
    assert message in (pc.folder / "console").read_text()
    assert (pc.folder / "netboot/home.done").exists()
    links = (pc.folder / "netboot/home.full", pc.top / "home/anna/FULL")
    if key == "homefull" and area.startswith(TINY):
        assert [os.readlink(each) for each in links] == ["/persist/home/seat", "/persist/home/anna"]


def test_a_home_that_is_made_halfway_leaves_nothing(pc: Pc) -> None:
    (pc.top / "etc/skel/large").write_bytes(b"x" * (3 << 20))
    area = "mount -t tmpfs -o size=2m tmpfs $top/persist\n"
    found = pc.boot(
        "seat", f"{area}set_up_homes\nls persist/home; cat /proc/mounts | grep -c /top/home/"
    )
    assert found == "anna\n1\n", "anna has her own, without the skeleton"
    assert "No space left" in pc.told()[0]


def nfs(text: str) -> str:
    """Return ``text`` with a played NFS server: words are those of mount(8) after busybox."""
    lines = ("#!/bin/sh", 'echo "$@" >>"$run/asked"', text)
    quoted = "\\n".join(lines).replace("'", "'\\''")
    return f"busybox=$run/nfs; export run top\nprintf '{quoted}\\n' >$busybox\nchmod 755 $busybox\n"


MOUNTS = nfs('eval "last=\\\\$$#"; exec mount -o bind "$top/area" "$last"')


def test_homes_on_a_server_are_made_by_their_users_or_by_root(pc: Pc) -> None:
    (pc.top / "area").chmod(0o1777)
    found = pc.boot(NFS, f"{MOUNTS}set_up_homes{SHOW}")
    assert found.splitlines() == [
        *(f"700 {SEAT} home/seat", ".profile"),
        *(f"700 {ANNA} home/anna", "own"),
    ]
    assert pc.told() == ["home:ready: homes are on 10.0.0.2:/srv/homes"]
    assert sorted(path.name for path in (pc.top / "area").iterdir()) == ["anna", "pc-1"]
    asked = (pc.folder / "asked").read_text()
    assert asked.startswith(
        "mount -i -t nfs4 -o vers=4.2,proto=tcp,sec=sys,hard,nosuid,nodev,addr="
    )
    assert asked.split()[6:] == ["10.0.0.2:/srv/homes", f"{pc.folder}/netboot/homes"]
    assert pc.state("nfs") == "10.0.0.2"


def test_a_server_that_trusts_no_root_needs_the_folder(pc: Pc) -> None:
    (pc.top / "area").chmod(0o755)
    (pc.top / "area/anna").mkdir(mode=0o700)
    os.chown(pc.top / "area/anna", OTHER, OTHER)
    stubs = 'mkdir() { case $* in *homes/*) return 1 ;; *) command mkdir "$@" ;; esac; }\n'
    pc.boot(NFS, f"{MOUNTS}{stubs}set_up_homes")
    first, second = pc.told()
    assert first.endswith(f"pc-1 cannot be made: make it on the server, for user ID {SEAT}")
    assert second.endswith(f"anna belongs to user ID {OTHER} on the server, expected {ANNA}")
    assert pc.state("ram") == "homebad"


@pytest.mark.parametrize(
    ("answer", "key", "message"),
    [
        ("No such file or directory", "homeaway 10.0.0.2", "it has no export /srv/homes"),
        ("Permission denied", "homeaway 10.0.0.2", "it refuses /srv/homes to this PC"),
        ("Connection refused", "homeaway 10.0.0.2", "NFS server 10.0.0.2: Connection refused"),
        ("", "homeaway 10.0.0.2", "NFS server 10.0.0.2: no answer"),
        ("No such device", "homebad", "no NFS client"),
    ],
)
def test_a_server_that_gives_no_homes_is_told(pc: Pc, answer: str, key: str, message: str) -> None:
    text = f'echo "mount: mounting a on b failed: {answer}" >&2; exit 1' if answer else "exit 1"
    pc.boot(NFS, f"{nfs(text)}set_up_homes")
    assert pc.state("ram") == key
    (told,) = pc.told()
    assert message in told
    assert not pc.state("waits")


def test_a_session_that_has_begun_gets_no_other_home(pc: Pc) -> None:
    pc.boot("seat", f"{AREA}: >$run/netboot/home.closed\nset_up_homes")
    assert "it took too long" in pc.told()[0]


def test_a_server_that_goes_away_is_told_once_and_its_return(pc: Pc) -> None:
    looks = "mkdir -p $run/netboot/homes\nlook_at_export a\nmv $run/netboot/homes $run/gone\n"
    looks += "look_at_export a\nlook_at_export a\ncat $run/netboot/home.away\n"
    looks += "mv $run/gone $run/netboot/homes\nlook_at_export a\nlook_at_export a\n"
    assert pc.boot(NFS, looks) == "a\n"
    assert [line.partition(": ")[0] for line in pc.told()] == ["home:away", "home:back"]
