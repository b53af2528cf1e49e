"""The types of a profile's values, and the base class of its sections. Pure."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError

from netboot.profile import patterns, reading, values
from netboot.profile.processors import RELEASES
from netboot.profile.reading import Nearest, Text, Unreadable
from netboot.profile.roots import is_path
from netboot.profile.stores import STORE

MIB = 1 << 20
PAGE = 4096  # bytes
VLANS = (1, 4094)  # IEEE 802.1Q: 0 and 4095 have other uses
LEAST_PERSIST = 16 * MIB  # the journal of ext4 takes 4 MiB, and its tables 1
LEAST_CHANGES = 16 * MIB  # a system that has just booted has changed 8 MiB
MAX_PREFIX = 30  # bits; a smaller network lacks addresses for one PC and its router
MAX_DOMAIN = 253  # characters (RFC 1035 section 2.3.4, without the root's)
_PACKAGE = "[A-Za-z0-9][A-Za-z0-9+.-]+"
_PATH = r"/[^\x00-\x1f]*[^\x00-\x1f\s]"
IMAGE_NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,39}"  # of a root image
MAX_POOL = 1 << 16  # addresses; only a mistyped octet makes a larger range


def misplaced(problem: str, *path: str | int) -> PydanticCustomError:
    """Return a mistake that only several keys together show; ``path`` is the key to point at."""
    return PydanticCustomError("misplaced", "{problem}", {"problem": problem, "path": path})


class Section(BaseModel):
    """A mapping of the profile: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        # "swap:" whose keys are all commented out.
        return {} if value is None else value

    def changed(self, override: "Section") -> Self:
        """Return this section with the keys that ``override`` gives."""
        if not override.model_fields_set:  # true of most PCs, and a room asks for each packet
            return self
        given: dict[str, Any] = {}
        for name in override.model_fields_set:
            here, there = getattr(self, name), getattr(override, name)
            given[name] = here.changed(there) if isinstance(there, Overridable) else there
        return self.model_copy(update=given)


class NothingIsEmpty(reading.Annotation):
    """The annotation of a mapping: nothing stands for an empty one."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "type": ["object", "null"]}

    def read(self, value: object) -> object:
        """Return ``value``, or an empty mapping for nothing."""
        return {} if value is None else value


class Overridable(Section):
    """A section whose keys groups and clients may override one by one."""


class AddressRange(Section):
    """The first and last address of a DHCP pool, both included."""

    first: IPv4Address
    last: IPv4Address


class SwapSize(Section):
    """An absolute size in bytes or a multiple of the client's RAM; exactly one is set."""

    bytes: int | None = None
    times_ram: float | None = None


def _range(text: str) -> AddressRange:
    first, last = (values.host_address(part.strip()) for part in text.split("-"))
    if last < first:
        raise Nearest(f"{last}-{first}")
    if int(last) - int(first) >= MAX_POOL:
        raise ValueError("too large")
    return AddressRange(first=first, last=last)


def _swap_size(text: str) -> SwapSize:
    if text[-1:] in ("x", "X"):
        times = float(reading.matched(r"([0-9]{1,2}(?:\.[0-9]{1,3})?) ?x", text)[1])
        return SwapSize(times_ram=times) if times else SwapSize(bytes=0)
    size = values.size(text)
    if 0 < size < MIB:
        raise Nearest(f"{text}x" if size < 100 else "1MiB")
    return SwapSize(bytes=size)


def _changes(text: str) -> SwapSize | None:
    if text.lower() == values.AUTO:
        return None
    if text[-1:] in ("x", "X"):
        return SwapSize(times_ram=float(reading.matched(rf"({_TIMES}) ?x", text)[1]))
    size = values.size(text)
    if size < LEAST_CHANGES:
        raise Nearest(f"{text}x" if 0 < size < 100 else "16MiB")
    return SwapSize(bytes=size)


def _persist(text: str) -> int | None:
    if text.lower() == "none":
        return None
    size = values.size(text)
    if size < LEAST_PERSIST:
        raise Nearest("16MiB" if size else "none")
    return size // PAGE * PAGE


def _vlan(text: str) -> int | None:
    """Return the number of a VLAN; None for ``none``. Raises ValueError."""
    return None if text.lower() == "none" else values.integer(*VLANS).convert(text)


