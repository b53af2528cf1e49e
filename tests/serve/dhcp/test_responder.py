"""Our answers to clients made by scapy, read back by scapy; and mistakes that peers have made."""

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.boot.client import STORM_MACS, Client, played_mac
from netboot.boot.plan import BootPlan, SeatKeys, boot_plan
from netboot.errors import Ignored
from netboot.profile.fields import AddressRange
from netboot.profile.profile import Profile
from netboot.profile.sections import Boot, Dhcp, DhcpNetwork
from netboot.serve.dhcp import record
from netboot.serve.dhcp.answer import Claim, Context, Reply
from netboot.serve.dhcp.packet import HEADER, MAGIC_COOKIE, parse, serialize
from netboot.serve.dhcp.responder import respond
from netboot.serve.dhcp.scope import make_scopes
from tests.support.pxe_client import BIOS, MACHINE, UEFI_X64, UEFI_X64_HTTP, PxeClient, decode

US = IPv4Address("10.0.0.1")
OTHER_SERVER = "10.0.0.2"
FIRST = IPv4Address("10.0.0.50")
RANGE = AddressRange(first=FIRST, last=FIRST + 9)
GUID = b"\x00" + MACHINE.bytes
NOW = 1000.0
HOME = IPv4Network("10.0.0.0/24")
NEAR = [HOME, IPv4Network("10.9.0.0/24")]

BOOT = Boot(raspberry_pi="/srv/raspberry-pi", architectures=("amd64", "arm64"))
PROXY = Profile(boot=BOOT, dhcp=Dhcp(mode="proxy"))
FULL = Profile(
    boot=BOOT,
    dhcp=Dhcp(
        mode="full",
        range=RANGE,
        router=IPv4Address("10.0.0.254"),
        dns=(IPv4Address("9.9.9.9"), IPv4Address("1.1.1.1")),
        ntp=(IPv4Address("10.0.0.253"),),
        domain="school.example",
        lease_time=600,
    ),
)

CLIENTS = {
    "BIOS": (PxeClient(arch=BIOS), b"undionly.kpxe"),
    "UEFI": (PxeClient(arch=UEFI_X64), b"snponly.efi"),
    "UEFI, code 9": (PxeClient(arch=9), b"snponly.efi"),
    "iPXE on BIOS": (PxeClient(arch=BIOS, ipxe=True), b"bios.ipxe"),
    "iPXE on UEFI": (PxeClient(arch=UEFI_X64, ipxe=True), b"uefi-x64.ipxe"),
}
every_client = pytest.mark.parametrize(("client", "file"), CLIENTS.values(), ids=CLIENTS)


def plan(client: Client) -> BootPlan:
    return boot_plan(PROXY, PROXY.seat_of(client.mac), client, SeatKeys("token"), server=US)


def context(profile: Profile = PROXY, port: int = 67, source: str = "0.0.0.0") -> Context:
    return Context(
        profile=profile,
        server=US,
        port=port,
        source=(IPv4Address(source), 68 if port == 67 else port),
        plan=plan,
        networks=[*NEAR, *profile.dhcp.networks],
        scopes=make_scopes(profile, [IPv4Network("10.0.0.0/24")], [US]),
    )


@dataclass
class Seen:
    """A reply as the client receives it, decoded by scapy."""

    reply: Reply
    data: bytes
    header: Any
    options: dict[Any, Any]

    @property
    def target(self) -> tuple[str, int]:
        return str(self.reply.address), self.reply.port

    @property
    def file(self) -> bytes:
        assert self.header.file.endswith(b"\0")  # some ROMs read past a name without it
        return bytes(self.header.file.rstrip(b"\0"))

    @property
    def sname(self) -> bytes:
        return bytes(self.header.sname.rstrip(b"\0"))


def ask(data: bytes, where: Context, now: float = NOW) -> Seen:
    reply = respond(parse(data), where, now)
    assert isinstance(reply, Reply), reply
    sent = serialize(reply.packet)
    return Seen(reply, sent, *decode(sent))


