"""Limits on what one sender, and all senders together, can make the server hold. Pure.

Each limit is one row, so that the security page can list them and no server has figures of its own.
A full server never refuses those who are served already: the row says what happens to the others.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit. ``what`` is counted per address (or seat) and in total; None is no limit.

    Addresses that the kernel knows as the same machine (one MAC address) count as one in HTTP and
    TFTP, and for handshakes: a PC can have as many as its network has.

    ``seconds``: how long one of them may last without progress. ``at_limit``: what happens then.
    """

    what: str
    per_address: int | None
    in_total: int | None
    seconds: float | None
    at_limit: str


# A PC holds at most three: a download, a beacon and its wait for orders, which lasts while the PC is
# on. 4000 are 1,000 such PCs, and a quarter more; 128 are a classroom behind one address, and
# ``netboot storm`` with 60 PCs. Each takes up to 4 descriptors; the total is lower if the process may
# open fewer (serve/http/doorkeeper.py).
HTTP_CONNECTIONS = Limit(
    "HTTP connections",
    128,
    4000,
    10.0,
    "over the total, the machine with the most loses one; else the newcomer is hung up on",
)
# iPXE on a loaded wire stands still for some seconds while its link comes up again.
HTTP_DOWNLOADS = Limit("HTTP downloads without progress", None, None, 60.0, "hung up on")
STATUS_BYTES = Limit(
    "bytes of an answer to /status", None, 512 << 10, None, "strangers and old events are left out"
)
# A slow reader keeps an answer in memory; `netboot watch` has one at a time.
STATUS_ANSWERS = Limit("answers to /status under way", 8, None, 10.0, "refused; hung up on")
# Of the largest beacon, 300 bytes and 9 keys, some times over.
BEACON_KEYS = Limit("keys of a beacon", 16, None, None, "further keys are left out")
BEACON_BYTES = Limit("bytes kept of a beacon", 1024, None, None, "the rest is cut off")
# A seat with four areas of 4 GiB needs 190 (netboot/feed/report.py).
REPORT_BYTES = Limit("bytes of the report that a seat sends each 10 s", 200, None, None, "refused")
JOURNAL_BYTES = Limit(
    "bytes of the journal", None, 16 << 20, None, "strangers go first, then the oldest events"
)
JOURNAL_STRANGERS = Limit(
    "seats in the journal that no profile names",
    None,
    1000,
    None,
    "the oldest goes, first of those that sent no beacon and downloaded nothing",
)
JOURNAL_EVENTS = Limit("events of a seat in the journal", 100, None, None, "the oldest goes")
# Anybody can cause these: DHCP in the seat's name, and refusals of others. A boot has ten.
JOURNAL_EVENTS_OF_OTHERS = Limit(
    "events of a seat in the journal that others can cause", 40, None, None, "their oldest goes"
)
# Swap that is lost and attached again every 3 s makes six events in each round.
JOURNAL_EVENTS_OF_SWAP = Limit(
    "events of a seat in the journal about lost and attached swap", 40, None, None, "likewise"
)
JOURNAL_EVENTS_OF_STRANGERS = Limit(
    "events of a seat without a beacon or a download", 10, None, None, "the oldest goes"
)
# 40 of a seat are two boots. Its others are those of ``JOURNAL_EVENTS_OF_OTHERS``. 20,000: about 5 MB.
FEED_EVENTS = Limit(
    "events of the feed for panels",
    40,
    20_000,
    None,
    "the oldest of a seat with more goes, then the oldest of the seat that was silent for longest",
)
FEED_EVENTS_OF_OTHERS = Limit(
    "events of a seat in the feed that others can cause", 20, None, None, "likewise"
)
FEED_BYTES = Limit("bytes of the feed's events", None, 8 << 20, None, "likewise")
FEED_EVENTS_OF_STRANGERS = Limit(
    "events in the feed of seats without a beacon or a download",
    10,
    1000,
    None,
    "the oldest of the stranger that was silent for longest goes",
)
FEED_BYTES_OF_STRANGERS = Limit(
    "bytes of such events in the feed", None, 512 << 10, None, "likewise"
)
# A panel of its own, those of other servers, and `netboot top`; each has the key, or is of this machine.
FEED_READERS = Limit("readers of the feed", None, 8, None, "refused")
# A second of a room of 1,000 PCs that all change is 1 MB, and all that the feed keeps 8 MiB.
FEED_WAITING = Limit(
    "bytes that wait for a reader of the feed",
    16 << 20,
    None,
    None,
    "hung up on; it comes back by the number of its last event",
)
# A name of 1,000 PCs has 20 bytes.
FEED_ORDER_BYTES = Limit("bytes of an order of a panel", None, 64 << 10, None, "refused")
# A flood of made-up PCs changes so many rows of the feed in a second, and no others.
FEED_STRANGERS = Limit(
    "rows of the feed of seats without a beacon or a download",
    None,
    64,
    None,
    "the stranger that was silent for longest goes",
)
FEED_UNNAMED = Limit(
    "rows of the feed of other seats that no profile names",
    None,
    1000,
    None,
    "the one that was silent for longest goes",
)
# A boot has 30 events, and a room of 60 PCs that no profile names boots with 2000.
TIMELINE_LINES = Limit(
    "lines of a seat in the timeline in a minute", 200, 5000, 60.0, "the number of others is told"
)
TIMELINE_LINES_OF_STRANGERS = Limit(
    "lines of seats that no profile names, in a minute", None, 3000, 60.0, "likewise"
)
TIMELINE_CHARACTERS = Limit("characters of such a line", 300, None, None, "the rest is cut off")
# A PC attaches its lease within seconds. It may ask for four areas. 2000: as many PCs as can attach.
PENDING_LEASES = Limit(
    "leases that were never attached, of PCs that no profile names",
    4,
    2000,
    120.0,
    "the oldest of that address ends; a PC of the profile takes their room",
)
LEASE_RAM = Limit("bytes of RAM that a seat claims", 64 << 30, None, None, "the claim is cut down")
# Such a PC says how much RAM it has, and swap.size may follow from that.
LEASE_SHARE = Limit(
    "per cent of swap.capacity for one PC that no profile names, if its RAM decides",
    50,
    None,
    None,
    "the area is made smaller",
)
# A PC opens its connections one after the other. 10 s: as qemu-nbd, after CVE-2024-7409. 1024: a room
# attaches at once, and a handshake waits for the save of its lease.
NBD_HANDSHAKES = Limit(
    "unfinished NBD handshakes",
    16,
    1024,
    10.0,
    "the oldest one of the machine that has most is hung up on; one that named its export only if "
    "the machine has more than 4",
)
# A seat may attach all its connections at once, and so may a storm of 60 PCs.
NBD_DIALS = Limit("NBD connections begun in a second", 256, None, 1.0, "hung up on")
# 128 of an address: twice four areas of 16 connections, because a seat may attach all of them again
# before the server knows that the old ones are dead. 5120: 1,000 PCs with two to swap and two to a root
# image, and a quarter more. If the process may open few files, there are fewer areas (pages/clients.py).
NBD_CONNECTIONS = Limit(
    "NBD connections",
    128,
    5120,
    None,
    "a PC gets all of its area or none: refused; 128 are kept for leases that were attached before",
)
# A PC has two. Those of a boot before, which closed nothing, are dead after a minute. Many addresses
# are as cheap as one, so a seat counts here. 2560: the others are for the first attachment of swap.
NBD_IMAGES = Limit(
    "NBD connections of a seat to root images",
    16,
    2560,
    None,
    "over the total, the seat with the most loses its oldest one; else refused",
)
NBD_KEPT = Limit(
    "NBD connections kept for leases that were attached before",
    None,
    128,
    None,
    "their pages must stay within reach after a fault of the server",
)
# Linux has at most 128 requests of 128 KiB in flight on a connection, and most are of 4 KiB. A worker
# divides the total among its areas.
NBD_WAITING = Limit(
    "bytes of a swap area's writes that wait for room in the store",
    16 << 20,
    64 << 20,
    None,
    "later requests of that connection wait as well",
)
# Two connections at depth 128, each request a page. A worker divides the total among its areas; each
# connection may have one read in any case.
NBD_UNDER_WAY = Limit(
    "bytes of a swap area's reads that wait for a disk",
    4 << 20,
    32 << 20,
    None,
    "later requests of that connection wait as well",
)
# A PC has one transfer at a time. A room behind one router's address has many. 2048: a room of 1,000
# that is switched on at once, and an attacker who has as many places.
TFTP_TRANSFERS = Limit(
    "TFTP transfers",
    16,
    2048,
    30.0,
    "a machine with more gets places of the first half only; the others ask again",
)
# A boot ROM acknowledges in milliseconds. If that is lost, it repeats it after 4 to 6 s, to the same
# port. So the transfer stays, but sends nothing more.
TFTP_UNPROVEN = Limit(
    "TFTP transfers that were never acknowledged",
    None,
    None,
    12.0,
    "the oldest of the machine that has most of them ends when places are short",
)
TFTP_AMPLIFICATION = Limit(
    "bytes sent over TFTP to an address for each byte that it sent, before it acknowledges",
    10,
    None,
    None,
    "no packet is sent again",
)
# The tunnel or the router that makes an address narrow is there at the next boot as well.
TFTP_NARROW = Limit(
    "addresses that full TFTP blocks did not reach, which get blocks of 512 bytes",
    None,
    4096,
    3600.0,
    "the oldest is forgotten: it gets a full block again",
)
# Firmware sends at most two a second. A program that asks as fast as it gets answers sends 35.
DHCP_MESSAGES = Limit("DHCP messages of a PC in a second", 50, None, 1.0, "dropped")
# As many as the kernel's buffer holds (serve/dhcp/sockets.py): two lessons' worth of PCs, and more.
DHCP_WAITING = Limit(
    "DHCP messages that wait, of PCs that are not known", None, 6500, None, "the oldest is dropped"
)
# A room of 500 new PCs, switched on at the same instant, is answered in a fifth of a second. iPXE
# waits 2 s for an offer. They are no flood on a slower server either: its queue is a longer one.
DHCP_FLOOD = Limit(
    "DHCP messages answered in a second to PCs that are not known, in a flood",
    None,
    100,
    2.0,
    "dropped; a flood is a queue of 1,000 that was never empty for that time",
)
# Firmware asks again for 60 s (PXE 2.1). A /20 of PCs, all of them at the same time.
DHCP_CONVERSATIONS = Limit(
    "DHCP conversations whose DISCOVER is remembered",
    None,
    4096,
    120.0,
    "the oldest is forgotten: its REQUEST is judged by itself",
)
DHCP_STANDBY = Limit(
    "PCs that a second boot server knows to wait for the first one's answer",
    None,
    4096,
    64.0,
    "the oldest is forgotten: the first server answers it, or it asks twice more",
)
# A room has fewer. A PC has its place until its turn, or until it is 10 s late for it.
ADMISSION_QUEUE = Limit(
    "PCs of no profile that wait for their turn to download",
    None,
    240,
    10.0,
    "the newcomer asks again without a place",
)
# iPXE begins to download in the moment in which it has its script.
ADMISSION_IDLE = Limit(
    "admitted PCs that download nothing", None, None, 5.0, "the place goes to the next PC"
)
# Firmware asks again after 4 s. A /24 is looked at in one go: 256 small frames.
LOOKED_FOR = Limit(
    "leases that ARP looks for when a PC of the profile finds no address",
    None,
    256,
    2.0,
    "the others have their turn when it asks again; a machine that answers keeps its address, so "
    "one that answers at many is a matter of port security at the switch",
)
# Two lessons' worth. Made-up PCs take the places of strangers for two minutes.
SILENCE_WAITS = Limit(
    "PCs whose next step is awaited",
    None,
    1000,
    120.0,
    "a PC that no profile names and that has not booted here is not awaited",
)
# A /22 of PCs behind relays, four times over.
KNOWN_ADDRESSES = Limit(
    "addresses behind relays whose PC is known", None, 4096, None, "the oldest is forgotten"
)
# A prune removes the version of a forgotten seat from the disk; its file is served on.
ROOT_USES = Limit(
    "seats whose version of a root image is recorded",
    None,
    4096,
    7 * 86400.0,
    "the one heard longest ago is forgotten",
)