def _store(text: str) -> str:
    folder = STORE.convert(text).directory
    if folder is not None and not folder.is_absolute():
        # A relative one would depend on the folder in which the server is started.
        raise Unreadable("an absolute folder such as /srv/pages")
    return text


def _factor(text: str) -> float:
    return float(reading.matched(r"[1-9][0-9]?(\.[0-9]{1,18})?", text)[0])


def _kernel(text: str) -> str:
    found = reading.matched(rf"(/[!-~]+)|({_PACKAGE})((?:/(?:{'|'.join(RELEASES)}))?)", text)
    return found[1] or found[2] + found[3].lower()


def _absolute(text: str) -> str:
    return reading.matched(r"/[^\x00-\x1f]+", text)[0]


def _image(text: str) -> str:
    return _absolute(text) if is_path(text) else reading.matched(IMAGE_NAME, text)[0]


def _path(of: str) -> Text[str]:
    return Text(f"the path of {of}", _absolute, patterns.text(_PATH))


def _printable(text: str) -> str:
    return reading.matched(r"[ -~]*", text)[0]


def _network(text: str) -> IPv4Network:
    network = IPv4Network(reading.matched(r"[0-9.]+/[0-9]{1,2}", text)[0], strict=False)
    values.host_address(str(network.network_address))
    if network.prefixlen > MAX_PREFIX:
        raise ValueError("no room for PCs")
    if str(network) != text:  # 10.9.0.1/24 is a machine in a network
        raise Nearest(str(network))
    return network


def _interface_address(text: str) -> IPv4Interface:
    address = IPv4Interface(reading.matched(r"[0-9.]+/[0-9]{1,2}", text)[0])
    values.host_address(str(address.ip))
    if not hosts(address.network, address.ip, address.ip):
        raise ValueError("not a host's")
    return address


def _domain(text: str) -> str:
    label = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
    if len(reading.matched(rf"{label}(\.{label})*", text)[0]) > MAX_DOMAIN:
        raise ValueError("too long")
    return text.lower()


def _client_id(text: str) -> str:
    return reading.matched(r"([0-9a-f]{2}:?){1,255}", text)[0].lower().replace(":", "")


def _user_name(text: str) -> str:
    return reading.matched(r"[a-z_][a-z0-9_.-]{0,31}", text)[0]


def _interface(text: str) -> str:
    # IFNAMSIZ of <linux/if.h> is 16. A comma stands between names.
    return reading.matched(r"[!-+.0-~-]{1,15}", text)[0]


_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_TIMES = r"0?0\.[1-9][0-9]{0,2}|(?:0?[1-9]|[1-9][0-9])(?:\.[0-9]{1,3})?"  # 0.1 and more
_NOTHING = r"0|0(?:\.0{1,3})? ?[kKmMgGtT](?:[Ii][Bb])?"  # a size of no bytes