def refused(data: bytes, where: Context, now: float = NOW) -> str:
    result = respond(parse(data), where, now)
    assert isinstance(result, Ignored), result
    return result.reason


def kind(seen: Seen) -> str:
    assert seen.options["message-type"] == seen.reply.answer.value
    return seen.reply.answer.name


# proxy mode, port 67


@every_client
def test_proxy_offer(client: PxeClient, file: bytes) -> None:
    seen = ask(client.discover(), context())
    header, options = seen.header, seen.options
    assert kind(seen) == "DHCPOFFER"
    assert seen.target == ("255.255.255.255", 68)
    assert (header.op, header.xid, header.flags) == (2, client.xid, 0x8000)
    assert seen.data[28:44] == bytes.fromhex("525400123456").ljust(16, b"\0")
    assert (header.yiaddr, header.ciaddr, header.siaddr) == ("0.0.0.0", "0.0.0.0", str(US))
    assert (seen.sname, seen.file) == (b"10.0.0.1", file)
    assert options["server_id"] == str(US)
    assert options["vendor_class_id"] == b"PXEClient"
    assert options["pxe_client_machine_identifier"] == GUID
    expected = {"message-type", "server_id", "vendor_class_id", "pxe_client_machine_identifier"}
    if client.arch == BIOS:
        expected.add("vendor_specific")
        assert options["vendor_specific"] == bytes.fromhex("060108ff")
    assert set(options) == expected
    assert seen.reply.client is not None
    assert seen.reply.request.name == "DHCPDISCOVER"


def test_proxy_offer_sets_the_broadcast_flag_for_who_did_not_ask_for_it() -> None:
    assert ask(PxeClient().discover(flags=0), context()).header.flags == 0x8000


@every_client
def test_proxy_answers_only_discover_on_67(client: PxeClient, file: bytes) -> None:
    for other in ("request", "decline", "release", "inform", "offer", "ack"):
        assert "LAN's own DHCP server" in refused(client.message(other), context())


@pytest.mark.parametrize("profile", [PROXY, FULL], ids=["proxy", "full"])
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (PxeClient(arch=2).discover(), "PXEClient architecture 2"),
        (PxeClient(arch=10).discover(), "PXEClient architecture 10"),
        (PxeClient().discover(op=2), "a server's reply"),
        (PxeClient().discover(hlen=16, chaddr=bytes(range(16))), "not Ethernet"),
    ],
)
def test_who_is_not_answered_in_either_mode(profile: Profile, data: bytes, reason: str) -> None:
    assert reason in refused(data, context(profile))


def test_a_pc_for_which_there_are_no_images_is_not_answered() -> None:
    profile = Profile(boot=Boot(architectures=("i386",)))
    told = refused(PxeClient(arch=7).discover(), context(profile))
    assert told == "uefi-x64: boot.architectures has no amd64"


def test_proxy_leaves_plain_dhcp_clients_alone() -> None:
    assert "not a boot client" in refused(PxeClient().plain("discover"), context())


def test_bootp_without_dhcp_is_not_answered() -> None:
    packet = parse(PxeClient().discover())
    bare = replace(packet, options={60: b"PXEClient", 93: b"\0\0"})
    assert "BOOTP" in refused(serialize(bare), context())


# port 4011


@pytest.mark.parametrize("profile", [PROXY, FULL], ids=["proxy", "full"])
@every_client
def test_boot_server_acknowledges(profile: Profile, client: PxeClient, file: bytes) -> None:
    request = client.request(("server_id", str(US)), ciaddr="10.0.0.77", flags=0)
    seen = ask(request, context(profile, 4011, "10.0.0.77"))
    assert kind(seen) == "DHCPACK"
    assert seen.target == ("10.0.0.77", 4011)
    assert (seen.header.ciaddr, seen.header.yiaddr) == ("10.0.0.77", "0.0.0.0")
    assert (seen.header.siaddr, seen.header.flags) == (str(US), 0)
    assert (seen.sname, seen.file) == (b"10.0.0.1", file)
    assert seen.options["vendor_class_id"] == b"PXEClient"
    assert seen.options["server_id"] == str(US)
    assert seen.options["pxe_client_machine_identifier"] == GUID
    assert ("vendor_specific" in seen.options) is (client.arch == BIOS)


