"""The JSON Schema that editors use, and `netboot check`, accept the same profiles."""

import re
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from netboot.errors import OperatorError
from netboot.profile import fields, patterns, reading, values
from netboot.profile import file as profile_file
from netboot.profile.reading import Text
from tests.profile import yaml12

SCHEMA = Draft202012Validator(profile_file.schema())
PC = "52:54:00:12:34:56"
FULL = "mode: full, range: 10.0.0.50-10.0.0.99"


def checked(text: str) -> bool:
    try:
        profile_file.parse(text, "room.yaml")
    except OperatorError:
        return False
    return True


def underlined(text: str) -> list[str]:
    """Return what an editor complains of."""
    return [
        f"{error.json_path}: {error.message[:200]}"
        for error in SCHEMA.iter_errors(yaml12.load(text))
    ]


# Spellings of values, right and wrong, and the profiles in which each stands for VALUE.
SPELLINGS = {
    ("http: {port: VALUE}", "http: {port: 9}\nswap: {port: VALUE}"): (
        *("1", "80", "9999", "65535", '"8080"', "0", "65536", "70000", "-1", "abc", "1.5"),
        *("[80]", "{a: b}", "", "yes", "8080 ", '"0"', '"65536"', '" 81 "', "2:15", "1e3x"),
    ),
    ("swap: {size: VALUE}", f"clients: {{{PC}: {{swap: {{size: VALUE}}}}}}"): (
        *("1GiB", "512 MiB", "512mib", "1.5g", "2x", "0.5x", "0", "0x", "0k", "1048576", "1m"),
        *("1GB", "1,5GiB", "200%", "2", "99999TiB", "-1GiB", "1000x", "1024k", "1023k", "0.5m"),
        *(
            "0.001g",
            "1.0005g",
            "1048577t",
            "1048576t",
            "1.5",
            "1KiBs",
            "1023.999k",
            "[1g]",
            "{}",
            "",
        ),
    ),
    ("swap: {capacity: VALUE}",): (
        *(
            "8GiB",
            "0",
            "4096",
            "1.5t",
            "1048576TiB",
            "1048576.5TiB",
            "1 G",
            "8GB",
            "1.5",
            "-1",
            "",
            "x",
        ),
    ),
    ("swap: {overcommit: VALUE}",): (
        *("1", "1.5", "99", "99.999", "1.0005", '"1.5"', "0", "0.5", "100", "1,5", "two", ""),
    ),
    ("swap: {ceiling: VALUE}",): (
        *(
            "20MiB/s",
            "4MiB/s",
            "4m / s",
            "none",
            "None",
            "5000000/s",
            "0.004g/s",
            "20MB/s",
            "20MiB",
        ),
        *("3MiB/s", "0.003g/s", "4095k/s", "4096k/s", "", "nothing"),
    ),
    ("http: {panel: VALUE}",): ("lan", "local", "off", "Lan", "yes", "false", "", "[lan]"),
    ("http: {panel_port: VALUE}",): ("8081", "1", "0", "65536", "", "a"),
    ("panel: {database: VALUE}",): (
        *(
            "''",
            "postgresql://a@b/c",
            "postgresql+psycopg://a:b@c/d",
            "postgres://a/b",
            "a",
            "1",
            "",
        ),
        *("sqlite:///a", "'postgresql://a b/c'", "[postgresql://a/b]"),
    ),
    (f"clients: {{{PC}: {{hostname: '1'}}}}\nroom: {{plan: VALUE}}",): (
        *("[]", "[['1']]", "[[1]]", "[['', 1, '']]", "[['']]", "[[]]", "['1,,']", "['1, ']", "[1]"),
        *("1", "", "{}", "[[[1]]]", "[[~]]", "[{a: b}]", "[['a b']]", "[[-a]]"),
    ),
    ("http: {rate: VALUE}",): (
        *("1Gbit", "100Mbit", "2.5 gbit/s", "400Gbit", "400.0Gbit", "none", "9999.9Mbit", "1Mbit"),
        *("400.1Gbit", "401Gbit", "0.5Mbit", "100Mbps", "100", "2.55Gbit", "10000Mbit", ""),
    ),
    ("swap: {timeout: VALUE}", "swap: {patience: VALUE}"): (
        *(
            "1",
            "3s",
            "3 s",
            "5m",
            "1h",
            "1H",
            '"3"',
            "0",
            "0s",
            "61m",
            "2h",
            "500ms",
            "1.5s",
            "never",
        ),
        *("3600", "3601", "604800", "604801", "7d", "8d", "", "-1s", "1e2s"),
    ),
    ("dhcp: {lease_time: VALUE}",): (
        "12h",
        "1m",
        "59s",
        "59",
        "60",
        "365d",
        "366d",
        "infinite",
        "0",
    ),
    ("root: {persist: VALUE}",): (
        *("none", "None", "16MiB", "16777215", "16777216", "2GiB", "2 g", "0", "0MiB", "2GB"),
        *("auto", "no", "1x", "", "1.5GiB", "15.999MiB", "1048576TiB", "1048577TiB", "[2GiB]"),
    ),
    ("boot: {vlan: VALUE}",): (
        *("none", "None", "1", "10", "4094", "0", "4095", "-1", "1.5", "yes", "", "[10]"),
    ),
    ("root: {changes: VALUE}",): (
        *("auto", "Auto", "16MiB", "16 mib", "16777216", "16777215", "15.999MiB", "0.016GiB", "0"),
        *(
            "0.015GiB",
            "512MB",
            "0x",
            "00x",
            "0.05x",
            "0.1x",
            "00.1x",
            "0.099x",
            "1x",
            "01x",
            "1.5 X",
        ),
        *("99.999x", "100x", "1.1234x", "-1x", "yes", "none", "", "[1x]", "1048576TiB", "16384k"),
    ),
    ("swap: {encrypt: VALUE}", "root: {verify: VALUE}"): (
        *(
            "yes",
            "No",
            "TRUE",
            "True",
            "off",
            "auto",
            "Auto",
            '"yes"',
            "1",
            "y",
            "maybe",
            "",
            "[yes]",
        ),
    ),
    ("swap: {discard: VALUE}", "dhcp: {beside: VALUE}"): (
        "yes",
        "oN",
        "false",
        "auto",
        "0",
        "n",
        "",
    ),
    ("swap: {connections: VALUE}",): ("1", "16", "0", "17", "two", '"16"', '"17"'),
    ("swap: {zswap: {pool_percent: VALUE}}",): ("1", "20", "50", "51", "60", "20%", '"50"'),
    ("swap: {zswap: {compressor: VALUE}}",): ("lz4", "LZ4", "lz5", "1", "", "[lz4]"),
    ("swap: {store: VALUE}",): (
        *("memory", "disk:/srv", "disk:/a b", '"disk: /srv"', "'tiered:/a,memory=8MiB'", "'null'"),
        *("'tiered:/a,memory=4m'", "'tiered:/a,memory=0.004g'", "'tiered:/a,memory=4194304'"),
        *("'tiered:/a,memory=3m'", "'tiered:/a,memory=0.003g'", "'tiered:/a,memory=4194303'"),
        *(
            "ssd",
            "disk",
            "'disk:'",
            "disk:srv",
            "tiered:/a",
            "'tiered:a,memory=8m'",
            "null",
            "Memory",
        ),
        *("'tiered:/a,memory=8MB'", "'disk:/a,memory=1m'", "tiered:,memory=8m", "", "1"),
        *("rbd:swap", "'rbd: swap'", "'rbd:a.b-c,namespace=room_1'", "rbd", "'rbd:'", "'rbd:a b'"),
        *("rbd:a/b", "rbd:-a", "'rbd:a,namespace='", "'rbd:a,size=1'", "'rbd:a ,namespace=b'"),
    ),
    (f"dhcp: {{{FULL}, router: VALUE}}", f"clients: {{{PC}: {{address: VALUE}}}}"): (
        *(
            "10.0.0.1",
            "255.255.255.255",
            *(
                "0.0.0.0",
                "1.0.0.0",
                "127.0.0.1",
                "126.9.9.9",
                "128.0.0.1",
                "223.1.1.1",
                "224.0.0.1",
            ),
            "010.0.0.1",
            "256.0.0.1",
            "10.0.0",
            "fe80::1",
            "10.0.0.1/24",
        ),
        *("pc.example", "10.0.0.1 10.0.0.2", "", "12", "'10.0.0.1 '"),
    ),
    (f"dhcp: {{{FULL}, dns: VALUE}}",): (
        *(
            "10.0.0.1",
            "[10.0.0.1]",
            '"10.0.0.1, 10.0.0.2"',
            "[]",
            "[10.0.0.1, 10.0.0.2]",
            "[fe80::1]",
        ),
        *("dns.example", "", '"10.0.0.1,"', "[[10.0.0.1]]", "{a: b}", '"10.0.0.1 10.0.0.2"'),
    ),
    ("dhcp: {mode: full, range: VALUE}",): (
        *(
            "10.0.0.50-10.0.0.99",
            "10.0.0.50 - 10.0.0.99",
            "10.0.0.50-99",
            *("0.0.0.5-0.0.0.9", "127.0.0.5-127.0.0.9", "224.0.0.5-224.0.0.9"),
            "126.255.255.250-127.0.0.9",
            "10.0.0.0/24",
            "10.0.0.50",
        ),
        *("10.0.0.50-10.0.0.99-10.0.0.100", "", "[10.0.0.50, 10.0.0.99]"),
    ),
    ("dhcp: {mode: VALUE}",): (
        "proxy",
        "Proxy",
        "yes",
        "[proxy]",
        "{a: b}",
        "",
        "1",
        "“proxy”",
        "full",
    ),
    ("dhcp: {domain: VALUE}",): (
        *(
            "school.example",
            "School.Example",
            "school",
            "12",
            "true",
            "-school",
            "a..b",
            "a_b",
            "é",
            "",
        ),
        *("a" * 63, "a" * 64, ".".join(["a" * 60] * 4), ".".join(["a" * 63] * 4)),
    ),
    ("dhcp: {networks: {VALUE: {}}}",): (
        *(
            "10.9.0.0/24",
            "10.9.0.0/30",
            "10.9.0.0/31",
            "10.9.0.0",
            "10.9.0.0/024",
            "x",
            "10.9.0.0/",
        ),
    ),
    (f"dhcp: {{{FULL}, client_ids: {{VALUE: 10.0.0.60}}}}",): (
        *("01:52:54:00:12:34:56", "'0152'", "ff", "xyz", "1", "01-02", "'01::02'", "0f:"),
    ),
    ("clients: {VALUE: {hostname: a}}",): (
        *("00:00:00:00:00:00", "0000.0000.0000", "'000000000000'", "00-00-00-00-00-01"),
        *(PC, f'"{PC}"', "52-54-00-12-34-56", "525400123456", "5254.0012.3456", "001e37aabb01"),
        *(
            "52:54:00-12:34:56",
            "52:54:00:12:34",
            "01:00:5e:12:34:56",
            "ff:ff:ff:ff:ff:ff",
            "x",
            "52:54:*",
        ),
        *("52:54:00:12:34:56:78", "5254:0012:3456", "515400123456", "'52 54 00 12 34 56'"),
    ),
    ("groups: {a: {match: VALUE}}",): (
        *("00:00:00:00:00:00", "'00:00:00:00:00:00, 52:*'", "'52:*, 00-00-00-00-00-00'", "00:00:*"),
        *(
            "'*'",
            f"'{PC}'",
            "'52:54:*'",
            "['52:54:*']",
            "'52:54:*, 52:55:*'",
            "'52-5*'",
            "[]",
            "'52:5:*'",
        ),
        *(
            "'00:1e'",
            "['00:1e']",
            "",
            "'52:54'",
            "'52:54:00:12:34:56*'",
            "'52:54:00:12:34:5*'",
            "{}",
        ),
    ),
    (f"clients: {{{PC}: {{hostname: VALUE}}}}",): (
        *(
            "pc-1",
            "PC",
            "'12'",
            "12",
            "true",
            "'{tail}'",
            "'a-{tail}-b'",
            "a" * 63,
            "a" * 64,
            "",
            "1",
        ),
        *(
            "café",
            "room 1",
            "pc_1",
            "pc.example",
            "-a",
            "a-",
            "'{tai}'",
            "'{}'",
            "[a]",
            "2024-01-01",
        ),
    ),
    ("groups: {a: {match: '52:*', hostname: VALUE}}",): (
        *("old", "'old-{tail}'", "'{tail}'", "", "12", "'old-{tai}'"),
    ),
    ("boot: {architectures: VALUE}",): (
        *(
            "amd64",
            "[amd64, i386]",
            '"amd64, i386"',
            "[]",
            '""',
            "x86_64",
            "[x86_64]",
            "[amd64, amd64]",
        ),
        *('"amd64, amd64"', '"i386,amd64 , i386"', "AMD64", "1", ""),
    ),
    ("boot: {kernel: VALUE}",): (
        *("linux-image-amd64", "/boot/vmlinuz", "vmlinuz", "", "'a b'", "/a b", "x", "true", "é"),
        *("linux-image-amd64/trixie", "linux/Trixie", "linux/sid", "linux/", "a/b/trixie"),
    ),
    ("boot: {raspberry_pi: VALUE}", "root: {image: VALUE}", "root: {kind: image, image: VALUE}"): (
        *("/srv/pi", "/srv/a b", "srv", "~/x", "", "'/'", "/é", "[/srv]", "1", "true"),
        *("Kiosk-1.2_b", ".a", "-a", "a/b", "a" * 40, "a" * 41, "kiosk@1", "' kiosk '"),
    ),
    ("root: {kind: nbd, image: VALUE}",): ("/srv/pi", "kiosk", "'/'", "1", "' /srv/pi '"),
    ("groups: {a: {match: '52:*', root: {kind: image, image: VALUE}}}",): (
        *("/srv/pi", "kiosk", ""),
    ),
    ("boot: {arguments: VALUE}",): (
        *("quiet", "'a b=c'", "12", "1.5", "true", "''", "", "[quiet]", "é", '"a\\nb"'),
    ),
    ("boot: {loader: VALUE}",): ("auto", "signed", "grub", "", "Auto"),
    ("interface: VALUE",): (
        *(
            "auto",
            "eth0",
            "[eth0, eth1]",
            '"eth0, eth1"',
            "12",
            "[]",
            "eth*",
            "a/b",
            "a" * 15,
            "a" * 16,
        ),
        *("", "'a b'", '"eth0,"'),
    ),
    ("ssh: {user: VALUE}",): ("root", "_x", "a.b", "Teacher", "1a", "", "a b", "true", "a" * 33),
    ("ssh: {key: VALUE}",): ("/k", "''", "", "é", "~/.ssh/id"),
    ("root: {kind: VALUE}",): ("ram", "nbd", "image", "nfs", "", "RAM", "{a: b}"),
    ("seat: {keyboard: VALUE}",): (
        *("de", "de(nodeadkeys)", "us(dvorak-alt-intl)", "no", "true", "DE", "de nodeadkeys"),
        *("de()", "d", "de(a'b)", "", "1", "[de]", "' fr '", "de,us"),
    ),
    ("seat: {locale: VALUE}",): (
        *("de_DE.UTF-8", "C.UTF-8", "ca_ES.UTF-8@valencia", "de_DE", "de", "de_DE.utf8", "C", ""),
    ),
    ("seat: {timezone: VALUE}",): (
        *("Europe/Berlin", "UTC", "America/Argentina/Buenos_Aires", "Etc/GMT+1", "EST5EDT"),
        *("europe/berlin", "Europe/", "../etc/passwd", "Europe/../X", "", "1", "+1"),
    ),
    ("seat: {start: VALUE}", f"clients: {{{PC}: {{seat: {{start: VALUE}}}}}}"): (
        *("auto", "kiosk", "none", "/usr/bin/xterm -e top", "/", "xterm", "Auto", "\"/a 'b'\"", ""),
        *("/a\\b", "true", "' kiosk '"),
    ),
    ("seat: {url: VALUE}",): (
        *("http://10.0.0.1/", "'https://a.example/x?y=1&z=$2#w'", "vnc://10.0.0.5:5901"),
        *("10.0.0.1", "http://", '"http://a/\'b"', "'http://a b'", "", "HTTP://a"),
        *("rdp://anna@a", "rdp://anna:b@a", "'vnc://:b@a'", "http://a/b:c@d", "'http://a?b:c@d'"),
    ),
    ("seat: {fingerprint: VALUE}",): (
        *(":".join(["4b"] * 32), "4B" * 32, "'" + ":".join(["00"] * 31) + "'", "4b" * 33, "", "no"),
    ),
    ("seat: {login: VALUE}",): ("guest", "local", "none", "ldap", "", "Guest"),
    ("seat: {home: VALUE}",): (
        *(
            "none",
            "seat",
            "nfs:10.0.0.1:/home",
            "nfs:nas.school.example:/srv/a_b/c.d",
            "nfs:nas:/",
            "' none '",
        ),
        *(
            "nfs:nas:/a/../b",
            "nfs:nas:/a,b",
            "nfs:nas:home",
            "nfs:nas:/a/",
            "nfs:",
            "10.0.0.1:/home",
        ),
        *(
            "nfs://10.0.0.1/home",
            "nfs4:a:/b",
            "/home",
            "",
            "None",
            "Seat",
            "nfs:-a:/b",
            "nfs:a:/'b'",
        ),
    ),
    ("seat: {screen: VALUE}",): (
        *("auto", "1024x768", "1920x1080", "1024", "1024*768", "1024x768x16", "x", "", "01024x768"),
    ),
    ("seat: {printers: VALUE}",): (
        *("10.0.0.5", "[cups.example]", "[10.0.0.5, 'ipp://10.0.0.9/ipp/print']", "[]", ""),
        *('"ipp://a/b, ipp://c/d"', "['ipp://a b']", "'socket://10.0.0.9:9100'", "ipp", "[-a]"),
    ),
    ("seat: {accounts: {anna: VALUE}}",): (
        *("$6$vwemE1GhKa.cyT8A$xAzWahK08BakUtal4Rg3p8nEv31ChtRhgKmqVRsCXDP0hsrZK5LX", "password"),
        *("$y$j9T$yxb1aWl2o0rlAlPA9pWLP1$WsHwGj0tWcbeZkdAdYvLLPjXL0LyjwuRjKaEEFYH9l6", "''", ""),
        *(
            "$1$vwemE1Gh$xAzWahK08BakUtal4Rg3p8",
            "$6$short",
            "'$6$a:b$xAzWahK08BakUtal4Rg3p8'",
            "{}",
        ),
    ),
    ("seat: {accounts: {VALUE: $6$vwemE1GhKa.cyT8A$xAzWahK08BakUtal4Rg3}}",): (
        *("anna", "_a-1", "Anna", "a.b", "a b", "1a", "a" * 32, "a" * 33),
    ),
    ("seat: {files: {VALUE: /srv/a}}",): (
        *("/etc/xdg/a.conf", "/opt/.x", "etc/a", "/", "/etc/../a", "/etc/.", "/run/a", "/tmp/x/y"),
        *("/running/a", "/a//b", "'/a b'", "/etc/", "/..a"),
    ),
    ("seat: {files: {/etc/a: VALUE}}",): ("/srv/a b", "a", "", "{}"),
    ("seat: {ntp: VALUE}",): (
        "10.0.0.1",
        "[ntp.example, 10.0.0.2]",
        "[]",
        "''",
        "'a b'",
        "-a",
        "12",
    ),
    ("vagrant: {clients: VALUE}",): ("1", "120", "0", "121", "x"),
    ("vagrant: {nic: VALUE}",): (
        "e1000",
        "[e1000, virtio]",
        '"e1000, virtio"',
        "e100",
        "[e100]",
        "",
    ),
    ("vagrant: {address: VALUE}",): (
        *("10.77.0.1/24", "10.77.0.1", "10.77.0.1/33", "10.77.0.1/31", "10.77.0.1/00", "x/24", ""),
    ),
}