# A browser has up to six connections. 64: the bench's browsers, and a school behind one address.
PANEL_CONNECTIONS = Limit(
    "connections to the panel",
    64,
    400,
    10.0,
    "over the total, the address with the most loses one; else hung up on; so is one that sends no "
    "whole request",
)
# A tab has one. They are taken from the connections.
PANEL_STREAMS = Limit(
    "open streams of the panel", 32, 200, None, "likewise: the address with the most loses one"
)
# Linux's buffers are full then, and 64 KiB more.
PANEL_ANSWERS = Limit(
    "answers of the panel of which a browser takes nothing", None, None, 30.0, "hung up on"
)
# A patch of 1,000 seats that all changed has 1 MB; all streams share it.
PANEL_STREAM_QUEUE = Limit(
    "patches that wait for a browser", 8, None, None, "the browser is told to load the room again"
)
PANEL_BODY = Limit("bytes of a request to the panel", 256 << 10, None, None, "refused")
# A check of a password takes 0.1 s and 32 MiB.
PANEL_CHECKS = Limit("passwords that wait to be checked by the panel", 4, 16, None, "refused")
PANEL_FAILURES = Limit(
    "senders and accounts with wrong passwords", None, 4096, 3600.0, "the oldest is forgotten"
)
PANEL_FRESH = Limit(
    "logins to an account while it has a delay, from addresses that have not failed",
    20,
    None,
    600.0,
    "refused until the delay is over",
)
PANEL_SESSIONS = Limit(
    "sessions of the panel", 20, 1000, 8 * 3600.0, "the one that was idle longest ends"
)
PANEL_ORDER = Limit("seats of one order, or names of one plan", 4096, None, None, "refused")
# Of a person who mistypes; each check takes 0.05 s of CPU, one at a time.
MENU_PASSWORDS = Limit(
    "wrong passwords for the boot menu in a minute",
    5,
    60,
    60.0,
    "refused without a look until the minute is over",
)

LIMITS = tuple(value for value in list(globals().values()) if isinstance(value, Limit))