def test_boot_server_answers_no_one_without_an_address_and_nothing_but_requests() -> None:
    assert "without an address" in refused(PxeClient().request(), context(port=4011))
    where = context(port=4011, source="10.0.0.77")
    assert "DHCPDISCOVER" in refused(PxeClient().discover(), where)
    where = context(FULL, port=4011, source="10.0.0.77")
    assert "DHCPREQUEST" in refused(PxeClient().plain("request"), where)


# full mode


@every_client
def test_full_mode_gives_address_and_boot_file(client: PxeClient, file: bytes) -> None:
    where = context(FULL)
    offer = ask(client.discover(), where)
    address = offer.header.yiaddr
    selecting = client.request(("server_id", str(US)), ("requested_addr", address))
    ack = ask(selecting, where)
    assert [kind(offer), kind(ack)] == ["DHCPOFFER", "DHCPACK"]
    for seen in (offer, ack):
        assert seen.target == ("255.255.255.255", 68)
        assert seen.header.yiaddr == address
        assert FIRST <= IPv4Address(address) <= FIRST + 9
        assert seen.header.siaddr == str(US)
        assert (seen.sname, seen.file) == (b"10.0.0.1", file)
        # The client asked for them in option 55; the NUL is for ROMs that need it.
        assert parse(seen.data).options[66] == b"10.0.0.1\0"
        assert parse(seen.data).options[67] == file + b"\0"
        assert seen.options["lease_time"] == 600
        assert seen.options["subnet_mask"] == "255.255.255.0"
        assert seen.options["router"] == "10.0.0.254"
        assert seen.options["name_server"] == ("9.9.9.9", "1.1.1.1")
        assert seen.options["NTP_server"] == "10.0.0.253"
        assert seen.options["domain"] == b"school.example"
        assert seen.options["hostname"] == b"pc-123456"
        assert seen.options["pxe_client_machine_identifier"] == GUID
        assert parse(seen.data).options.get(175) == (b"\xb0\x01\x01\xff" if client.ipxe else None)
        assert not {"vendor_class_id", "vendor_specific"} & set(seen.options)


def test_full_mode_sends_66_and_67_only_to_who_asks() -> None:
    marks = [("vendor_class_id", b"PXEClient"), (93, b"\0\0")]
    seen = ask(PxeClient().plain("discover", *marks), context(FULL))
    assert seen.file == b"undionly.kpxe"
    assert not {66, 67} & set(parse(seen.data).options)


def test_full_mode_gives_plain_clients_an_address_and_nothing_to_boot() -> None:
    client_id = b"\x01RT\x00\x124V"
    seen = ask(PxeClient().plain("discover", ("client_id", client_id)), context(FULL))
    assert seen.reply.client is None
    assert seen.header.siaddr == "0.0.0.0"
    assert (seen.sname, seen.file) == (b"", b"")
    assert seen.options["client_id"] == client_id  # RFC 6842
    assert seen.options["hostname"] == b"pc-123456"
    assert not {43, 60, 66, 67, 97, 175} & set(parse(seen.data).options)


def leased(where: Context, client: PxeClient, now: float = NOW) -> str:
    address = str(ask(client.discover(), where, now).header.yiaddr)
    request = client.request(("server_id", str(US)), ("requested_addr", address))
    assert kind(ask(request, where, now)) == "DHCPACK"
    return address


def test_renewing_is_answered_to_the_address() -> None:
    where = context(FULL)
    address = leased(where, PxeClient())
    seen = ask(PxeClient().plain("request", ciaddr=address, flags=0), where, NOW + 500)
    assert kind(seen) == "DHCPACK"
    assert seen.target == (address, 68)
    assert (seen.header.yiaddr, seen.header.ciaddr) == (address, address)
    still = ask(PxeClient().plain("request", ciaddr=address), where, NOW + 1099)
    assert kind(still) == "DHCPACK"