# Whole files: their shape, and rules over several keys.
FILES = (
    *("", "# nothing\n", "   \n\n", "hello\n", "- dhcp\n", "1\n", "~\n", "{}\n", "[]\n"),
    *("dhcp:\nhttp:\n", "swap: 12\n", "swap: []\n", "swap: {zswap: }\n", "swapp: {size: 1GiB}\n"),
    *("swap: {zswap: {compresor: lz4}}\n", "DHCP: {mode: proxy}\n", "dhcp: {Mode: proxy}\n"),
    *(
        "clients:\n",
        "groups:\n",
        "clients: []\n",
        "groups: {a: }\n",
        "groups: {a: {hostname: b}}\n",
    ),
    *(f"clients: {{{PC}: }}\n", f"clients: {{{PC}: x}}\n", f"clients: {{{PC}: {{x: y}}}}\n"),
    f"clients: {{{PC}: {{boot: {{kernel: linux-image-amd64}}}}}}\n",
    f"clients: {{{PC}: {{swap: {{store: memory}}}}}}\n",
    *("dhcp: {mode: full}\n", "dhcp: {mode: full, range: }\n", f"dhcp: {{{FULL}}}\n"),
    *("dhcp: {networks: }\n", "dhcp: {client_ids: }\n", "dhcp: {mode: full, networks: {}}\n"),
    "dhcp: {mode: full, networks: {10.9.0.0/24: {}}}\n",
    "dhcp: {mode: full, networks: {10.9.0.0/24: }}\n",
    "dhcp: {mode: full, networks: {10.9.0.0/24: {range: }}}\n",
    "dhcp: {networks: {10.9.0.0/24: }}\n",
    "dhcp: {mode: full, networks: {10.9.0.0/24: {range: 10.9.0.10-10.9.0.20}}}\n",
    f"dhcp: {{{FULL}, networks: {{10.9.0.0/24: {{range: 10.9.0.10-10.9.0.20}}}}}}\n",
    f"dhcp: {{{FULL}, networks: {{10.9.0.0/24: {{}}}}}}\n",
    *("root: {kind: nbd}\n", "root: {kind: nbd, image: /a}\n", "root: {kind: nbd, image: }\n"),
    *("root: {kind: image, image: a}\n", "root: {kind: image}\n", "root: {image: kiosk}\n"),
    "root: {image: a}\ngroups: {a: {match: '52:*', root: {kind: image}}}\n",
    "groups: {a: {match: '52:*', root: {kind: nbd}}}\n",
    "groups: {a: {match: '52:*', root: {kind: nbd, image: /a}}}\n",
    "root: {image: /a}\ngroups: {a: {match: '52:*', root: {kind: nbd}}}\n",
    f"clients: {{{PC}: {{root: {{kind: nbd}}}}}}\n",
    f"root: {{image: /a}}\nclients: {{{PC}: {{root: {{kind: nbd}}}}}}\n",
    *("boot: {servers: []}\n", "boot: {servers: 10.0.0.1}\n", 'boot: {servers: "10.0.0.1,"}\n'),
    *("boot: {servers: [10.0.0.1, 10.0.0.2]}\n", 'boot: {servers: "10.0.0.1, 10.0.0.2"}\n'),
    *("boot: {servers: [10.0.0.1, 10.0.0.1]}\n", 'boot: {servers: "10.0.0.1, 10.0.0.1"}\n'),
    'boot: {servers: "10.0.0.1, 10.0.0.2, 10.0.0.3"}\n',
    *("swap: {servers: [10.0.0.1, 10.0.0.1]}\n", 'swap: {servers: "10.0.0.1, 10.0.0.1"}\n'),
    *("swap: {servers: []}\n", "swap: {servers: 10.0.0.1}\n", "swap: {layout: stripe}\n"),
    *(
        f"swap: {{servers: [{', '.join(f'10.0.0.{n}' for n in range(1, top))}]}}\n"
        for top in (33, 34)
    ),
    *(
        f'swap: {{servers: "{", ".join(f"10.0.0.{n}" for n in range(1, top))}"}}\n'
        for top in (33, 34)
    ),
    *("swap: {layout: mirror}\n", "swap: {layout: mirror, servers: [10.0.0.1]}\n"),
    "swap: {layout: mirror, servers: [10.0.0.1, 10.0.0.2]}\n",
    'swap: {layout: mirror, servers: "10.0.0.1, 10.0.0.2"}\n',
    'swap: {layout: mirror, servers: "10.0.0.1, 10.0.0.2, 10.0.0.3"}\n',
    "swap: {layout: mirror, servers: [10.0.0.1, 10.0.0.2, 10.0.0.3]}\n",
    "swap: {layout: stripe, servers: [10.0.0.1, 10.0.0.2, 10.0.0.3]}\n",
    *(
        f"swap: {{layout: {layout}, servers: {quote % ', '.join(f'10.0.0.{n}' for n in range(1, top))}}}\n"
        for layout in ("stripe", "mirror", "spread")
        for quote in ("[%s]", '"%s"')
        for top in (9, 10)
    ),
    *(
        f"swap: {{servers: [10.0.0.1, 10.0.0.2], layout: {layout}, grow: {grow}}}\n"
        for layout in ("spread", "stripe", "mirror")
        for grow in ("0", '"0"', "2", '"2"')
    ),
    *(
        f"swap: {{store: {store}, servers: {servers}, layout: any, grow: {grow}}}\n"
        for store in ("'rbd:a'", "'rbd:a,namespace=b'", "' rbd:a'", "memory", "null")
        for servers in ("[10.0.0.1, 10.0.0.2]", "10.0.0.1", '"10.0.0.1, 10.0.0.2"', "[]")
        for grow in (0, 1)
    ),
    *("swap: {layout: any}\n", "swap: {servers: [10.0.0.1, 10.0.0.2], layout: any}\n"),
    "swap: {servers: 10.0.0.1, layout: stripe}\ngroups: {a: {match: '52:*', swap: {grow: 1}}}\n",
    f"swap: {{servers: 10.0.0.1, layout: stripe}}\nclients: {{{PC}: {{swap: {{grow: 1}}}}}}\n",
    "swap: {servers: 10.0.0.1}\ngroups: {a: {match: '52:*', swap: {grow: 1}}}\n",
    f"swap: {{servers: 10.0.0.1}}\nclients: {{{PC}: {{swap: {{grow: 1}}}}}}\n",
    f"swap: {{servers: []}}\nclients: {{{PC}: {{swap: {{grow: 1}}}}}}\n",
    *("http: {port: 10809}\n", "swap: {port: 8080}\n", "http: {port: 10809}\nswap: {port: 8080}\n"),
    *("swap: {grow: 3}\n", "swap: {grow: 4}\n", "swap: {grow: -1}\n"),
    "groups: {a: {match: ['52:*', '53:*'], hostname: old}}\n",
    f"groups: {{a: {{match: ['{PC}'], hostname: old}}}}\n",
    f"groups: {{a: {{match: '{PC}', hostname: old}}}}\n",
    f"groups: {{a: {{match: ['{PC}', '52:54:00:12:34:57'], hostname: old}}}}\n",
    f"groups: {{a: {{match: '{PC}, 52:54:00:12:34:57', hostname: old}}}}\n",
    "groups: {a: {match: '*', swap: {size: 0}}}\n",
)