Address = Annotated[IPv4Address, values.HOST_ADDRESS]
Mac = Annotated[str, values.MAC]
Port = Annotated[int, values.integer(1, 65535)]
Size = Annotated[int, values.SIZE]
RANGE = Text(
    "a range such as 10.0.0.50-10.0.0.99",
    _range,
    patterns.text(rf"{values.HOST}\s*-\s*{values.HOST}"),
)
Range = Annotated[AddressRange, RANGE]
SizeOrTimes = Annotated[
    SwapSize,
    Text(
        "a size such as 1GiB, a multiple of the PC's RAM such as 2x, or 0",
        _swap_size,
        patterns.text(
            f"{_NOTHING}|{patterns.size(MIB, values.MAX_SIZE, values.UNITS)}"
            r"|[0-9]{1,2}(?:\.[0-9]{1,3})? ?[xX]",
            {"const": 0},
            {"type": "integer", "minimum": MIB, "maximum": patterns.MOST_BYTES},
        ),
    ),
]
Changes = Annotated[
    SwapSize | None,
    Text(
        "auto, a size of at least 16MiB such as 512MiB, or a multiple of the PC's RAM such as 1.5x",
        _changes,
        patterns.text(
            f"{patterns.any_case(values.AUTO)}|(?:{_TIMES}) ?[xX]"
            f"|{patterns.size(LEAST_CHANGES, values.MAX_SIZE, values.UNITS)}",
            {"type": "integer", "minimum": LEAST_CHANGES, "maximum": patterns.MOST_BYTES},
        ),
    ),
]
Vlan = Annotated[
    int | None,
    Text(
        f"none, or a whole number from {VLANS[0]} to {VLANS[1]}",
        _vlan,
        patterns.text(
            f"{patterns.any_case('none')}|{patterns.between(*VLANS)}",
            {"type": "integer", "minimum": VLANS[0], "maximum": VLANS[1]},
        ),
    ),
]
Persist = Annotated[
    int | None,
    Text(
        "none, or a size of at least 16MiB such as 2GiB",
        _persist,
        patterns.text(
            f"{patterns.any_case('none')}"
            f"|{patterns.size(LEAST_PERSIST, values.MAX_SIZE, values.UNITS)}",
            {"type": "integer", "minimum": LEAST_PERSIST, "maximum": patterns.MOST_BYTES},
        ),
    ),
]
Factor = Annotated[
    float,
    Text(
        "a factor from 1 to 99 such as 1.5",
        _factor,
        patterns.text(
            r"[1-9][0-9]?(?:\.[0-9]{1,18})?",
            {"type": "number", "minimum": 1, "exclusiveMaximum": 100},
        ),
    ),
]
Kernel = Annotated[
    str,
    Text(
        f"a Debian package such as linux-image-amd64 or linux-image-amd64/{RELEASES[-1]}, or /path",
        _kernel,
        patterns.text(
            f"/[!-~]+|{_PACKAGE}(?:/(?:{patterns.any_of(RELEASES)}))?",
            {"type": "number", "minimum": 10},
            patterns.BOOLEAN,
        ),
    ),
]
RootImage = Annotated[
    str,
    Text(
        "the name of a root image such as kiosk, or the path of a file such as /srv/root.squashfs",
        _image,
        patterns.text(f"{_PATH}|{IMAGE_NAME}", patterns.NUMBER, patterns.BOOLEAN),
    ),
]
Folder = Annotated[str, _path("a folder such as /srv/raspberry-pi")]
LocalFile = Annotated[str, _path("a file of the server such as /srv/room/logo.png")]
Arguments = Annotated[
    str,
    Text(
        "words on one line, in ASCII",
        _printable,
        patterns.text("[ -~]*", {"type": ["number", "boolean"]}),
    ),
]
InterfaceName = Annotated[
    str,
    Text(
        "auto or the name of a network interface",
        _interface,
        patterns.text("[!-+.0-~-]{1,15}", patterns.NUMBER, patterns.BOOLEAN),
    ),
]
Network = Annotated[
    IPv4Network,
    Text(
        "a network such as 10.9.0.0/24",
        _network,
        patterns.text(f"{values.HOST}/{patterns.between(0, MAX_PREFIX)}"),
    ),
]
InterfaceAddress = Annotated[
    IPv4Interface,
    Text(
        "an address with its prefix length such as 10.77.0.1/24",
        _interface_address,
        patterns.text(f"{values.HOST}/(?:0[0-9]|{patterns.between(0, MAX_PREFIX)})"),
    ),
]
Domain = Annotated[
    str,
    Text(
        "a domain such as school.example",
        _domain,
        patterns.text(
            rf"(?=\S{{1,{MAX_DOMAIN}}}\s*$){_LABEL}(?:\.{_LABEL})*",
            patterns.NUMBER,
            patterns.BOOLEAN,
        ),
    ),
]
ClientId = Annotated[
    str,
    Text(
        "a client identifier in hexadecimal such as 01:52:54:00:12:34:56",
        _client_id,
        patterns.text("(?:[0-9A-Fa-f]{2}:?){1,255}"),
    ),
]
UserName = Annotated[
    str,
    Text(
        "a user name such as root",
        _user_name,
        patterns.text("[A-Za-z_][A-Za-z0-9_.-]{0,31}", patterns.BOOLEAN),
    ),
]
Store = Annotated[str, Text(STORE.expected, _store, STORE.schema)]


def hosts(network: IPv4Network, first: IPv4Address, last: IPv4Address) -> bool:
    """Return True if ``first`` to ``last`` are addresses of hosts in ``network``."""
    return network.network_address < first and last < network.broadcast_address