def test_rebooting_client_gets_its_address_confirmed_even_after_the_leases_are_lost() -> None:
    address = leased(context(FULL), PxeClient())
    seen = ask(PxeClient().plain("request", ("requested_addr", address)), context(FULL))
    assert kind(seen) == "DHCPACK"
    assert seen.header.yiaddr == address
    assert seen.target == ("255.255.255.255", 68)


@pytest.mark.parametrize(
    ("options", "fields", "is_told"),
    [
        ([], {"ciaddr": "10.0.0.52", "flags": 0}, False),  # RENEWING
        ([], {"ciaddr": "10.0.0.52"}, False),  # REBINDING
        ([("requested_addr", "10.0.0.52")], {}, False),  # INIT-REBOOT
        ([("requested_addr", "10.0.0.52"), ("server_id", str(US))], {}, True),  # SELECTING
    ],
)
def test_a_pc_that_renews_its_lease_is_no_new_boot(
    options: list[Any], fields: dict[str, Any], is_told: bool
) -> None:
    """It does so for as long as it is on, and its timeline is for its boots."""
    packet = parse(PxeClient().plain("request", *options, **fields))
    reply = respond(packet, context(FULL), NOW)
    assert isinstance(reply, Reply) and reply.answer.name == "DHCPACK"
    assert reply.client is None and reply.packet.file == b"", "no plan, so no session"
    assert (record.of_request(packet, 67, reply, NOW) is not None) is is_told
    assert (record.of_reply(reply, 67, 1.0, NOW) is not None) is is_told


def test_a_pc_whose_renewal_is_refused_is_told() -> None:
    where = context(FULL)
    address = leased(where, PxeClient())
    packet = parse(PxeClient(mac="52:54:00:00:00:99").plain("request", ciaddr=address))
    reply = respond(packet, where, NOW)
    assert isinstance(reply, Reply) and reply.answer.name == "DHCPNAK"
    assert record.of_request(packet, 67, reply, NOW) is not None
    assert record.of_reply(reply, 67, 1.0, NOW) is not None


def test_refusals_go_to_everyone_and_say_nothing_else() -> None:
    where = context(FULL)
    address = leased(where, PxeClient())
    thief = PxeClient(mac="52:54:00:00:00:99")
    cases = [
        thief.plain("request", ("server_id", str(US)), ("requested_addr", address)),
        thief.plain("request", ("requested_addr", address)),
        thief.plain("request", ciaddr=address),
        thief.plain("request", ("requested_addr", "192.168.1.5")),  # it comes from another link
        PxeClient().plain("request", ("requested_addr", "10.0.0.59")),  # it has another address
    ]
    for data in cases:
        seen = ask(data, where)
        assert kind(seen) == "DHCPNAK"
        assert seen.target == ("255.255.255.255", 68)
        assert (seen.header.yiaddr, seen.header.ciaddr) == ("0.0.0.0", "0.0.0.0")
        assert set(seen.options) == {"message-type", "server_id", "error_message"}


def test_other_servers_clients_are_left_alone() -> None:
    where = context(FULL)
    client = PxeClient()
    for data in (
        client.plain("request", ("requested_addr", "10.0.0.200")),
        client.plain("request", ciaddr="10.0.0.200"),
        client.plain("request", ciaddr="192.168.1.5"),
    ):
        assert "not ours to give" in refused(data, where)
    assert "for no address" in refused(client.plain("request"), where)


def test_an_offer_is_taken_back_when_the_client_chooses_another_server() -> None:
    where = context(FULL)
    address = ask(PxeClient().discover(), where).header.yiaddr
    chosen = PxeClient().request(("server_id", OTHER_SERVER), ("requested_addr", "10.0.0.200"))
    assert f"chose the DHCP server {OTHER_SERVER}" in refused(chosen, where)
    other = PxeClient(mac="52:54:00:00:00:99").discover()
    wanting = parse(other)
    wanting = replace(wanting, options={**wanting.options, 50: IPv4Address(address).packed})
    assert ask(serialize(wanting), where).header.yiaddr == address


