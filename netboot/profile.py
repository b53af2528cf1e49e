"""Models of a profile: what a room of PCs boots and how it is served. Pure; see profile_file too."""

from ipaddress import IPv4Address
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MIB = 1 << 20


class Section(BaseModel):
    """A mapping of the profile: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AddressRange(Section):
    """First and last address of a DHCP pool, both included."""

    first: IPv4Address
    last: IPv4Address


class Dhcp(Section):
    mode: Literal["proxy", "full"] = "proxy"
    range: AddressRange | None = None
    router: IPv4Address | None = None
    dns: tuple[IPv4Address, ...] = ()
    lease_time: int = 12 * 3600  # seconds


class Boot(Section):
    kernel: str = "linux-image-amd64"  # a Debian package, or a path that has a slash
    arguments: str = ""
    on_failure: Literal["rescue", "reboot"] = "rescue"


class Root(Section):
    kind: Literal["ram"] = "ram"


class SwapSize(Section):
    """Either an absolute size in bytes or a multiple of the client's RAM; exactly one is set."""

    bytes: int | None = None
    times_ram: float | None = None


class Zswap(Section):
    enabled: bool = True
    compressor: Literal["lzo", "lz4", "zstd"] = "lzo"
    pool_percent: Annotated[int, Field(ge=1, le=50)] = 20


class Swap(Section):
    size: SwapSize = SwapSize(times_ram=2.0)
    store: Literal["memory"] = "memory"
    capacity: int | None = None  # bytes; None: half of the server's RAM
    connections: Annotated[int, Field(ge=1, le=16)] = 2
    port: Annotated[int, Field(ge=1, le=65535)] = 10809
    patience: int = 600  # seconds the client waits for a lost server before swap I/O fails
    zswap: Zswap = Zswap()


class Http(Section):
    port: Annotated[int, Field(ge=1, le=65535)] = 8080


class Seat(Section):
    """What one PC gets: the profile with its group's and its own overrides applied."""

    mac: str
    hostname: str
    address: IPv4Address | None
    boot: Boot
    root: Root
    swap: Swap


class Profile(Section):
    interface: str = "auto"
    dhcp: Dhcp = Dhcp()
    http: Http = Http()
    boot: Boot = Boot()
    root: Root = Root()
    swap: Swap = Swap()

    def seat(self, mac: str) -> Seat:
        """The seat of ``mac`` (``aa:bb:cc:dd:ee:ff``)."""
        return Seat(
            mac=mac,
            hostname="pc-" + mac.replace(":", "")[-6:],
            address=None,
            boot=self.boot,
            root=self.root,
            swap=self.swap,
        )
