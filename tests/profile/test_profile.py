"""The settings that a profile gives each PC, and tests that shipped files agree with the code."""

import json
import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from netboot.errors import OperatorError
from netboot.profile import roots
from netboot.profile.fields import AddressRange, Section, SwapSize
from netboot.profile.file import load, parse, schema
from netboot.profile.profile import Profile
from netboot.profile.sections import Dhcp, Swap
from tests import ROOT

LAB = ROOT / "profiles" / "lab.yaml"
MAC = "52:54:00:12:34:56"
MIB = 1 << 20


def test_profile_defaults_from_an_empty_file() -> None:
    assert parse("", "f") == parse("swap:\nclients:\ngroups:\n", "f") == Profile()


def test_seat_without_entry_has_the_rooms_settings() -> None:
    profile = Profile()
    seat = profile.seat_of(MAC)
    assert (seat.mac, seat.hostname, seat.address) == (MAC, "pc-123456", None)
    assert (seat.boot, seat.root, seat.swap) == (profile.boot, profile.root, profile.swap)


GROUPS = """
boot: {arguments: quiet, on_failure: reboot}
swap: {size: 1GiB, port: 4000, zswap: {compressor: zstd, pool_percent: 30}}
groups:
  all: {match: "*", swap: {size: 3x, zswap: {pool_percent: 10}}}
  row: {match: [52-54-00-*, 02:00:00:00:00:01], hostname: "row-{tail}", swap: {size: 0}}
clients:
  5254.0012.3456: {hostname: teacher, address: 10.0.0.9, boot: {arguments: ""}}
  02:00:00:00:00:01: {swap: {zswap: {enabled: off}}}
"""


def test_seat_is_profile_then_groups_in_order_then_client() -> None:
    profile = parse(GROUPS, "f")

    teacher = profile.seat_of(MAC)
    assert (teacher.hostname, teacher.address) == ("teacher", IPv4Address("10.0.0.9"))
    assert (teacher.boot.arguments, teacher.boot.on_failure) == ("", "reboot")
    assert teacher.swap.size == SwapSize(bytes=0)

    pupil = profile.seat_of("02:00:00:00:00:01")
    assert pupil.hostname == "row-000001"
    zswap = pupil.swap.zswap
    assert (zswap.enabled, zswap.compressor, zswap.pool_percent) == (False, "zstd", 10)

    guest = profile.seat_of("02:00:00:00:00:02")
    assert guest.hostname == "pc-000002"
    assert (guest.swap.size, guest.swap.port) == (SwapSize(times_ram=3.0), 4000)
    assert guest.boot == profile.boot


def test_what_is_a_seats_own_is_merged_key_by_key() -> None:
    profile = parse(
        """
seat: {keyboard: de(nodeadkeys), locale: de_DE.UTF-8, printers: 10.0.0.5}
groups: {row: {match: "52:54:*", seat: {start: kiosk, url: "http://10.0.0.1/", keyboard: fr}}}
clients: {52:54:00:12:34:56: {seat: {start: desktop, printers: []}}}
""",
        "f",
    )
    own = profile.seat_of(MAC).own
    assert (own.keyboard, own.locale, own.timezone) == ("fr", "de_DE.UTF-8", "UTC")
    assert (own.start, own.url, own.printers) == ("desktop", "http://10.0.0.1/", ())
    assert profile.seat_of("02:00:00:00:00:01").own == profile.seat


HASH = "$6$vwemE1GhKa.cyT8A$xAzWahK08BakUtal4Rg3p8nEv31ChtRhgKmqVRsCXDP0hsrZK5LX"