def test_release_and_decline_get_no_answer() -> None:
    where = context(FULL)
    address = leased(where, PxeClient())
    assert "released" in refused(PxeClient().plain("release", ciaddr=address), where)
    assert leased(where, PxeClient()) == address
    data = PxeClient().plain("decline", ("requested_addr", address))
    assert "declined" in refused(data, where)
    assert leased(where, PxeClient()) != address


def test_a_released_lease_of_a_played_pc_is_forgotten() -> None:
    where, played = context(FULL), PxeClient(mac=played_mac(7))
    address = leased(where, played)
    assert where.scopes[0].pool.address_of(played.mac) is not None
    assert "released" in refused(played.plain("release", ciaddr=address), where)
    assert where.scopes[0].pool.address_of(played.mac) is None


def claimed(data: bytes, where: Context) -> Claim:
    result = respond(parse(data), where, NOW)
    assert isinstance(result, Claim), result
    return result


def test_a_release_or_decline_on_our_link_waits_for_proof() -> None:
    where = context(FULL)
    address, other = leased(where, PxeClient()), PxeClient(mac="52:54:00:00:00:99")
    claim = claimed(PxeClient().plain("release", ciaddr=address), where)
    assert (claim.owner, str(claim.address)) == (PxeClient().mac, address)
    taking = other.plain("request", ("server_id", str(US)), ("requested_addr", address))
    assert kind(ask(taking, where)) == "DHCPNAK"
    assert kind(ask(PxeClient().plain("request", ciaddr=address), where)) == "DHCPACK"
    claim = claimed(PxeClient().plain("decline", ("requested_addr", address)), where)
    assert claim.serious and claim.mac == PxeClient().mac
    assert kind(ask(PxeClient().plain("request", ciaddr=address), where)) == "DHCPACK"


def test_only_the_holder_releases_and_declines() -> None:
    where, thief = context(FULL), PxeClient(mac="52:54:00:00:00:99")
    address = leased(where, PxeClient())
    for data in (
        thief.plain("release", ciaddr=address),
        thief.plain("decline", ("requested_addr", address)),
    ):
        assert "does not have it" in refused(data, where)
        assert not isinstance(respond(parse(data), where, NOW), Claim)


def test_behind_a_relay_the_sender_of_a_release_must_have_the_address() -> None:
    where = context(CAMPUS)
    request = PxeClient().request(("requested_addr", "10.9.0.50"), giaddr="10.9.0.1")
    assert kind(ask(request, where)) == "DHCPACK"
    release = PxeClient().plain("release", ciaddr="10.9.0.50")
    away = replace(where, source=(IPv4Address("10.0.0.66"), 68))
    assert "10.0.0.66, which does not have it" in refused(release, away)
    taking = PxeClient(mac="52:54:00:00:00:99").discover(giaddr="10.9.0.1")
    assert "no free address" in refused(taking, where)
    there = replace(where, source=(IPv4Address("10.9.0.50"), 68))
    assert refused(release, there) == "10.9.0.50 released"
    assert ask(taking, where).header.yiaddr == "10.9.0.50"


def test_the_address_of_a_played_pc_is_free_at_once() -> None:
    where, played = context(FULL), PxeClient(mac=STORM_MACS + ":00:01")
    address = leased(where, played)
    release = played.plain("release", ciaddr=address)
    assert not isinstance(respond(parse(release), where, NOW), Claim)


def test_no_answer_goes_to_a_far_address() -> None:
    told = refused(PxeClient().discover(giaddr="8.8.8.8"), context())
    assert told.startswith("the relay 8.8.8.8 is in no network of this server")
    for profile, data in (
        (FULL, PxeClient().plain("inform", ciaddr="8.8.8.8")),
        (FULL, PxeClient().discover(ciaddr="8.8.8.8")),
        (PROXY, PxeClient().discover(ciaddr="8.8.8.8")),
    ):
        assert ask(data, context(profile)).target == ("255.255.255.255", 68)
    request = PxeClient().request(ciaddr="8.8.8.8", flags=0)
    assert "8.8.8.8 is in no network" in refused(request, context(port=4011, source="8.8.8.8"))


