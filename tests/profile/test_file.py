"""Any text is a profile, or raises OperatorError with one line and place for each mistake."""

from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from netboot.errors import OperatorError
from netboot.profile.fields import SwapSize
from netboot.profile.file import load, parse, schema
from netboot.profile.profile import Profile

PC = "52:54:00:12:34:56"
MISTAKES = [
    # Unknown keys at every depth.
    ("swap: {sizee: 1GiB}\n", "f:1: key 'swap.sizee': unknown key; did you mean 'size'?"),
    ("\n\nswop:\n", "f:3: key 'swop': unknown key; did you mean 'swap'?"),
    (
        "http:\n  qqq: 1",
        "f:2: key 'http.qqq': unknown key; expected port, rate, panel or panel_port",
    ),
    (
        "swap:\n  zswap:\n    compresor: lz4",
        "f:3: key 'swap.zswap.compresor': unknown key; did you mean 'compressor'?",
    ),
    (
        "clients:\n  52:54:00:12:34:56:\n    swap:\n      port: 1",
        (
            "f:4: key 'clients.52:54:00:12:34:56.swap.port': "
            "cannot differ between PCs; set it for the whole room"
        ),
    ),
    # Values.
    (
        "dhcp: {mode: ful}",
        "f:1: key 'dhcp.mode': expected proxy, full or none, found 'ful'; did you mean 'full'?",
    ),
    (
        "swap: {size: 1GB}",
        (
            "f:1: key 'swap.size': expected a size such as 1GiB, a multiple of the PC's RAM such "
            "as 2x, "
            "or 0, found '1GB'; did you mean '1GiB'?"
        ),
    ),
    (
        "swap: {size: 2}",
        (
            "f:1: key 'swap.size': expected a size such as 1GiB, a multiple of the PC's RAM such "
            "as 2x, "
            "or 0, found '2'; did you mean '2x'?"
        ),
    ),
    (
        "swap: {patience: 3y}",
        "f:1: key 'swap.patience': expected a duration from 1s to 7d such as 10m, found '3y'",
    ),
    (
        "http: {port: 0755}",
        "f:1: key 'http.port': expected a whole number from 1 to 65535, found '0755'",
    ),
    (
        "http: {port: 1:30}",
        "f:1: key 'http.port': expected a whole number from 1 to 65535, found '1:30'",
    ),
    (
        "swap: {zswap: {enabled: onn}}",
        "f:1: key 'swap.zswap.enabled': expected yes or no, found 'onn'; did you mean 'on'?",
    ),
    ("root: {kind: nfs}", "f:1: key 'root.kind': expected ram, nbd or image, found 'nfs'"),
    (
        "dhcp:\n  dns: [10.0.0.1,\n    10.0.0.256]",
        "f:3: key 'dhcp.dns.1': expected an IPv4 address such as 10.0.0.1, found '10.0.0.256'",
    ),
    (
        "dhcp: {range: 10.0.0.9-10.0.0.1}",
        (
            "f:1: key 'dhcp.range': expected a range such as 10.0.0.50-10.0.0.99, "
            "found '10.0.0.9-10.0.0.1'; did you mean '10.0.0.1-10.0.0.9'?"
        ),
    ),
    (
        "dhcp: {range: 10.0.0.1-11.0.0.1}",
        (
            "f:1: key 'dhcp.range': expected a range such as 10.0.0.50-10.0.0.99, "
            "found '10.0.0.1-11.0.0.1'"
        ),
    ),
    (
        "clients: {52:54:00:12:34:5: {}}",
        (
            "f:1: key 'clients.52:54:00:12:34:5': expected a MAC address such as "
            "52:54:00:12:34:56, "
            "found '52:54:00:12:34:5'"
        ),
    ),
    (
        "clients: {525400123456: {hostname: lab pc_1}}",
        (
            "f:1: key 'clients.52:54:00:12:34:56.hostname': expected a host name such as "
            "lab-{tail}, "
            "found 'lab pc_1'; did you mean 'lab-pc-1'?"
        ),
    ),
    (
        "groups: {g: {match: 52:54:0*:*}}",
        (
            "f:1: key 'groups.g.match.0': expected a MAC address or its beginning and a star such "
            "as "
            "52:54:00:*, found '52:54:0*:*'"
        ),
    ),
    (
        "boot: {arguments: 'a\tb'}",
        r"f:1: key 'boot.arguments': expected words on one line, in ASCII, found 'a\tb'",
    ),
    # The wrong kind of thing.
    ("- a", "f:1: expected keys such as 'swap:', found a list"),
    ("swap", "f:1: expected keys such as 'swap:', found 'swap'"),
    ("dhcp: full", "f:1: key 'dhcp': expected a section with keys, found 'full'"),
    ("clients: [a]", "f:1: key 'clients': expected a section with keys, found a list"),
    (
        "interface:",
        "f:1: key 'interface.0': expected auto or the name of a network interface, found nothing",
    ),
    (
        "http: {port: {a: 1}}",
        "f:1: key 'http.port': expected a whole number from 1 to 65535, found keys",
    ),
    (
        "dhcp: {dns: {a: 1}}",
        "f:1: key 'dhcp.dns.0': expected an IPv4 address such as 10.0.0.1, found keys",
    ),
    # Keys seen together.
    (
        "dhcp: {mode: full}",
        (
            "f:1: key 'dhcp': missing key 'range': full mode needs a range such as "
            "10.0.0.50-10.0.0.99"
        ),
    ),
    (
        "dhcp:\n  range: 10.0.0.1-10.0.0.9\n  router: 10.0.0.1",
        "f:3: key 'dhcp.router': must be outside dhcp.range, or a PC would get its address",
    ),
    ("groups: {g: {hostname: a}}", "f:1: key 'groups.g': missing key 'match'"),
    (
        "groups:\n  g:\n    match: 52:*\n    hostname: lab",
        (
            "f:4: key 'groups.g.hostname': several PCs would have the same name; "
            "did you mean 'lab-{tail}'?"
        ),
    ),
    (
        "swap: {capacity: 1GiB}\nclients:\n  525400123456:\n    swap: {size: 2GiB}",
        (
            "f:4: key 'clients.52:54:00:12:34:56.swap.size': "
            "larger than swap.capacity, the limit for all PCs"
        ),
    ),
    (
        "http: {panel_port: 8080}",
        "f:1: key 'http.panel_port': 8080 is already the value of http.port",
    ),
    (
        "http:\n  panel: lna",
        "f:2: key 'http.panel': expected lan, local or off, found 'lna'; did you mean 'lan'?",
    ),
    (
        "panel: {database: postgresql:secret}",
        (
            "f:1: key 'panel.database': expected a URL such as postgresql://netboot@10.0.0.5/netboot,"
            " or '' for a file of its own"
        ),
    ),
    (
        f"clients: {{{PC}: {{hostname: Lab-07}}}}\nroom:\n  plan:\n  - ['']\n  - ['', lab-70]",
        ("f:5: key 'room.plan.1': no PC in clients has the name 'lab-70'; did you mean 'Lab-07'?"),
    ),
    (
        f"clients: {{{PC}: {{hostname: a}}}}\nroom: {{plan: [[A], [a]]}}",
        "f:2: key 'room.plan.1': 'a' has two places",
    ),
    (
        "room: {plan: [[a b]]}",
        (
            "f:1: key 'room.plan.0.0': expected the name of a PC, or '' for a gap, found 'a b'; did "
            "you mean 'a-b'?"
        ),
    ),
    (
        "room: {plan: a}",
        (
            "f:1: key 'room.plan': expected a list of rows such as [[pc-1, pc-2], [pc-3, '', pc-4]], "
            "found 'a'"
        ),
    ),
    ("http: {port: 10809}", "f:1: key 'swap.port': 10809 is already the value of http.port"),
    (
        "swap:\n  layout: mirror",
        "f:2: key 'swap.layout': has no effect without swap.servers, the page servers",
    ),
    (
        "swap:\n  servers: 10.0.0.1\n  layout: mirror",
        "f:3: key 'swap.layout': mirror needs two servers or more, found 1",
    ),
    (
        (
            "swap: {servers: [10.0.0.1, 10.0.0.2], layout: stripe}\n"
            "groups:\n  a:\n    match: '52:*'\n    swap: {grow: 2}"
        ),
        (
            "f:5: key 'groups.a.swap.grow': cannot be combined with swap.layout stripe; "
            "swap grows with the layouts spread and mirror"
        ),
    ),
    (
        "boot: {architectures: [amd64, i368]}",
        (
            "f:1: key 'boot.architectures.1': expected amd64, i386 or arm64, found 'i368'; "
            "did you mean 'i386'?"
        ),
    ),
    ("boot: {servers: 10.0.0.1}", "f:1: key 'boot.servers': expected 2 servers, found 1"),
    (
        "boot: {servers: [10.0.0.1, 10.0.0.1]}",
        "f:1: key 'boot.servers': 10.0.0.1 is listed twice",
    ),
    (
        "boot: {architectures: [i386, i386]}",
        "f:1: key 'boot.architectures': one of them is listed twice",
    ),
    (
        "swap: {servers: [10.0.0.1, 10.0.0.2, 10.0.0.1]}",
        "f:1: key 'swap.servers': 10.0.0.1 is listed twice",
    ),
    (
        f"swap: {{servers: [{', '.join(f'10.0.0.{last}' for last in range(1, 34))}]}}",
        "f:1: key 'swap.servers': expected at most 32 servers, found 33",
    ),
    (
        f"swap: {{servers: '{','.join(f'10.0.0.{last}' for last in range(1, 10))}', layout: stripe}}",
        "f:1: key 'swap.layout': stripe takes at most 8 servers, found 9",
    ),
    (
        "swap: {servers: [10.0.0.1, 10.0.0.2], layout: any}",
        "f:1: key 'swap.layout': any needs a store that all servers reach, rbd:POOL; found memory",
    ),
    (
        "swap: {store: 'rbd:a', servers: [10.0.0.1], layout: any}",
        "f:1: key 'swap.layout': any needs two servers or more, found 1",
    ),
    (
        "swap: {store: 'rbd:a', layout: any}",
        "f:1: key 'swap.layout': has no effect without swap.servers, the page servers",
    ),
    (
        "swap: {store: 'rbd:a', servers: [10.0.0.1, 10.0.0.2], layout: any, grow: 1}",
        (
            "f:1: key 'swap.grow': cannot be combined with swap.layout any; "
            "swap grows with the layouts spread and mirror"
        ),
    ),
    (
        "boot: {vlan: 10}\ngroups:\n  a: {match: '52:*', boot: {loader: signed}}",
        (
            "f:3: key 'groups.a.boot.vlan': cannot be combined with boot.loader signed; "
            "with Secure Boot let the PC's switch port send this network untagged"
        ),
    ),
    (
        "swap: {servers: [10.0.0.1, 10.0.0.2], size: 2GiB, capacity: 1GiB}",
        "f:1: key 'swap.size': larger than swap.capacity, the limit for all PCs",
    ),
    (
        "clients:\n  02:00:00:00:00:01: {hostname: a}\n  02:00:00:00:00:02: {hostname: A}",
        "f:3: key 'clients.02:00:00:00:00:02': A is already the name of 02:00:00:00:00:01",
    ),
    (
        (
            "clients:\n  02:00:00:00:00:01: {address: 10.0.0.1}\n"
            "  02:00:00:00:00:02:\n    address: 10.0.0.1"
        ),
        (
            "f:4: key 'clients.02:00:00:00:00:02.address': "
            "10.0.0.1 is already the address of 02:00:00:00:00:01"
        ),
    ),
    (
        "dhcp: {router: 10.0.0.1}\nclients: {525400123456: {address: 10.0.0.1}}",
        (
            "f:2: key 'clients.52:54:00:12:34:56.address': "
            "10.0.0.1 is already the address of the router"
        ),
    ),
    (
        "clients:\n  52:54:00:12:34:56:\n  5254.0012.3456:",
        "f:3: key 'clients.5254.0012.3456': the same PC as in f:2; remove one",
    ),
    # YAML.
    ("a: 1\nb: 2\na: 3", "f:3: key 'a': given twice, first in line 1"),
    ("swap:\n  size: 1x\n  size: 2x", "f:3: key 'swap.size': given twice, first in line 2"),
    ("swap:\n\tsize: 2x", "f:2: cannot be read as YAML: a tab character; use spaces instead"),
    ("dhcp: {mode: é\t}", "f:1: cannot be read as YAML: a tab character; use spaces instead"),
    (
        "groups: {g: {match: [*]}}",
        "f:1: cannot be read as YAML: text that begins with * or &; put quotes around it",
    ),
    (
        "a: &x [1]\nb: *x",
        "f:1: cannot be read as YAML: text that begins with &; put quotes around it",
    ),
    ("b: *x", "f:1: cannot be read as YAML: text that begins with *; put quotes around it"),
    (
        "a: !!python/object:os.system x",
        "f:1: cannot be read as YAML: text that begins with !; put quotes around it",
    ),
    ("a: @x", "f:1: cannot be read as YAML: text that begins with @; put quotes around it"),
    (
        "swap\n  size: 2x",
        "f:1: cannot be read as YAML: a key without a colon; write 'swap:'",
    ),
    (
        "two words\n  size: 2x",
        (
            "f:2: cannot be read as YAML: unexpected ':'; "
            "check the line above, the indentation, and the quotes around text"
        ),
    ),
    (
        "swap:\n  size: 2x\nhttp\nroot: {}",
        "f:3: cannot be read as YAML: a key without a colon; write 'key: value'",
    ),
    (
        "swap:\n   size: 2x\n  port: 1",
        "f:3: cannot be read as YAML: unexpected indentation; indent all keys of a section alike",
    ),
    (
        " swap:\nhttp:",
        (
            "f:2: cannot be read as YAML: unexpected indentation; "
            "begin the outermost keys in the first column"
        ),
    ),
    ("a: 'b\nc: d", "f:1: cannot be read as YAML: a quote that is not closed"),
    ("a:\n- [b, c\n", "f:2: cannot be read as YAML: a bracket that is not closed"),
    (
        "a: [b, c\nd: e",
        "f:2: cannot be read as YAML: expected ',' or ']'; check the brackets and commas",
    ),
    ("a: {b: c}}", "f:1: cannot be read as YAML: unexpected '}'; check the brackets and commas"),
    (
        "a: 'b' c",
        (
            "f:1: cannot be read as YAML: unexpected text; "
            "put quotes around the whole value, or indent it as the lines around it"
        ),
    ),
    (
        "a: - b",
        "f:1: cannot be read as YAML: unexpected '-'; begin each item of a list on its own line",
    ),
    ("a: |x\n b", "f:1: cannot be read as YAML: text behind | or >; begin it on the next line"),
    ("%YAML 3\n---\na:", "f:1: cannot be read as YAML: a line that begins with %; remove it"),
    (
        'a: "\\q"',
        (
            "f:1: cannot be read as YAML: an unknown escape in double quotes; "
            "use single quotes for text with backslashes"
        ),
    ),
    # What was typed is shown as it was typed, unless it does not print.
    (
        "dhcp: {mode: “proxy”}",
        (
            "f:1: key 'dhcp.mode': expected proxy, full or none, found '“proxy”'; use plain quotes, "
            "\" or '; did you mean 'proxy'?"
        ),
    ),
    (
        "clients: {52:54:00:12:34:56: {hostname: café}}",
        (
            "f:1: key 'clients.52:54:00:12:34:56.hostname': expected a host name such as lab-{tail}, "
            "found 'café'; did you mean 'cafe'?"
        ),
    ),
    (
        "dhcp\n  mode: proxy",
        "f:1: cannot be read as YAML: a key without a colon; write 'dhcp:'",
    ),
    (
        "dhcp:\n  mode:proxy",
        (
            "f:1: key 'dhcp': expected a section with keys, found 'mode:proxy'; "
            "write a space behind the colon: 'mode: proxy'"
        ),
    ),
    (
        "clients: {ff:ff:ff:ff:ff:ff: {hostname: a}}",
        (
            "f:1: key 'clients.ff:ff:ff:ff:ff:ff': expected a MAC address such as 52:54:00:12:34:56, "
            "not a broadcast or multicast address, found 'ff:ff:ff:ff:ff:ff'"
        ),
    ),
    (
        "swap: {store: 'disk:pages'}",
        (
            "f:1: key 'swap.store': expected an absolute folder such as /srv/pages, "
            "found 'disk:pages'"
        ),
    ),
    (
        "café: 1",
        (
            "f:1: key 'café': unknown key; expected interface, dhcp, http, boot, root, swap, ssh, "
            "seat, panel, room, vagrant, groups or clients"
        ),
    ),
    (
        "root: {kind: 'a\u202eb'}",
        r"f:1: key 'root.kind': expected ram, nbd or image, found 'a\u202eb'",
    ),
    (
        "swap:\nroot: {kind: nbd}",
        (
            "f:2: key 'root': missing key 'image': root kind nbd needs a file such as "
            "/srv/root.squashfs"
        ),
    ),
    (
        "groups:\n  a:\n    match: 52:*\n    root:\n      kind: nbd",
        (
            "f:4: key 'groups.a.root': missing key 'image': root kind nbd needs a file such as "
            "/srv/root.squashfs"
        ),
    ),
    (
        "root: {kind: nbd, image: root.squashfs}",
        (
            "f:1: key 'root.image': root kind nbd needs a file such as /srv/root.squashfs, found "
            "'root.squashfs'; for a root image of that name set kind: image"
        ),
    ),
    (
        "root: {kind: nbd, image: a/b}",
        (
            "f:1: key 'root.image': expected the name of a root image such as kiosk, or the path of "
            "a file such as /srv/root.squashfs, found 'a/b'"
        ),
    ),
    (
        "root: {kind: image}",
        (
            "f:1: key 'root': missing key 'image': root kind image needs the name of a root image "
            "such as kiosk"
        ),
    ),
    (
        (
            "root: {kind: image, image: kiosk}\ngroups:\n  a:\n    match: 52:*\n    root:\n"
            "      image: /srv/my room.img"
        ),
        (
            "f:6: key 'groups.a.root.image': expected the name of a root image, found the path "
            "'/srv/my room.img'; set kind: nbd, or: sudo netboot image import NAME "
            "'/srv/my room.img'"
        ),
    ),
    (
        "http: {port: !!int 80}",
        "f:1: cannot be read as YAML: text that begins with !; put quotes around it",
    ),
    (
        "<<: {a: 1}",
        (
            "f:1: key '<<': unknown key; expected interface, dhcp, http, boot, root, swap, ssh, "
            "seat, panel, room, vagrant, "
            "groups or clients"
        ),
    ),
    ("? [a]\n: b", "f:1: a key must be a word, not empty"),
    ("\n~: 1", "f:2: a key must be a word, not empty"),
    (
        "a: 1\n\nb: \x07",
        "f:3: cannot be read as YAML: character U+0007 is not allowed; remove it",
    ),
    (r'a: "\UFFFFFFFF"', "f:1: cannot be read as YAML: an escape that stands for no character"),
    ('x:\n  a: "\\ud800"', "f:2: cannot be read as YAML: an escape that stands for no character"),
    ("[" * 5000, "f:1: cannot be read as YAML: nested too deeply"),
    (
        "a: b\n--- c",
        "f:2: cannot be read as YAML: a second document; remove the line that begins with ---",
    ),
    ("#" * 2_000_000, "f: too long: expected at most 1048576 characters"),
]