# What no JSON Schema can tell, and profiles of that kind: check refuses them, or an editor does.
EXCEPTIONS = {
    "two values are compared": (
        "http: {port: 99}\nswap: {port: 99}",
        "dhcp: {mode: full, range: 10.0.0.99-10.0.0.50}",
        "dhcp: {mode: full, range: 10.0.0.1-10.255.255.254}",
        f"dhcp: {{{FULL}, router: 10.0.0.60}}",
        f"dhcp: {{{FULL}, networks: {{10.0.0.0/24: {{range: 10.0.0.60-10.0.0.70}}}}}}",
        f"dhcp: {{{FULL}, networks: {{10.9.0.0/24: {{range: 10.8.0.60-10.8.0.70}}}}}}",
        f"dhcp: {{{FULL}, router: 10.0.0.1}}\nclients: {{{PC}: {{address: 10.0.0.1}}}}",
        f"clients: {{{PC}: {{hostname: a}}, 52:54:00:12:34:57: {{hostname: A}}}}",
        f"clients: {{{PC}: {{address: 10.0.0.1}}, 52:54:00:12:34:57: {{address: 10.0.0.1}}}}",
        f"clients: {{{PC}: {{hostname: a}}, 52-54-00-12-34-56: {{hostname: b}}}}",
        "swap: {capacity: 1GiB, size: 2GiB}",
        "http: {panel_port: 8080}",
        "http: {panel_port: 10809}",
        "http: {port: 99, panel_port: 99}",
        "room: {plan: [[a]]}",
        f"clients: {{{PC}: {{hostname: a}}}}\nroom: {{plan: [[a, a]]}}",
    ),
    "several values are counted": (
        "seat: {printers: [10.0.0.5, 10.0.0.6]}",
        f"seat: {{files: {{{', '.join(f'/etc/f{n}: /srv/a' for n in range(65))}}}}}",
    ),
    "an address is computed": (
        "dhcp: {networks: {10.9.0.5/24: {}}}",
        "vagrant: {address: 10.77.0.0/24}",
        "vagrant: {address: 10.77.0.255/24}",
    ),
    "a client has keys of the groups that match its MAC address": (
        f"groups: {{a: {{match: '53:*'}}}}\nclients: {{{PC}: {{root: {{kind: nbd}}}}}}",
        "root: {image: /a}\ngroups: {a: {match: '52:*', root: {kind: nbd, image: }}}",
    ),
    "a root has keys of another section": (
        "root: {image: a}\ngroups: {a: {match: '52:*', root: {kind: nbd}}}",
        "root: {image: /a}\ngroups: {a: {match: '52:*', root: {kind: image}}}",
        f"root: {{kind: image, image: a}}\nclients: {{{PC}: {{root: {{image: /a}}}}}}",
    ),
    "an editor sees a number, not how it is written": (
        *("http: {port: 0755}", "http: {port: 8080.0}", "http: {port: 0x50}", "http: {port: 1e3}"),
        *("swap: {timeout: 007}", "swap: {size: 1048576.0}", "swap: {overcommit: 01}"),
        *("boot: {kernel: 6.1}", "groups: {a: {match: 515400123456}}"),
        *("dhcp: {domain: 1.}", "http: {port: +80}"),
    ),
    "YAML allows more than a profile": (
        *("swap: {grow: 1}\nswap: {grow: 1}", "swap: &a {grow: 1}", "swap: {grow: !!str 1}"),
        "groups:\n  a: &a {match: '52:*'}\n  b: *a",
    ),
    "white space inside quotes around a name of a table": (
        *('root: {kind: " ram"}', 'boot: {architectures: ["amd64 "]}'),
    ),
}

