"""Snippets: what to put into another DHCP server so that it names our boot files. Pure.

One row for each kind of DHCP server in ``KINDS``. A DHCP server answers a PC twice: its firmware gets a
loader, and the iPXE that this loader is gets ``boot.ipxe``. An iPXE is known by option 175, or by its
user class (option 77): ``iPXE``, or ``netboot`` from our stick.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from netboot.boot.arch import ARCHITECTURES, LOADERS, Architecture, Firmware, is_grub
from netboot.boot.client import Client, Stage
from netboot.boot.plan import ANY_SCRIPT, SeatKeys, boot_plan
from netboot.errors import OperatorError
from netboot.profile.profile import Profile
from netboot.profile.reading import any_of, nearest

# The MAC address of a PC that the profile does not name: a snippet is the same for all PCs.
ANY_MAC = "02:00:00:00:00:00"
IPXE_BLOCK = "1432"  # bytes: of an Ethernet frame, less the headers of IPv6 and UDP
USER_CLASSES = ("iPXE", "netboot")
# Without quotes, blanks and operators, a value means the same in each of the notations below.
_PLAIN = re.compile(r"[A-Za-z0-9./:_-]{1,127}")  # 128 bytes with a NUL: the file field (RFC 2131)


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of firmware: its name, the value of its option 93, and the file that it is to load."""

    name: str
    code: int
    file: str
    by_http: bool

    @property
    def vendor_class(self) -> str:
        """The beginning of its option 60 (PXE 2.1 section 2.2.2; UEFI 2.10 section 24.7.3.1)."""
        return f"{'HTTP' if self.by_http else 'PXE'}Client:Arch:{self.code:05}"


