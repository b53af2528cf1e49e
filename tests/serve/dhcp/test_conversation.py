"""OFFER, REQUEST and ACK of one conversation agree, also if the REQUEST repeats less (issue 16, I)."""

from dataclasses import replace

import pytest

from netboot.boot.limits import DHCP_CONVERSATIONS
from netboot.profile.profile import Profile
from netboot.serve.dhcp.answer import Reply
from netboot.serve.dhcp.conversation import Conversations
from netboot.serve.dhcp.packet import MessageType, Packet, parse
from netboot.serve.dhcp.responder import respond
from tests.serve.dhcp.test_responder import CAMPUS, FIRST, FULL, NOW, US, context
from tests.support.pxe_client import UEFI_X64, UEFI_X64_HTTP, PxeClient

CLIENTS = {
    "BIOS": PxeClient(),
    "UEFI": PxeClient(arch=UEFI_X64),
    "HTTP": PxeClient(arch=UEFI_X64_HTTP),
    "iPXE": PxeClient(ipxe=True),
}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Server:
    """The responder behind a memory of conversations."""

    def __init__(self, profile: Profile = FULL) -> None:
        self.clock = Clock()
        self.conversations = Conversations(self.clock)
        self.context = context(profile)

    def answer(self, packet: Packet) -> Reply:
        result = respond(self.conversations.follow(packet), self.context, NOW)
        assert isinstance(result, Reply), result
        return result


def request(client: PxeClient, offer: Reply, *lacking: int, **changed: bytes) -> Packet:
    """Return the REQUEST for an offer, without the options ``lacking``; ``o93=..`` changes one."""
    address = str(offer.packet.yiaddr)
    told = parse(client.request(("server_id", str(US)), ("requested_addr", address)))
    options = {code: value for code, value in told.options.items() if code not in lacking}
    return replace(told, options=options | {int(k[1:]): v for k, v in changed.items()})


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
@pytest.mark.parametrize(
    "lacking", [(60,), (93,), (77,), (175,), (97,), (55,), (60, 77, 93, 97, 175, 55)]
)
def test_a_request_that_repeats_less_gets_what_was_offered(
    client: PxeClient, lacking: tuple[int, ...]
) -> None:
    server = Server()
    offer = server.answer(parse(client.discover()))
    ack = server.answer(request(client, offer, *lacking))
    assert ack.answer is MessageType.DHCPACK
    assert (ack.packet.file, ack.packet.yiaddr) == (offer.packet.file, offer.packet.yiaddr)
    own = {53, *lacking}  # what was not sent is not echoed (RFC 6842)
    settings = {code: value for code, value in offer.packet.options.items() if code not in own}
    assert settings.items() <= ack.packet.options.items()
    assert (97 in ack.packet.options) is (97 not in lacking)


@pytest.mark.parametrize(
    "changed", [{"o93": b"\0\x07"}, {"o93": b""}, {"o77": b"iPXE"}, {"o60": b"x"}]
)
def test_a_request_that_says_something_else_gets_what_was_offered(
    changed: dict[str, bytes],
) -> None:
    server, client = Server(), PxeClient()
    offer = server.answer(parse(client.discover()))
    ack = server.answer(request(client, offer, **changed))
    assert ack.packet.file == offer.packet.file == b"undionly.kpxe"


def test_a_reserved_client_identifier_is_remembered() -> None:
    server, client = Server(CAMPUS), PxeClient()
    offer = server.answer(parse(client.message("discover", (61, b"\1\2"))))
    assert offer.packet.yiaddr == FIRST + 3
    ack = server.answer(request(client, offer))
    assert (ack.answer, ack.packet.yiaddr) == (MessageType.DHCPACK, FIRST + 3)
    assert 61 not in ack.packet.options


def test_junk_behind_the_mac_address_makes_no_other_pc() -> None:
    server, client = Server(), PxeClient()
    told = parse(client.discover())
    offer = server.answer(replace(told, chaddr=told.chaddr[:6] + b"junkjunkju"))
    asked = request(client, offer, 60, 93)
    ack = server.answer(replace(asked, chaddr=told.chaddr[:6] + b"otherjunk!"))
    assert ack.packet.file == offer.packet.file == b"undionly.kpxe"


def test_another_xid_or_another_card_is_judged_anew() -> None:
    for other in (PxeClient(xid=9), PxeClient(mac="52:54:00:00:00:99")):
        server = Server()
        offer = server.answer(parse(PxeClient().discover()))
        if other.xid == 9:
            ack = server.answer(request(other, offer, 60))
            assert (ack.client, ack.packet.file) == (None, b"")
        else:
            assert server.answer(request(other, offer, 60)).answer is MessageType.DHCPNAK


def test_a_new_discover_begins_a_new_conversation() -> None:
    """Some ROMs make the xid of the MAC address, so the loader's may be the same."""
    server = Server()
    server.answer(parse(PxeClient().discover()))
    loader = PxeClient(ipxe=True)
    offer = server.answer(parse(loader.discover()))
    assert server.answer(request(loader, offer, 77, 175)).packet.file == b"bios.ipxe"
    plain = server.answer(parse(PxeClient().plain("discover")))
    linux = server.answer(request(PxeClient(), plain, 60, 93, 97, 55))
    assert (linux.client, linux.packet.file) == (None, b"")


def test_an_old_conversation_is_forgotten_and_their_number_is_limited() -> None:
    server, client = Server(), PxeClient()
    offer = server.answer(parse(client.discover()))
    server.clock.now = 121.0
    assert server.answer(request(client, offer, 60)).client is None
    conversations = Conversations(Clock())
    first = parse(client.discover())
    for number in range((DHCP_CONVERSATIONS.in_total or 0) + 1):
        conversations.follow(replace(first, xid=number))
    lacking = replace(request(client, offer, 60), xid=0)
    assert 60 not in conversations.follow(lacking).options
    assert 60 in conversations.follow(replace(lacking, xid=1)).options