PROFILES = list(
    dict.fromkeys(
        [
            place.replace("VALUE", text)
            for places, texts in SPELLINGS.items()
            for place in places
            for text in texts
        ]
        + list(FILES)
    )
)


def test_there_are_enough_profiles_of_both_kinds() -> None:
    right = sum(map(checked, PROFILES))
    assert len(PROFILES) > 600 and 250 < right < len(PROFILES) - 250


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(profile_file.schema())


def test_check_and_schema_agree_on_each_profile() -> None:
    different = []
    for text in PROFILES:
        try:
            said = underlined(text)
        except yaml.YAMLError:
            assert not checked(text), text
            continue
        if checked(text) == bool(said):
            different.append(
                f"{text!r}: check {'takes' if checked(text) else 'refuses'} it; {said}"
            )
    assert not different, "\n".join(different)


@pytest.mark.parametrize("reason", EXCEPTIONS)
def test_what_a_schema_cannot_tell(reason: str) -> None:
    """An exception that is none any more leaves the list."""
    agreed = [text for text in EXCEPTIONS[reason] if checked(text) != bool(underlined(text))]
    assert not agreed


KINDS: dict[str, Text[Any]] = {
    "mac": values.MAC,
    "mac pattern": values.MAC_PATTERN,
    "hostname": values.HOSTNAME,
    "hostname pattern": values.HOSTNAME_PATTERN,
    "size": values.SIZE,
    "boolean": values.BOOLEAN,
    "address": values.ADDRESS,
    "integer": values.integer(64, 65536),
    "duration": values.duration("1m", "7d", "10m"),
    "rate": values.rate("4MiB", "20MiB/s"),
    "bit rate": values.bit_rate("1Mbit", "400Gbit", "1Gbit"),
    **{
        name: getattr(fields, name).__metadata__[0]
        for name in ("SizeOrTimes", "Factor", "Kernel", "Arguments", "InterfaceName", "Domain")
        + ("ClientId", "UserName", "RootImage", "Store")
    },
}
PIECES = (
    *"0123456789 .:,-/*{}aAbBfFxXkKmMgGtTsShdib_é\n",
    *("tail", "{tail}", "52:54", "iB", "bit", "none", "/s", "disk:/", "memory", "10.0.0.1", "255"),
    *("1024", "1048576", "65536", "true", "OFF", "a" * 30, "00:1e:37:aa:bb:cc"),
)


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=25)
@given(data=st.data())
def test_the_expression_of_a_kind_takes_what_its_reader_takes(
    name: str, data: st.DataObject
) -> None:
    kind = KINDS[name]
    (string,) = [row for row in kind.schema.get("anyOf", [kind.schema]) if "pattern" in row]
    pattern = re.compile(string["pattern"])
    seed = data.draw(st.one_of(st.just(""), st.from_regex(pattern)))
    pieces = data.draw(st.lists(st.sampled_from(PIECES), max_size=3))
    place = data.draw(st.integers(0, len(seed)))
    for text in (
        seed,
        seed[:place] + "".join(pieces) + seed[place + data.draw(st.integers(0, 2)) :],
    ):
        try:
            kind.parse(text)
        except reading.Unreadable:
            assert not pattern.search(text), text
        else:
            assert pattern.search(text), text


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**7))
def test_numbers_between_two(first: int, last: int, number: int) -> None:
    found = re.fullmatch(patterns.between(first, last), str(number))
    assert (found is not None) == (first <= number <= last)