@dataclass(frozen=True, slots=True)
class Facts:
    """All that goes into a snippet: our address, the kinds of firmware, the script of each iPXE."""

    server: IPv4Address
    rows: tuple[Row, ...]
    script: str = ANY_SCRIPT


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of DHCP server.

    ``place`` says where its snippet goes and what to do then, in lines. ``comment`` begins a comment
    in its notation. ``render`` returns the lines of the snippet.
    """

    name: str
    title: str
    place: tuple[str, ...]
    render: Callable[[Facts], Iterator[str]]
    comment: str = "#"


def facts(profile: Profile, server: IPv4Address) -> Facts:
    """Return the facts for a room whose server has the address ``server``.

    Raises OperatorError if a value could mean something else in a snippet.
    """
    rows = tuple(
        Row(arch.name, arch.code, _plain(_file(profile, arch, server)), _is_http(arch))
        for arch in ARCHITECTURES
        if {each.name for each in arch.processors} & set(profile.boot.architectures)
    )
    return Facts(server, rows)


def snippet(kind: str, known: Facts) -> str:
    """Return the snippet for the DHCP server ``kind``, a key of ``KINDS``. Raises OperatorError."""
    row = KINDS.get(kind)
    if row is None:
        guess = nearest(kind, KINDS)
        hint = f"did you mean '{guess}'?" if guess else ""
        expected = any_of(dict.fromkeys(KINDS))
        raise OperatorError(f"KIND: expected {expected}, found '{kind}'", hint=hint)
    head = (
        f"For {row.title}.",
        f"PCs that boot from the network get the boot files of netboot at {known.server}.",
        *row.place,
    )
    lines = (*(f"{row.comment} {line}" for line in head), *row.render(known))
    return "\n".join((*lines, ""))


def instead_of_loader(name: str, options: Mapping[str, str]) -> str:
    """Return the file to send over TFTP to a PC that asks for ``name`` with these ``options``.

    It is the script if an iPXE asks for a loader: DHCP servers that name one file for all PCs, or for
    all programs on a PC, would have it load itself for ever. iPXE asks in a way of its own (its
    net/udp/tftp.c: tftp_send_rrq). So does the one in a network card, which can run the script.
    """
    loader = name.replace("\\", "/").lstrip("/")
    is_loader = loader in LOADERS and not is_grub(loader)
    is_ipxe = options.get("blksize") == IPXE_BLOCK and set(options) == {"blksize", "tsize"}
    return ANY_SCRIPT if is_loader and is_ipxe else name


def _file(profile: Profile, arch: Architecture, server: IPv4Address) -> str:
    client = Client(ANY_MAC, arch, Stage.FIRMWARE)
    seat = profile.seat_of(ANY_MAC)
    return boot_plan(profile, seat, client, SeatKeys(), server=server).bootfile


def _plain(value: str) -> str:
    if not _PLAIN.fullmatch(value):
        raise OperatorError(f"a boot file of this profile has no plain name: {value!r}")
    return value


def _is_http(arch: Architecture) -> bool:
    return arch.firmware is Firmware.UEFI_HTTP


def _dnsmasq(known: Facts) -> Iterator[str]:
    yield "dhcp-match=set:netboot-ipxe,175"
    for row in known.rows:
        tag = f"netboot-{row.name}"
        yield f"dhcp-match=set:{tag},option:client-arch,{row.code}"
        firmware = f"tag:{tag},tag:!netboot-ipxe"
        if row.by_http:
            yield f"dhcp-option-force={firmware},option:vendor-class,HTTPClient"
        yield f"dhcp-boot={firmware},{row.file},,{known.server}"
    yield f"dhcp-boot=tag:netboot-ipxe,{known.script},,{known.server}"


def _kea(known: Facts) -> Iterator[str]:
    yield '"client-classes": ['
    for row in known.rows:
        yield f'  {{ "name": "netboot-{row.name}",'
        code = f"substring(option[93].hex,0,2) == 0x{row.code:04x}"
        yield f'    "test": "{code} and not option[175].exists",'
        if row.by_http:
            yield '    "option-data": [ { "name": "vendor-class-identifier", "data": "HTTPClient" } ],'
        yield f'    "next-server": "{known.server}",'
        yield f'    "boot-file-name": "{row.file}" }},'
    yield '  { "name": "netboot-ipxe",'
    yield '    "test": "option[175].exists",'
    yield f'    "next-server": "{known.server}",'
    yield f'    "boot-file-name": "{known.script}" }}'
    yield "]"


def _isc(known: Facts) -> Iterator[str]:
    yield "option netboot-arch code 93 = string;"
    yield "option netboot-ipxe code 175 = string;"
    for row in known.rows:
        code = f"{row.code >> 8:02x}:{row.code & 255:02x}"
        yield f'class "netboot-{row.name}" {{'
        yield f"  match if substring(option netboot-arch, 0, 2) = {code}"
        yield "           and not exists netboot-ipxe;"
        if row.by_http:
            yield '  option vendor-class-identifier "HTTPClient";'
        yield f"  next-server {known.server};"
        yield f'  filename "{row.file}";'
        yield "}"
    yield 'class "netboot-ipxe" {'
    yield "  match if exists netboot-ipxe;"
    yield f"  next-server {known.server};"
    yield f'  filename "{known.script}";'
    yield "}"


def _mikrotik(known: Facts) -> Iterator[str]:
    # A matcher compares one option. An iPXE sends the option 60 of its firmware, too, and gets the
    # script when it asks for the loader (instead_of_loader).
    yield "/ip dhcp-server option"
    yield f"add name=netboot-server code=66 value=s'{known.server}'"
    yield "add name=netboot-http code=60 value=s'HTTPClient'"
    for row in known.rows:
        yield f"add name=netboot-{row.name} code=67 value=s'{row.file}'"
    yield "/ip dhcp-server option sets"
    for row in known.rows:
        more = ",netboot-http" if row.by_http else ""
        yield f"add name=netboot-{row.name} options=netboot-server,netboot-{row.name}{more}"
    yield "/ip dhcp-server matcher"
    for row in known.rows:
        yield (
            f"add name=netboot-{row.name} server=all code=60 matching-type=substring "
            f'value="{row.vendor_class}" option-set=netboot-{row.name}'
        )
    yield f"/ip dhcp-server network set [find] next-server={known.server}"


def _opnsense(known: Facts) -> Iterator[str]:
    yield "# Dnsmasq DNS & DHCP: the file /usr/local/etc/dnsmasq.conf.d/netboot.conf, by SSH or console."
    yield from _dnsmasq(known)


def _unifi(known: Facts) -> Iterator[str]:
    yield f"Network Boot: on, server {known.server}, file: one of"
    for row in known.rows:
        if not row.by_http:
            yield f"  {row.file:<24} if the PCs are {row.name}"


def _quoted(word: str) -> str:
    return f'"{word}"'


def _windows(known: Facts) -> Iterator[str]:
    yield "Add-DhcpServerv4OptionDefinition -Name PXEClient -OptionId 60 -Type String -EA Ignore"
    for name in USER_CLASSES:
        yield f"Add-DhcpServerv4Class -Type User -Name netboot-user-{name} -Data {_quoted(name)}"
    names = ",".join(f"netboot-user-{name}" for name in USER_CLASSES)
    yield from _policy("netboot-ipxe", f"-UserClass EQ,{names}", known, known.script)
    for row in known.rows:
        name = f"netboot-{row.name}"
        yield f"Add-DhcpServerv4Class -Type Vendor -Name {name} -Data {_quoted(row.vendor_class)}"
        yield from _policy(name, f'-VendorClass EQ,"{name}*"', known, row.file)
        if row.by_http:
            yield f"Set-DhcpServerv4OptionValue -PolicyName {name} -OptionId 60 -Value HTTPClient"


def _policy(name: str, condition: str, known: Facts, file: str) -> Iterator[str]:
    yield f"Add-DhcpServerv4Policy -Name {name} -Condition OR {condition}"
    value = f"Set-DhcpServerv4OptionValue -PolicyName {name}"
    yield f"{value} -OptionId 66 -Value {_quoted(str(known.server))}"
    yield f"{value} -OptionId 67 -Value {_quoted(file)}"


# Each is checked before it is restarted: a mistake would leave the LAN without addresses.
_DNSMASQ_FILE = "/etc/dnsmasq.d/netboot.conf"
KINDS = {
    row.name: row
    for row in (
        Kind(
            "dnsmasq",
            "dnsmasq",
            (
                f"Put it into {_DNSMASQ_FILE}, then:",
                "  dnsmasq --test -7 /etc/dnsmasq.d && systemctl restart dnsmasq",
            ),
            _dnsmasq,
        ),
        Kind(
            "kea",
            "Kea",
            (
                'Put it into /etc/kea/kea-dhcp4.conf, inside "Dhcp4": { ... }, with a comma behind it.',
                "If there are client-classes already, add these classes to them.",
                "Debian's own file has some. Then:",
                "  kea-dhcp4 -t /etc/kea/kea-dhcp4.conf && systemctl restart kea-dhcp4-server",
            ),
            _kea,
            "//",
        ),
        Kind(
            "isc",
            "ISC dhcpd",
            (
                "Put it into /etc/dhcp/netboot.conf, and this line at the beginning of dhcpd.conf:",
                '  include "/etc/dhcp/netboot.conf";',
                "Then: dhcpd -t && systemctl restart isc-dhcp-server",
            ),
            _isc,
        ),
        Kind(
            "mikrotik",
            "RouterOS 7.4 and newer",
            (
                "Paste it into a terminal of the router. The last line sets the next server of all DHCP",
                "networks of the router.",
            ),
            _mikrotik,
        ),
        Kind(
            "opnsense",
            "OPNsense",
            ("With Kea as the DHCP server use its proxy mode: it cannot tell kinds of PCs apart.",),
            _opnsense,
        ),
        Kind(
            "pihole",
            "Pi-hole",
            (
                f"Put it into {_DNSMASQ_FILE}. Pi-hole 6 reads that folder after:",
                "  pihole-FTL --config misc.etc_dnsmasq_d true",
                "Then: pihole restartdns",
            ),
            _dnsmasq,
        ),
        Kind(
            "unifi",
            "UniFi Network",
            (
                "In Settings, Networks, the network, DHCP, Show Options. It names one file for all PCs:",
                "so this is for rooms with one kind of PC. For others use dhcp.mode: proxy.",
            ),
            _unifi,
        ),
        Kind(
            "windows",
            "the DHCP server of Windows Server 2012 R2 and newer",
            ("Run it in a PowerShell of an administrator on that server.",),
            _windows,
        ),
    )
}