@pytest.mark.parametrize(("text", "line"), MISTAKES)
def test_mistake_is_one_line_that_names_its_place(text: str, line: str) -> None:
    with pytest.raises(OperatorError) as caught:
        parse(text, "f")
    assert str(caught.value) == line


def test_several_mistakes_are_one_line_each_in_the_order_of_the_file() -> None:
    with pytest.raises(OperatorError) as caught:
        parse("root: {kind: x}\nswap:\n  prt: 1\n  store: x\nhttp: {port: x}", "f", ["boot=x"])
    assert [line.partition(" expected")[0] for line in str(caught.value).splitlines()] == [
        "--set: key 'boot':",
        "f:1: key 'root.kind':",
        "f:3: key 'swap.prt': unknown key; did you mean 'port'?",
        "f:4: key 'swap.store':",
        "f:5: key 'http.port':",
    ]


def test_what_yaml_1_1_reads_otherwise() -> None:
    text = "{52:54:00:12:34:56: 1, a: on, b: 0755, c: 1_0, d: 2001-01-01, e: .inf, f: 1:30, g: ~}"
    assert 41135085296 in yaml.safe_load(text), (
        "PyYAML still does what netboot.profile.document is for"
    )
    profile = parse(
        "clients: {52:54:00:12:34:56: {hostname: on}, 525400123457: {hostname: 0755}}\n"
        "swap: {zswap: {enabled: on}, capacity: ~}\nboot: {arguments: 2001-01-01}",
        "f",
    )
    assert profile.seat_of("52:54:00:12:34:56").hostname == "on"
    assert profile.seat_of("52:54:00:12:34:57").hostname == "0755"
    assert profile.boot.arguments == "2001-01-01"