def test_no_listing_of_a_profile_shows_a_hash() -> None:
    profile = parse(f"seat: {{accounts: {{anna: {HASH}}}}}", "f")
    assert profile.seat_of(MAC).own.accounts == {"anna": HASH}
    assert HASH not in repr(profile) + repr(profile.seat_of(MAC))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "seat: {accounts: {anna: geheim}}",
            (
                "f:1: key 'seat.accounts.anna': expected the hash of a password, not the password; "
                "make one with 'mkpasswd'"
            ),
        ),
        (
            "seat: {accounts: anna:geheim}",
            "f:1: key 'seat.accounts': expected pairs of a name and a hash",
        ),
        (
            "seat: {home: 10.0.0.1:/home}",
            (
                "f:1: key 'seat.home': expected none, seat, or an NFS export such as "
                "nfs:10.0.0.1:/srv/homes, found '10.0.0.1:/home'; did you mean 'nfs:10.0.0.1:/home'?"
            ),
        ),
        (
            "seat: {home: nfs}",
            (
                "f:1: key 'seat.home': expected none, seat, or an NFS export such as "
                "nfs:10.0.0.1:/srv/homes, found 'nfs'"
            ),
        ),
        (
            "root: {kind: image, image: a}\nseat: {home: seat}",
            (
                "f:2: key 'seat.home': seat needs an area in which the PC keeps files; set "
                "root.persist: 2GiB"
            ),
        ),
        (
            (
                "root: {kind: image, image: a, persist: 1GiB}\n"
                "groups: {g: {match: 52:*, root: {persist: none}, seat: {home: seat}}}"
            ),
            (
                "f:2: key 'groups.g.seat.home': seat needs an area in which the PC keeps files; set "
                "groups.g.root.persist: 2GiB"
            ),
        ),
        (
            "seat: {locale: de_DE}",
            (
                "f:1: key 'seat.locale': expected a locale such as de_DE.UTF-8, found 'de_DE'; "
                "did you mean 'de_DE.UTF-8'?"
            ),
        ),
        (
            "seat: {printers: [a, b]}",
            "f:1: key 'seat.printers': expected at most one CUPS server; the others need a URI",
        ),
    ],
)
def test_a_mistake_in_what_is_a_seats_own_is_one_line_without_a_password(
    text: str, message: str
) -> None:
    with pytest.raises(OperatorError) as caught:
        parse(text, "f")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("size", "ram", "expected"),
    [
        (SwapSize(times_ram=2.0), 256 * MIB, 512 * MIB),
        (SwapSize(times_ram=1.5), 4097, 8192),
        (SwapSize(bytes=MIB + 1), 1, MIB + 4096),
        (SwapSize(bytes=0), 256 * MIB, 0),
    ],
)
def test_swap_is_whole_pages(size: SwapSize, ram: int, expected: int) -> None:
    assert Swap(size=size).bytes_for(ram) == expected


@pytest.mark.parametrize(
    ("layout", "expected"), [("spread", 3 * MIB), ("stripe", MIB + 4096), ("mirror", 3 * MIB)]
)
def test_what_of_a_pc_is_on_each_server(layout: str, expected: int) -> None:
    servers = "[10.0.0.1, 10.0.0.2" + ("]" if layout == "mirror" else ", 10.0.0.3]")
    size, capacity = 3 * MIB + (1 if layout == "stripe" else 0), expected
    text = f"swap: {{servers: {servers}, layout: {layout}, size: {size}, capacity: {capacity}}}"
    assert parse(text, "f").swap.area_bytes_for(1) == expected


NETWORK = {"eth0": IPv4Network("10.0.0.0/24"), "eth1": IPv4Network("10.9.0.0/16")}


@pytest.mark.parametrize(
    ("first", "last", "router", "complaint"),
    [
        ("10.0.0.50", "10.0.0.99", "10.0.0.1", ""),
        ("10.9.1.0", "10.9.2.0", None, ""),
        (
            "10.0.0.50",
            "10.0.1.99",
            None,
            "key 'dhcp.range': 10.0.0.50-10.0.1.99 is not in a network",
        ),
        ("10.0.0.50", "10.0.0.255", None, "key 'dhcp.range'"),
        ("10.0.0.50", "10.0.0.99", "10.9.0.1", "key 'dhcp.router': 10.9.0.1 is not in a network"),
    ],
)
def test_check_networks(first: str, last: str, router: str | None, complaint: str) -> None:
    pool = AddressRange(first=IPv4Address(first), last=IPv4Address(last))
    gateway = None if router is None else IPv4Address(router)
    profile = Profile(dhcp=Dhcp(mode="full", range=pool, router=gateway))
    if not complaint:
        profile.check_networks(NETWORK)
        return
    with pytest.raises(OperatorError) as caught:
        profile.check_networks(NETWORK)
    assert str(caught.value).startswith(complaint)
    assert "10.0.0.0/24 of eth0, 10.9.0.0/16 of eth1" in str(caught.value)