def test_inform_gets_settings_and_no_address() -> None:
    seen = ask(PxeClient().plain("inform", ciaddr="10.0.0.200"), context(FULL))
    assert kind(seen) == "DHCPACK"
    assert seen.target == ("10.0.0.200", 68)
    assert seen.header.yiaddr == "0.0.0.0"
    assert "lease_time" not in seen.options
    assert seen.options["router"] == "10.0.0.254"


def test_a_full_pool_and_a_network_without_one_are_reasons() -> None:
    where = context(FULL)
    for number in range(10):
        leased(where, PxeClient(mac=f"52:54:00:00:00:{number:02x}"))
    assert "in use" in refused(PxeClient().discover(), where)
    assert "no addresses" in refused(PxeClient().discover(), replace(where, scopes=()))


# regressions: mistakes of peers, with their issues


@pytest.mark.parametrize("profile", [PROXY, FULL], ids=["proxy", "full"])
@pytest.mark.parametrize("port", [67, 4011])
def test_uefi_never_gets_option_43(profile: Profile, port: int) -> None:
    """EDK2 before 2017 drops such an offer and retries in silence (bootimus#77, edk2#6944)."""
    message = "discover" if port == 67 else "request"
    for code in (7, 9):
        data = PxeClient(arch=code).message(message, ciaddr="0.0.0.0" if port == 67 else "10.0.0.7")
        assert 43 not in parse(ask(data, context(profile, port, "10.0.0.7")).data).options


def test_a_relayed_client_is_answered_through_its_relay() -> None:
    """bootimus and PyPXE broadcast on the wrong LAN; smee#382."""
    seen = ask(PxeClient().discover(giaddr="10.9.0.1"), context())
    assert seen.target == ("10.9.0.1", 67)
    assert (seen.header.giaddr, seen.header.flags) == ("10.9.0.1", 0x8000)


def test_what_a_relay_added_goes_back_to_it_and_is_the_last_option() -> None:
    """RFC 3046 section 2.2: the relay finds the port of its switch by this option."""
    added = bytes.fromhex("0104 00010203")
    for profile in (PROXY, FULL):
        request = PxeClient().message("discover", (82, added), giaddr="10.0.0.9")
        options = parse(ask(request, context(profile)).data).options
        assert list(options.items())[-1] == (82, added)


FAR = IPv4Network("10.9.0.0/24")
CAMPUS = Profile(
    boot=BOOT,
    dhcp=Dhcp(
        mode="full",
        range=RANGE,
        networks={
            FAR: DhcpNetwork(
                range=AddressRange(first=FAR[50], last=FAR[50]), router=FAR[1], dns=(FAR[2],)
            )
        },
        client_ids={"ff01": FAR[7], "0102": FIRST + 3},
    ),
)


def test_a_network_behind_a_relay_has_addresses_of_its_own() -> None:
    where = context(CAMPUS)
    seen = ask(PxeClient().discover(giaddr="10.9.0.1"), where)
    assert (seen.target, seen.header.yiaddr) == (("10.9.0.1", 67), "10.9.0.50")
    assert (seen.options["router"], seen.options["name_server"]) == ("10.9.0.1", "10.9.0.2")
    assert not seen.reply.unproven  # machines behind a relay cannot receive our probe
    here = ask(PxeClient().discover(), where)
    assert IPv4Address(here.header.yiaddr) in IPv4Network("10.0.0.0/24")
    assert here.reply.unproven
    moved = PxeClient().plain("request", ("requested_addr", here.header.yiaddr), giaddr="10.9.0.1")
    assert kind(ask(moved, where)) == "DHCPNAK"


def test_a_pc_behind_a_relay_renews_past_it() -> None:
    where = context(CAMPUS)
    request = PxeClient().request(("requested_addr", "10.9.0.50"), giaddr="10.9.0.1")
    assert kind(ask(request, where)) == "DHCPACK"
    seen = ask(PxeClient().plain("request", ciaddr="10.9.0.50", flags=0), where, NOW + 9)
    assert (kind(seen), seen.target) == ("DHCPACK", ("10.9.0.50", 68))
    assert seen.options["router"] == "10.9.0.1"