def test_settings_replace_keys_of_the_file() -> None:
    settings = ["dhcp.mode=full", "dhcp.range=10.0.0.5-10.0.0.9", "boot.arguments=a=b c=d"]
    settings += ["clients.52-54-00-12-34-56.hostname=x", "swap.zswap.enabled=no"]
    profile = parse("dhcp: {mode: proxy, lease_time: 1h}\nswap:\n", "f", settings)
    assert (profile.dhcp.mode, profile.dhcp.lease_time) == ("full", 3600)
    assert profile.boot.arguments == "a=b c=d"
    assert profile.seat_of("52:54:00:12:34:56").hostname == "x"
    assert not profile.swap.zswap.enabled


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("swap", "--set: expected KEY=VALUE, found 'swap'"),
        (
            "=1",
            (
                "--set: key '': unknown key; expected interface, dhcp, http, boot, root, swap, "
                "ssh, seat, panel, room, vagrant, "
                "groups or clients"
            ),
        ),
        ("swap.sizee=1", "--set: key 'swap.sizee': unknown key; did you mean 'size'?"),
        (
            "interface.a=1",
            (
                "--set: key 'interface.0': expected auto or the name of a network "
                "interface, found keys"
            ),
        ),
        (
            "boot.arguments=\udc80",
            (
                r"--set: key 'boot.arguments': expected words on one line, "
                r"in ASCII, found '\udc80'"
            ),
        ),
    ],
)
def test_mistake_in_a_setting(setting: str, line: str) -> None:
    with pytest.raises(OperatorError) as caught:
        parse("", "f", [setting])
    assert str(caught.value) == line