def test_check_networks_covers_clients_and_only_full_mode() -> None:
    text = "dhcp: {mode: full, range: 10.0.0.50-10.0.0.99}\n"
    text += f"clients: {{{MAC}: {{address: 8.8.8.8}}}}"
    with pytest.raises(
        OperatorError, match=rf"^key 'clients.{MAC}.address': 8.8.8.8 is not in a network"
    ):
        parse(text, "f").check_networks(NETWORK)
    parse(text, "f", ["dhcp.mode=proxy"]).check_networks(NETWORK)


def keys(node: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted name and the description of every key in the JSON Schema."""
    if "$ref" in node:
        node = schema()["$defs"][node["$ref"].rpartition("/")[2]]
    for name, below in node.get("properties", {}).items():
        yield f"{above}{name}", below.get("description", "")
        yield from keys(below, f"{above}{name}.")
    for below in node.get("patternProperties", {}).values():
        yield from keys(below, f"{above}*.")
    if isinstance(node.get("additionalProperties"), dict):
        yield from keys(node["additionalProperties"], f"{above}*.")


KEYS = dict(keys(schema()))


def test_schema_describes_every_key() -> None:
    assert {"swap.zswap.pool_percent", "groups.*.match", "clients.*.swap.size"} <= set(KEYS)
    assert [key for key, description in KEYS.items() if not description.endswith(".")] == []


def test_schema_names_the_defaults_that_count() -> None:
    defaults = {
        key: default[1]
        for key, description in KEYS.items()
        if (default := re.search(r"Default: (\S+)\.$", description)) and "*" not in key
    }
    assert len(defaults) > 10
    assert parse("", "f", [f"{key}={text}" for key, text in defaults.items()]) == Profile()


def test_schema_file_for_editors_is_current() -> None:
    shipped = json.loads((ROOT / "profiles" / "profile.schema.json").read_text())
    assert shipped == schema(), "run: netboot schema > profiles/profile.schema.json"


def test_documentation_names_every_key() -> None:
    text = (ROOT / "docs" / "reference" / "profile.md").read_text()
    sections = {key for key in KEYS if any(other.startswith(f"{key}.") for other in KEYS)}
    leaves = {key for key in KEYS if key not in sections and key.count("*") == 0}
    entries = {key for key in KEYS if re.fullmatch(r"(groups|clients)\.\*\.\w+", key)}
    written = {re.sub("NAME|MAC", "*", name) for name in re.findall(r"`([a-zA-Z_.]+)`", text)}
    assert leaves | entries <= written


def test_the_plan_has_the_names_of_clients_and_of_their_groups() -> None:
    profile = parse(
        f"groups: {{row: {{match: '52:*', hostname: 'row-{{tail}}'}}}}\nclients: {{{MAC}: }}\n"
        "room: {plan: [['', row-123456], ',,']}\n",
        "f",
    )
    assert profile.room.plan == (("", "row-123456"), ("", "", ""))


def test_a_port_of_before_costs_the_panel_and_not_the_room() -> None:
    assert parse("http: {port: 8081}", "f").doubts == (
        "key 'http.panel_port': 8081 is already the value of http.port; there is no panel",
    )
    assert parse("http: {port: 8081, panel: off}", "f").doubts == ()


def test_the_password_of_a_database_is_seen_by_nobody() -> None:
    profile = parse("panel: {database: 'postgresql://netboot:hushhush@10.0.0.5/netboot'}", "f")
    assert profile.has_password and "hushhush" not in repr(profile)
    assert parse(
        "panel: {database: 'postgresql://netboot@h/n?password=hushhush'}", "f"
    ).has_password
    for wrong in ("postgresql://u:hushhush@[bad/x", "postgresql://u:hushhush@h:99x/x"):
        with pytest.raises(OperatorError) as found:
            parse(f"panel: {{database: '{wrong}'}}", "f")
        assert "panel.database" in str(found.value) and "hushhush" not in str(found.value)
    assert not parse("panel: {database: 'postgresql://netboot@10.0.0.5/netboot'}", "f").has_password


def test_lab_profile_loads_and_is_for_a_lan_with_a_router() -> None:
    profile = load(LAB)
    assert (profile.interface, profile.dhcp.mode) == (("auto",), "proxy")
    assert profile == Profile()


def test_lab_profile_shows_every_key_and_its_examples_are_right() -> None:
    names = {name for key in KEYS for name in key.split(".")} | {"old-row", "192.168.2.0/24", MAC}
    text = re.sub(
        rf"(?m)^( *)# ( *(?:{'|'.join(map(re.escape, names - {'*'}))}):)", r"\1\2", LAB.read_text()
    )
    profile = parse(text, "lab.yaml")
    assert profile.dhcp.range and profile.swap.capacity and profile.groups and profile.clients
    given = set(_given(profile))
    partial = re.compile(
        r"(groups|clients)\.\*\.(boot|root|swap|ssh|seat)\..*"
    )  # sections shown above
    assert {key for key in KEYS if not partial.fullmatch(key)} - given == set()


def _given(section: Section, above: str = "") -> Iterator[str]:
    for name in section.model_fields_set:
        value = getattr(section, name)
        yield f"{above}{name}"
        if isinstance(value, Section):
            yield from _given(value, f"{above}{name}.")
        elif isinstance(value, dict):
            for below in value.values():
                if isinstance(below, Section):
                    yield from _given(below, f"{above}{name}.*.")


FULL = "dhcp: {mode: full, range: 10.0.0.50-10.0.0.99"


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ("networks: {10.9.0.1/24: {range: 10.9.0.5-10.9.0.9}}", "did you mean '10.9.0.0/24'"),
        ("networks: {10.9.0.0/31: {range: 10.9.0.0-10.9.0.1}}", "expected a network"),
        (
            "networks: {10.9.0.0/24: {range: 10.8.0.5-10.8.0.9}}",
            "is not inside the network 10.9.0.0/24",
        ),
        ("networks: {10.9.0.0/24: {range: 10.9.0.5-10.9.0.9, router: 10.9.0.7}}", "outside"),
        ("networks: {10.9.0.0/24: {range: 10.9.0.5-10.9.0.9, router: 10.8.0.1}}", "is not inside"),
        ("networks: {10.0.0.0/24: {range: 10.0.0.5-10.0.0.9}}", "contains dhcp.range"),
        ("client_ids: {0102: 10.0.0.7, 0103: 10.0.0.7}", "is already the address of 0102"),
        ("client_ids: {xy: 10.0.0.7}", "expected a client identifier"),
        ("domain: -", "expected a domain"),
    ],
)
def test_networks_and_client_ids_are_checked(more: str, complaint: str) -> None:
    with pytest.raises(OperatorError, match=re.escape(complaint)):
        parse(f"{FULL}, {more}}}", "f")


def test_a_network_of_full_mode_needs_a_range_and_one_of_proxy_mode_does_not() -> None:
    with pytest.raises(OperatorError, match="missing key 'range'"):
        parse("dhcp: {mode: full, networks: {10.9.0.0/24: {}}}", "f")
    (network,) = parse("dhcp: {networks: {10.9.0.0/24: {}}}", "f").dhcp.networks
    assert network == IPv4Network("10.9.0.0/24")


def test_networks_alone_are_enough_for_full_mode() -> None:
    text = "dhcp: {mode: full, networks: {10.9.0.0/24: {range: 10.9.0.5-10.9.0.9}}}"
    profile = parse(f"{text}\nclients: {{{MAC}: {{address: 10.9.0.3}}}}", "f")
    profile.check_networks(NETWORK)
    stray = parse(f"{FULL}, client_ids: {{0102: 10.8.0.3}}}}", "f")
    with pytest.raises(OperatorError, match="dhcp.client_ids.0102"):
        stray.check_networks({"eth0": IPv4Network("10.0.0.0/24")})


def test_ceilings_differ_from_seat_to_seat() -> None:
    profile = parse(
        f"swap: {{ceiling: 20MiB/s}}\nclients:\n  {MAC}:\n    swap: {{ceiling: none}}", "f"
    )
    assert profile.seat_of("52:54:00:00:00:01").swap.ceiling == 20 << 20
    assert profile.seat_of(MAC).swap.ceiling is None


def test_root_kinds_are_those_of_the_table() -> None:
    for kind, row in roots.BY_NAME.items():
        image = "kiosk" if row.named else "/srv/root.squashfs"
        assert parse("", "f", [f"root.kind={kind}", f"root.image={image}"]).root.kind == kind


def test_root_images_are_those_of_all_pcs() -> None:
    profile = parse(
        "root: {image: /a}\n"
        "groups:\n  old:\n    match: 52:*\n    root: {kind: nbd}\n"
        f"clients:\n  {MAC}:\n    root: {{image: /b}}",
        "f",
    )
    assert profile.images == {"/a", "/b"}
    assert (profile.seat_of(MAC).root.kind, profile.seat_of(MAC).root.image) == ("nbd", "/b")


def test_groups_and_clients_may_boot_different_root_images() -> None:
    profile = parse(
        "root: {kind: image, image: kiosk}\n"
        "groups:\n"
        "  old: {match: '52:54:*', root: {image: thin}}\n"
        "  own: {match: '52:55:*', root: {kind: nbd, image: /a}}\n"
        "  ram: {match: '52:56:*', root: {kind: ram, image: unused}}\n"
        f"clients:\n  {MAC}: {{root: {{image: Room-1.2_b}}}}",
        "f",
    )
    assert profile.image_names == {"kiosk", "thin", "Room-1.2_b"} and profile.images == {"/a"}
    assert profile.seat_of(MAC).root.image == "Room-1.2_b"
    assert profile.seat_of("52:54:00:00:00:09").root.image == "thin"
    assert profile.seat_of("52:55:00:00:00:09").encrypts, "its users are not root"


def test_images_with_a_login_window_are_those_of_pcs_where_users_log_in() -> None:
    profile = parse(
        "root: {kind: image, image: kiosk}\n"
        "groups:\n"
        "  old: {match: '52:54:*', root: {image: desktop}, seat: {login: local}}\n"
        "  console: {match: '52:55:*', root: {image: text}, seat: {login: local, start: none}}\n"
        "  own: {match: '52:56:*', root: {kind: nbd, image: /a}, seat: {login: local}}\n"
        f"clients:\n  {MAC}: {{root: {{image: viewer}}, seat: {{login: local}}}}",
        "f",
    )
    assert profile.login_images == {"desktop", "viewer"}
    assert parse("root: {kind: image, image: kiosk}", "f").login_images == frozenset()


@pytest.mark.parametrize(
    ("dhcp", "keys"),
    [
        ("mode: proxy, lease_time: 12h, networks: {10.9.0.0/24: {}}, beside: yes", ""),
        ("mode: proxy, range: 10.0.0.5-10.0.0.9, dns: 10.0.0.1", "'dhcp.range', 'dhcp.dns'"),
        ("mode: proxy, lease_time: 1h", "'dhcp.lease_time'"),
        (
            "networks: {10.9.0.0/24: {router: 10.9.0.1}}",
            "'dhcp.networks.10.9.0.0/24.router'",
        ),
        ("mode: full, range: 10.0.0.5-10.0.0.9, dns: 10.0.0.1", ""),
    ],
)
def test_keys_that_proxy_mode_does_not_use_are_one_line(dhcp: str, keys: str) -> None:
    doubts = parse(f"dhcp: {{{dhcp}}}", "f").doubts
    assert len(doubts) == (1 if keys else 0)
    assert not keys or doubts[0].endswith(f": {keys}")


def test_what_a_pc_would_keep_needs_an_image() -> None:
    text = (
        "root: {persist: 64MiB}\ngroups: {a: {match: '52:54:*', root: {kind: image, image: kiosk}}}"
    )
    assert parse(text, "f").doubts == (
        "not used with root kind ram, which has no image: 'root.persist'",
    )


def test_a_key_that_another_dhcp_server_decides_on_is_told() -> None:
    keys = "beside: yes, range: 10.0.0.5-10.0.0.9"
    text = f"dhcp: {{mode: none, {keys}}}\nboot: {{loader: signed}}\n"
    text += "clients: {'52:54:00:00:00:01': {boot: {loader: auto}}}\n"
    first, second = parse(text, "f").doubts
    told = "not used with dhcp.mode none, where the LAN's DHCP server"
    assert first == f"{told} gives out addresses: 'dhcp.range', 'dhcp.beside'"
    assert second == f"{told} names one loader for all: 'clients.52:54:00:00:00:01.boot.loader'"
    assert parse("dhcp: {mode: none}\nboot: {loader: signed}\n", "f").doubts == ()


def test_vlans_are_told_by_their_side() -> None:
    text = (
        "boot: {vlan: 10}\nswap: {encrypt: no}\ngroups: {a: {match: '52:54:*', boot: {vlan: none}}}"
    )
    (line,) = parse(text, "f").explained
    assert line.startswith("boot.vlan: the PC itself puts the tag of VLAN 10 on its frames")
    assert parse(text, "f").tags and not Profile().tags
    one = "clients: {'52:54:00:00:00:01': {boot: {vlan: 10}}}"
    assert parse(one, "f").tags, "one PC decides on the frames of all"
