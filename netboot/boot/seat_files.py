"""The files of one seat, which no root image holds: language, names, accounts, keys. Pure.

/init fetches them as a cpio archive (``seat.img``), with the session of its boot, and unpacks it over
the new root (initramfs/seat.sh). Two files of a seat are not here, because the PC itself knows them
better: etc/hostname and etc/machine-id (initramfs/root/nbd). A PC that gets no name servers here
writes those of its DHCP lease into etc/resolv.conf.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from netboot.boot import cpio
from netboot.boot.cpio import Record
from netboot.boot.host_key import HostKey
from netboot.profile.profile import Seat
from netboot.profile.sections import Dhcp

ACCOUNTS_FILE = "etc/netboot/accounts"  # which /init applies and removes
SERVER_NAME = "netboot-server"  # in a seat's etc/hosts
HEADING = "# Made by the netboot server for this PC at its start.\n"


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts that the files of a seat need beside the profile.

    ``address`` is the one from which the PC asks. ``files`` are the contents of `seat.files`, each
    with True for a program, by their place on the PC.
    """

    server: IPv4Address
    address: IPv4Address
    key: HostKey
    files: Mapping[str, tuple[bytes, bool]] = field(default_factory=dict)


def archive(seat: Seat, dhcp: Dhcp, facts: Facts) -> bytes:
    """Return the archive ``seat.img`` of a seat. The files of the profile replace ours."""
    records = {record.name: record for record in render(seat, dhcp, facts)}
    for place, (content, executable) in facts.files.items():
        name = place.lstrip("/")
        records[name] = cpio.file(name, content, executable=executable)
    return cpio.archive(records.values(), parents=False)


def render(seat: Seat, dhcp: Dhcp, facts: Facts) -> Iterator[Record]:
    """Yield the files of a seat. Only root of the PC can read those with secrets."""
    own, text = seat.own, _file
    yield text("etc/hosts", _hosts(seat, dhcp, facts))
    names = _name_servers(dhcp, facts.address)
    if names:
        yield text("etc/resolv.conf", resolver(names, _domain(dhcp)))
    yield text("etc/timezone", f"{own.timezone}\n")
    yield cpio.symlink("etc/localtime", f"/usr/share/zoneinfo/{own.timezone}")
    for name in ("etc/default/locale", "etc/locale.conf"):  # of Debian 12 and of 13
        yield text(name, f"LANG={own.locale}\n")
    yield from _keyboard(own.keyboard)
    yield text("etc/netboot/seat.conf", _settings(seat, facts))
    yield from _printers(own.printers)
    times = own.ntp or (map(str, dhcp.ntp) if dhcp.mode == "full" else ())
    if servers := " ".join(times):
        yield text("etc/systemd/timesyncd.conf.d/netboot.conf", f"[Time]\nNTP={servers}\n")
    yield cpio.private("etc/ssh/ssh_host_ed25519_key", facts.key.private.encode())
    yield text("etc/ssh/ssh_host_ed25519_key.pub", facts.key.public, heading="")
    if own.accounts:
        lines = "".join(f"{name}:{hashed}\n" for name, hashed in own.accounts.items())
        yield cpio.private(ACCOUNTS_FILE, lines.encode())


def resolver(servers: tuple[IPv4Address, ...], domain: str) -> str:
    """Return the content of ``resolv.conf``."""
    search = f"search {domain}\n" if domain else ""
    return search + "".join(f"nameserver {server}\n" for server in servers)


def _file(name: str, content: str, *, heading: str = HEADING) -> Record:
    # systemd and libc take a time zone for the whole of its file.
    start = "" if name == "etc/timezone" else heading
    return cpio.file(name, (start + content).encode())


def _name_servers(dhcp: Dhcp, address: IPv4Address) -> tuple[IPv4Address, ...]:
    """Return the name servers that full mode tells the PC at ``address``; none in proxy mode."""
    if dhcp.mode != "full":
        return ()
    own = (row.dns for network, row in dhcp.networks.items() if row.dns and address in network)
    return next(own, dhcp.dns)


def _domain(dhcp: Dhcp) -> str:
    return (dhcp.domain or "") if dhcp.mode == "full" else ""


def _hosts(seat: Seat, dhcp: Dhcp, facts: Facts) -> str:
    domain = _domain(dhcp)
    names = [f"{seat.hostname}.{domain}", seat.hostname] if domain else [seat.hostname]
    rows = (
        ("127.0.0.1", "localhost"),
        ("127.0.1.1", *names),
        ("::1", "localhost", "ip6-localhost", "ip6-loopback"),
        (str(facts.server), SERVER_NAME),
    )
    return "".join(" ".join(row) + "\n" for row in rows)


def _keyboard(keyboard: str) -> Iterator[Record]:
    """Yield the keyboard for the console (keyboard-setup, systemd) and for X.org."""
    layout, variant = re.fullmatch(r"(\w+)(?:\((.*)\))?", keyboard).groups(default="")  # type: ignore[union-attr]
    yield _file(
        "etc/default/keyboard",
        f'XKBMODEL="pc105"\nXKBLAYOUT="{layout}"\nXKBVARIANT="{variant}"\nXKBOPTIONS=""\n',
    )
    yield _file(
        "etc/vconsole.conf",
        f"KEYMAP={'-'.join(filter(None, (layout, variant)))}\n"
        f"XKBLAYOUT={layout}\nXKBVARIANT={variant}\n",
    )
    options = f'\tOption "XkbLayout" "{layout}"\n\tOption "XkbVariant" "{variant}"\n'
    yield _file(
        "etc/X11/xorg.conf.d/00-keyboard.conf",
        'Section "InputClass"\n\tIdentifier "keyboard of the profile"\n'
        f'\tMatchIsKeyboard "on"\n{options}EndSection\n',
    )


def _settings(seat: Seat, facts: Facts) -> str:
    """Return ``KEY='value'`` lines for shell scripts and systemd; no value has a quote in it."""
    own = seat.own
    values = {
        "START": own.start,
        "URL": own.url or "",
        "FINGERPRINT": own.fingerprint or "",
        "KEYBOARD": own.keyboard,
        "LOCALE": own.locale,
        "TIMEZONE": own.timezone,
        "LOGIN": own.login,
        "HOME": own.home,
        "SCREEN": own.screen,
        "SERVER": str(facts.server),
        "HOSTNAME": seat.hostname,
    }
    return "".join(f"SEAT_{key}='{value}'\n" for key, value in values.items())


def _printers(printers: tuple[str, ...]) -> Iterator[Record]:
    """Yield the CUPS server for clients, and the URIs of printers for the image to add."""
    for server in printers:
        if "://" not in server:
            yield _file("etc/cups/client.conf", f"ServerName {server}\n")
    if uris := [each for each in printers if "://" in each]:
        yield _file("etc/netboot/printers", "".join(f"{uri}\n" for uri in uris), heading="")