def test_load_reads_utf8_with_and_without_mark(tmp_path: Path) -> None:
    path = tmp_path / "room.yaml"
    for prefix in (b"", b"\xef\xbb\xbf"):
        path.write_bytes(prefix + "# für Raum 7\r\nswap: {size: 3x}\r\n".encode())
        assert load(path).swap.size == SwapSize(times_ram=3.0)
        assert load(path, ["swap.size=0"]).swap.bytes_for(1 << 30) == 0


def test_load_says_what_is_wrong_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "room.yaml"
    with pytest.raises(OperatorError, match=r"room.yaml: there is no such profile$") as caught:
        load(path)
    assert "--profile" in caught.value.hint
    with pytest.raises(OperatorError, match=r": cannot be read: Is a directory$"):
        load(tmp_path)
    path.write_bytes(b"swap:\n# caf\xe9\n")
    with pytest.raises(OperatorError, match=r"room.yaml:2: not UTF-8 text$"):
        load(path)


NAMES = ["swap", "size", "dhcp", "mode", "clients", "groups", "match", "525400123456", "hostname"]
WORDS = st.sampled_from(
    [*NAMES, "2x", "full", "52:54:*", "on", "0755", "", "10.0.0.1", '"\\ud83d"']
)
PIECES = st.lists(
    st.one_of(
        WORDS, st.sampled_from([": ", "\n", "  ", "{", "}", "[", "]", ", ", "- ", "&a", "*a"])
    ),
    max_size=25,
).map("".join)
TREES = st.recursive(
    WORDS, lambda below: st.one_of(st.lists(below), st.dictionaries(WORDS, below)), max_leaves=12
).map(lambda tree: yaml.safe_dump(tree))


@settings(max_examples=150)
@given(st.one_of(st.text(max_size=60), PIECES, TREES))
@example("{swap: [}")
def test_any_text_is_a_profile_or_lines_with_a_place(text: str) -> None:
    try:
        profile = parse(text, "f")
    except OperatorError as error:
        assert all(line.startswith("f:") for line in str(error).split("\n"))
        assert str(error).isprintable() or "\n" in str(error)
    else:
        assert isinstance(profile, Profile)
        profile.seat_of("52:54:00:12:34:56")


def test_schema_is_of_the_file_as_written() -> None:
    definitions = schema()["$defs"]
    assert "SwapSize" not in definitions
    kinds = definitions["Swap"]["properties"]["size"]["anyOf"]
    assert [kind.get("type") for kind in kinds] == ["string", None, "integer"]
    assert "port" not in definitions["SeatSwap"]["properties"]


def test_a_key_of_a_thousand_letters_is_one_short_line() -> None:
    with pytest.raises(OperatorError) as caught:
        parse("{}", "f", ["swap." + 1000 * "\x1d" + "t=1"])
    line = str(caught.value)
    assert line.startswith("--set: key 'swap.") and "...': unknown key" in line
    assert len(line) < 500