def test_a_client_identifier_with_a_reservation_counts_and_others_do_not() -> None:
    where = context(CAMPUS)
    by_id = ask(PxeClient().plain("discover", ("client_id", b"\x01\x02")), where)
    assert by_id.header.yiaddr == str(FIRST + 3)
    other = PxeClient(mac="52:54:00:00:00:77").plain("discover", ("client_id", b"\x01\x02"))
    assert ask(other, where).header.yiaddr == str(FIRST + 3)  # another network card, the same PC
    firmware, linux = b"\x00" + bytes(16), b"\x01RT\x00\x124V"
    address = ask(PxeClient().plain("discover", ("client_id", firmware)), where).header.yiaddr
    assert ask(PxeClient().plain("discover", ("client_id", linux)), where).header.yiaddr == address


@pytest.mark.parametrize("profile", [PROXY, FULL], ids=["proxy", "full"])
def test_http_boot_gets_a_url(profile: Profile) -> None:
    seen = ask(PxeClient(arch=UEFI_X64_HTTP).discover(), context(profile))
    assert seen.options["vendor_class_id"] == b"HTTPClient"
    assert seen.file.decode() == "http://10.0.0.1:8080/boot/snponly.efi"
    assert 43 not in parse(seen.data).options


def test_full_mode_answers_relays_of_its_own_network_only() -> None:
    where = context(FULL)
    seen = ask(PxeClient().discover(giaddr="10.0.0.9"), where)
    assert seen.target == ("10.0.0.9", 67)
    assert "10.9.0.1" in refused(PxeClient().discover(giaddr="10.9.0.1"), where)
    stranger = PxeClient().plain("request", ("requested_addr", "1.2.3.4"), giaddr="10.0.0.9")
    nak = ask(stranger.replace(b"\x80\x00", b"\0\0"), where)
    assert (kind(nak), nak.header.flags, nak.target) == ("DHCPNAK", 0x8000, ("10.0.0.9", 67))


@pytest.mark.parametrize("profile", [PROXY, FULL], ids=["proxy", "full"])
@every_client
def test_replies_have_300_bytes_and_end_before_the_padding(
    profile: Profile, client: PxeClient, file: bytes
) -> None:
    """Relays drop shorter ones (opnsense#7744, pixiecore); U-Boot wants END before the zeros."""
    data = ask(client.discover(), context(profile)).data
    assert len(data) >= 300
    assert data[HEADER.size : HEADER.size + 6] == MAGIC_COOKIE + b"\x35\x01"
    at = HEADER.size + len(MAGIC_COOKIE)
    while data[at] != 255:
        assert data[at] not in (0, 52)  # no padding between options (WDS), no overload
        at += 2 + data[at + 1]
    assert not any(data[at + 1 :])


@given(st.integers(0, 65535))
def test_any_architecture_is_answered_or_named(code: int) -> None:
    """PyPXE's server crashed with a KeyError here."""
    result = respond(parse(PxeClient(arch=code).discover()), context(), NOW)
    assert isinstance(result, Reply) or str(code) in result.reason


def test_a_client_without_a_uuid_is_answered() -> None:
    """Intel's ROMs leave it out (danderson/pixiecore#21)."""
    for extra in ([], [(97, b"")]):
        data = PxeClient().plain(
            "discover", ("vendor_class_id", b"PXEClient"), (93, b"\0\0"), *extra
        )
        assert 97 not in parse(ask(data, context()).data).options


@given(st.binary(max_size=80), st.sampled_from((67, 4011)), st.sampled_from((PROXY, FULL)))
def test_any_options_are_answered_or_ignored(options: bytes, port: int, profile: Profile) -> None:
    """Any bytes before the options of a PXE client."""
    request = PxeClient().discover()
    data = request[: HEADER.size + 4] + options + request[HEADER.size + 4 :]
    respond(parse(data), context(profile, port, "10.0.0.9"), NOW)
