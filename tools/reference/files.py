"""Files, folders and ports: paths from the constants of the code, meanings by hand."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from netboot.boot.arch import UNIFIED
from netboot.cli.image import OWN_DEFINITIONS
from netboot.cli.profile_path import SHIPPED
from netboot.deploy import layout
from netboot.deploy.sync import ARRIVING, BUILD_PREFIX, KEPT_BUILDS, PART
from netboot.feed.protocol import KEY_FILE, PANEL_FOLDER, SOCKET_FILE
from netboot.host.wake import DISCARD_PORT
from netboot.images.build import MANIFEST_FILE
from netboot.lab import libvirt
from netboot.pages.leasefile import APART_FILE, STATE_FILE
from netboot.pages.stores.folder import KEPT_PREFIX, PREFIX, SUFFIX
from netboot.pages.stores.holder import HOLDER
from netboot.pages.stores.memory import TMPFS
from netboot.pages.stores.rbd import CONF
from netboot.pages.upgrade import PROCESS_FILE
from netboot.panel.history.database import FILE as HISTORY_FILE
from netboot.panel.login.accounts import FILE as ACCOUNTS_FILE
from netboot.panel.login.sessions import FILE as SESSIONS_FILE
from netboot.panel.process import LOCK, SCHEDULED
from netboot.profile.profile import Profile
from netboot.roots.library import DEFAULT_FOLDER
from netboot.roots.uses import USES_FILE
from netboot.serve.dhcp.client import BOOT_SERVER, DHCP_CLIENT, DHCP_SERVER
from netboot.serve.feed.door import SOCKET_MODE
from netboot.serve.feed.service import KEY_MODE
from netboot.serve.next_boot import FILE as NEXT_BOOT_FILE
from netboot.serve.room_pages import KEPT_FOLDER
from netboot.serve.services import CLOCK_FILE, STARTED_FILE
from netboot.serve.tftp.client import PORT as TFTP
from tools.reference.markdown import code, table

FILES = ("Path", "Mode", "Made by", "Content")


def _server() -> str:
    return _table(
        (layout.DATA, "0755", "`fab deploy`, `netboot serve`", "All that the server keeps."),
        (
            layout.IMAGES / "current",
            "0755",
            "`fab deploy`",
            f"A link to the images that are served, with `{MANIFEST_FILE}`; a folder of the Debian package.",
        ),
        (
            layout.IMAGES / f"{BUILD_PREFIX}KEY",
            "0755",
            "`netboot sync`",
            f"Boot files from another server, the last {KEPT_BUILDS}; `{BUILD_PREFIX}KEY{PART}` while they arrive.",
        ),
        (
            DEFAULT_FOLDER / "NAME/DIGEST.img",
            "0644",
            "`netboot image`",
            "A version of a root image, with its hash tree and its manifest. Link `current`: the next.",
        ),
        (
            DEFAULT_FOLDER / ARRIVING,
            "0755",
            "`netboot sync`",
            "Versions that are on their way from another server; kept after an interruption.",
        ),
        (
            OWN_DEFINITIONS / "NAME.yaml",
            "any",
            "you",
            "A definition of a root image, which `netboot image build NAME` finds.",
        ),
        (
            layout.STATE,
            f"{layout.STATE_MODE:04o}",
            "`fab deploy`",
            "The state of an installed server; without one, `--state` names the folder.",
        ),
        (
            layout.STATE / "secret",
            "0600",
            "`netboot serve`",
            "The secret of sessions and orders, for a day the previous one too. Others must not read it.",
        ),
        (
            layout.STATE / APART_FILE,
            "0600",
            "`netboot serve`",
            "The leases of swap once more, apart from the pages.",
        ),
        (
            layout.STATE / KEPT_FOLDER,
            "0700",
            "`netboot serve`",
            "Files that PCs keep (`root.persist`): an ext4 for each in `seat-MAC-persist.img`; and secrets.",
        ),
        (
            layout.STATE / ".*.spare",
            "0600",
            "`netboot serve`",
            "The room for the next save of a state file, with the save before; a copy of the secret.",
        ),
        (
            layout.STATE / "*.aside-*",
            "0600",
            "`netboot serve`",
            "Up to three state files that could not be used, as the log said.",
        ),
        (
            layout.STATE / "leases.json",
            "0600",
            "`netboot serve`",
            "The addresses that full mode has given out.",
        ),
        (
            layout.STATE / USES_FILE,
            "0600",
            "`netboot serve`",
            "The versions of root images that seats run.",
        ),
        (
            layout.STATE / NEXT_BOOT_FILE,
            "0600",
            "`netboot serve`",
            "The images and loaders that panels ordered for single boots.",
        ),
        (
            layout.STATE / SOCKET_FILE,
            f"{SOCKET_MODE:04o}",
            "`netboot serve`",
            "A Unix socket: the feed of the room, for panels of this machine. It goes with the server.",
        ),
        (
            layout.STATE / KEY_FILE,
            f"{KEY_MODE:04o}",
            "`netboot serve`",
            "The key with which a panel of another machine follows this server and gives orders.",
        ),
        (
            layout.PANEL_STATE,
            "0700",
            "`netboot panel`",
            f"The panel's folder. Without its unit it is `{PANEL_FOLDER}` in the server's state folder.",
        ),
        (
            layout.PANEL_STATE / ACCOUNTS_FILE,
            "0600",
            "`netboot panel`",
            "The accounts of the panel, with hashes of their passwords (`netboot panel user`).",
        ),
        (
            layout.PANEL_STATE / SESSIONS_FILE,
            "0600",
            "`netboot panel`",
            "The sessions of logged-in browsers, with hashes of their tokens: a restart of the panel ends none.",
        ),
        (
            layout.PANEL_STATE / HISTORY_FILE,
            "0600",
            "`netboot panel`",
            "The history of the room, unless `panel.database` is set; SQLite's `-wal` and `-shm` beside it.",
        ),
        (
            layout.PANEL_STATE / SCHEDULED,
            "0644",
            "`netboot panel`",
            "The time up to which the orders of schedules are given, so that none is given twice.",
        ),
        (
            layout.PANEL_STATE / LOCK,
            "0600",
            "`netboot panel`",
            "Locked while a panel runs: a second one with the same folder is refused.",
        ),
        (
            layout.STATE / STARTED_FILE,
            "0600",
            "`netboot serve`",
            "Says that a start went well: a later one without a terminal is not refused.",
        ),
        (
            layout.STATE / CLOCK_FILE,
            "0600",
            "`netboot serve`",
            "The time by which leases end, whatever the wall clock says.",
        ),
        (
            layout.STATE / f"*-{UNIFIED}",
            "0600",
            "`netboot serve`",
            "Kernel and initramfs in one file, for arm64 PCs without iPXE.",
        ),
        (
            layout.STATE / "own-*.key",
            "0600",
            "`netboot keys init`",
            "Your keys for PCs with Secure Boot: for boot images, and for the words of seats.",
        ),
        (
            layout.STATE / "own-*.pem",
            "0644",
            "`netboot keys init`",
            "Their certificates; `own-image.cer` and `.esl` are one of them for firmware, to be enrolled in PCs.",
        ),
        (
            layout.STATE / "own-*.efi",
            "0644",
            "`netboot serve`",
            "The signed boot image, one for each address of the server.",
        ),
        (layout.CONFIGURATION, "0755", "`fab deploy`", "The configuration of an installed server."),
        (layout.PROFILE, "0644", "`fab deploy`", "Its profile."),
        (layout.BASE, "0755", "`fab deploy`", "The programs of an installed server."),
        (layout.PACKAGED, "0755", "the Debian package", "The same, if apt has installed it."),
        (
            layout.RELEASES,
            "0755",
            "`fab deploy`",
            f"The last {layout.KEPT_RELEASES} releases, each with its own Python environment.",
        ),
        (layout.CURRENT, "link", "`fab deploy`", "The release that is served."),
        (layout.PREVIOUS, "link", "`fab deploy`", "The release that `fab rollback` goes back to."),
        (layout.UNIT, "0644", "`fab deploy`", "The unit of systemd."),
        (layout.PANEL_UNIT, "0644", "`fab deploy`", "The unit of the panel."),
        (layout.PID_FILE, "0644", "`fab deploy`", "Without systemd: the server's process."),
        (layout.LOG, "0644", "`fab deploy`", "Without systemd: the server's log."),
        (layout.LOCK, "0644", "`netboot service`", "Held while a deploy changes any of these."),
    )


def _pages() -> str:
    return _table(
        (
            TMPFS / f"{PREFIX}*",
            "0700",
            "`netboot pages`",
            "Pages of a server without a name. The next server removes them when the process is gone.",
        ),
        (
            TMPFS / f"{KEPT_PREFIX}*",
            "0700",
            "`netboot serve`, `netboot pages --name`",
            "Pages that outlive the server, until it is started again or the machine restarts.",
        ),
        (
            f"DIR/{KEPT_PREFIX}*",
            "0700",
            "`netboot serve`",
            "The same for the stores disk and tiered.",
        ),
        (
            TMPFS / f"{KEPT_PREFIX}*.rbd",
            "0700",
            "`netboot serve`",
            "Leases and sockets of the store rbd, whose pages are in the Ceph cluster.",
        ),
        (
            CONF,
            "0644",
            "you",
            "How the store rbd reaches the cluster. The keyring that it names must be readable, too.",
        ),
        (f"…/*{SUFFIX}", "0600", "page workers", "The pages of one area, a file of holes."),
        (f"…/{STATE_FILE}", "0600", "the page server", "The leases of these pages."),
        (f"…/{HOLDER}", "0600", "the page server", "For `DIR`: the server that has the folder."),
        (f"…/{PROCESS_FILE}", "0600", "the page server", "The process that holds these pages."),
    )


def _user() -> str:
    return _table(
        (
            "/var/cache/netboot",
            "0755",
            "`netboot build` as root",
            "Packages, kernels, image parts.",
        ),
        ("~/.cache/netboot", "0755", "`netboot build`", "The same for other users."),
        (
            "/var/lib/netboot-setup",
            "0755",
            "`make setup`",
            "The packages that it installed, for `make remove`.",
        ),
        (
            f"profiles/{SHIPPED}",
            "0644",
            "the checkout",
            "The profile that verbs use without `--profile` and without `/etc/netboot/profile.yaml`.",
        ),
        ("lab-logs/", "0755", "`make demo`", "Consoles and logs of the lab, and built images."),
        (
            libvirt.FOLDER,
            "0755",
            "`vagrant up`",
            "Sockets, state and consoles of the virtual PCs. `vagrant destroy` removes it.",
        ),
    )


def _ports() -> str:
    profile = Profile()
    return table(
        ("Port", "Protocol", "From", "To", "When it is open", "Key"),
        (
            (str(DHCP_SERVER), "UDP", "PCs, relays", "server", "always", ""),
            (str(DHCP_CLIENT), "UDP", "server", "PCs", "answers to PCs, always", ""),
            (str(BOOT_SERVER), "UDP", "PCs", "server", "always (PXE boot server)", ""),
            (
                str(TFTP),
                "UDP",
                "PCs",
                "server",
                "always; a transfer goes on between two other UDP ports (RFC 1350)",
                "",
            ),
            (
                str(profile.http.port),
                "TCP",
                "PCs, `netboot status`",
                "server",
                "always",
                "`http.port`",
            ),
            (str(profile.swap.port), "TCP", "PCs", "page server", "always", "`swap.port`"),
            (
                str(profile.http.panel_port),
                "TCP",
                "browsers",
                "server",
                "unless `http.panel` is off",
                "`http.panel_port`",
            ),
            ("22", "TCP", "your desk", "server, PCs with disks", "`fab` only", ""),
            (
                str(DISCARD_PORT),
                "UDP",
                "your desk, server",
                "PCs (broadcast)",
                "`fab classroom.wake`, and a panel's order to wake PCs",
                "",
            ),
        ),
    )


def _table(*rows: tuple[Path | str, str, str, str]) -> str:
    return table(FILES, _cells(rows))


def _cells(rows: tuple[tuple[Path | str, str, str, str], ...]) -> Iterator[tuple[str, ...]]:
    for path, mode, maker, content in rows:
        yield code(str(path)), mode, maker, content


BLOCKS: Mapping[str, Callable[[], str]] = {
    "files server": _server,
    "files pages": _pages,
    "files others": _user,
    "ports": _ports,
}
