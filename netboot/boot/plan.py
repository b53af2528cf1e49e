"""boot_plan(profile, client, keys, ...) -> BootPlan: the answers and files for one PC.

Pure and cheap: DHCP, TFTP, HTTP and ``netboot plan`` all ask here and get the same answer.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import Self

from netboot.boot import rank
from netboot.boot.arch import UNIFIED, Firmware, is_grub
from netboot.boot.client import Client, Stage
from netboot.profile.processors import Processor
from netboot.profile.profile import Profile, Seat
from netboot.profile.roots import BY_NAME as ROOTS
from netboot.profile.sections import Root

KERNEL_FILE = "vmlinuz"
INITRAMFS_FILE = "initramfs.img"
KEPT = "-persist"  # ends the name of the export with what a seat keeps
VERIFIED = "-verified"  # ends the name of the export with an image and its hash tree
# The first script of each iPXE where another DHCP server names the files: one name for all kinds.
ANY_SCRIPT = "boot.ipxe"
STUB_FILE = "stub.efi"  # for processors with a unified kernel image
# Linux tests ciphers and hashes before it uses them, unless it is built without that, as its own default
# is (CONFIG_CRYPTO_MANAGER_DISABLE_TESTS). Debian's kernel tests them. A kernel in FIPS mode ignores this.
NO_SELF_TESTS = "cryptomgr.notests=1"
# The page servers that a PC is told of: a kernel command line has 2048 characters at most.
SERVERS_TOLD = 8
SERVERS_OF_POOL = 2  # of a PC with layout any (``other`` in initramfs/agent/types.h)


@dataclass(slots=True)  # not frozen: see netboot.serve.dhcp.packet
class SeatKeys:
    """Secrets of one seat, made by the composition root and passed in.

    ``session``: see netboot.boot.ticket. ``token``: 128 bits (hex) that open the seat's swap
    export. Both are empty where no boot begins, as in a DHCP answer. ``repr`` shows none.
    """

    token: str = field(default="", repr=False)
    session: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Images:
    """The files that a PC with this processor loads, relative to the HTTP server's base URL."""

    processor: Processor
    kernel_path: str
    initrd_paths: tuple[str, ...]


@dataclass(slots=True)  # not frozen: see netboot.serve.dhcp.packet
class BootPlan:
    """The boot of one PC. Paths are relative to the HTTP server's base URL, or to the TFTP root."""

    client: Client
    seat: Seat
    # The DHCP file field: for firmware an NBP or its URL, for iPXE a script. The same for all PCs of
    # one kind, so that it holds no secret, and any other DHCP server can name it, too.
    bootfile: str
    script_path: str  # HTTP
    unified: bool  # everything in one file, which is the boot file
    swap_export: str
    by_grub: bool  # instead of by an iPXE
    shimmed: bool  # by an iPXE that may need a shim for the kernel
    # Made on demand: DHCP does not need them, and has to answer thousands of packets in a second.
    _images: Callable[[], tuple[Images, ...]] = field(repr=False)
    _arguments: Callable[[], tuple[str, ...]] = field(repr=False)

    @property
    def images(self) -> tuple[Images, ...]:
        """The images for each processor that the PC may have, the best one first."""
        return self._images()

    @property
    def arguments(self) -> tuple[str, ...]:
        """The kernel command line without ``ip=`` and ``BOOTIF=``, which the loader adds."""
        return self._arguments()

    def with_words(self, first: tuple[str, ...], last: tuple[str, ...]) -> Self:
        """Return this plan with more words for the kernel: before its own, and after the operator's."""
        return replace(self, _arguments=lambda: (*first, *self.arguments, *last))


@dataclass(frozen=True, slots=True)
class HashTree:
    """The tree of hashes behind a root image: the image's blocks of 4 KiB, and the hash at its top."""

    blocks: int
    root_hash: str

    def __str__(self) -> str:
        """Return both as the kernel command line has them."""
        return f"{self.blocks}:{self.root_hash}"


@dataclass(frozen=True, slots=True)
class RootVersion:
    """The version of a root image that a PC is to boot: its export, and its hash tree.

    ``processors``: those whose kernel has its drivers in the image; empty if none is known.
    """

    export: str
    tree: HashTree
    processors: tuple[str, ...] = ()


RootVersions = Callable[[str], RootVersion | None]


def no_root_version(name: str) -> None:
    """Return None, for a server without root images."""


def image_name(processor: str, file: str) -> str:
    """Return the name of a processor's file in the folder of images, and in URLs."""
    return f"{processor}/{file}"


def image_export(image: str) -> str:
    """Return the export name of the root image with the path ``image``."""
    return "image-" + hashlib.blake2b(image.encode(), digest_size=8).hexdigest()


def verified_export(image: str) -> str:
    """Return the export name of the root image with its hash tree behind it."""
    return image_export(image) + VERIFIED


def version_export(short: str) -> str:
    """Return the export name of a root image's version, by the first digits of its digest."""
    return f"image-{short}"


def root_export(root: Root) -> str | None:
    """Return the export of the file that a PC with this root reads; None if it reads none.

    PCs with a root image may read any version of it (netboot.pages.room_exports).
    """
    kind = ROOTS[root.kind]
    return image_export(root.image) if kind.image and not kind.named and root.image else None


def boot_plan(
    profile: Profile,
    seat: Seat,
    client: Client,
    keys: SeatKeys,
    *,
    server: IPv4Address,
    slices: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    initrds: tuple[str, ...] = (),
    attempt: int = 0,
    trees: Mapping[str, HashTree] = MappingProxyType({}),
    versions: RootVersions = no_root_version,
    lacks: Collection[str] = (),
    given: str = "",
) -> BootPlan:
    """Decide what ``client`` boots from the server whose address towards it is ``server``.

    ``seat`` is ``profile.seat_of(client.mac)``. Callers keep it, because merging takes 2 us, and 15 us
    with three groups.
    ``slices``: the files of the initramfs by the processor's name (netboot.boot.slices); a
    processor without an entry gets the full initramfs. ``initrds``: more files, for every PC.
    ``trees``: the hash trees of images by path; an image without one is not verified.
    ``versions`` returns the current version of a root image by its name, None if there is none. It
    is called as late as the kernel command line is made.
    ``attempt``: how many of its loaders have failed (netboot.boot.attempts). ``lacks``: the optional
    loaders that the server has not. ``given``: the operator's own shim, empty if there is none.
    """
    script = f"{client.arch.name}.ipxe"
    export = swap_export(client.mac)
    proxy = profile.dhcp.mode == "proxy"
    wanted = seat.boot.loader
    loader = client.arch.loader_at(attempt, wanted, proxy=proxy, lacks=lacks, given=given)
    own = loader == UNIFIED  # made for this seat only
    if own:
        loader = image_name(client.arch.processors[0].name, loader)
    if client.stage is Stage.IPXE:
        bootfile = ANY_SCRIPT if profile.dhcp.mode == "none" else script
    elif client.arch.firmware is Firmware.UEFI_HTTP:
        bootfile = f"http://{server}:{profile.http.port}/boot/{loader}"
    else:
        bootfile = f"boot/{loader}" if own or is_grub(loader) else loader
    return BootPlan(
        client=client,
        seat=seat,
        bootfile=bootfile,
        script_path=f"boot/{client.mac}/{script}",
        unified=own and client.stage is Stage.FIRMWARE,
        swap_export=export,
        by_grub=client.stage is Stage.FIRMWARE and is_grub(loader),
        shimmed=bool(given and client.arch.own),
        _images=partial(
            _images, profile, seat, client, f"boot/{keys.session}", slices, initrds, versions
        ),
        _arguments=partial(_arguments, profile, seat, keys, server, export, trees, versions),
    )


def _images(
    profile: Profile,
    seat: Seat,
    client: Client,
    base: str,
    slices: Mapping[str, tuple[str, ...]],
    initrds: tuple[str, ...],
    versions: RootVersions,
) -> tuple[Images, ...]:
    found = []
    version = versions(seat.root.image) if ROOTS[seat.root.kind].named and seat.root.image else None
    # A PC of 64 bits runs an image for i386 by the kernel whose drivers the image has.
    fitting = (version and version.processors) or profile.boot.architectures
    for processor in client.arch.processors:
        if processor.name in profile.boot.architectures and processor.name in fitting:
            initramfs = slices.get(processor.name) or (INITRAMFS_FILE,)
            own = (image_name(processor.name, file) for file in (KERNEL_FILE, *initramfs))
            kernel, *paths = (f"{base}/{name}" for name in (*own, *initrds))
            found.append(Images(processor, kernel, tuple(paths)))
    return tuple(found)


def has_own_files(seat: Seat) -> bool:
    """Return True if /init fetches the files of this seat (netboot.boot.seat_files)."""
    return ROOTS[seat.root.kind].users


def features(seat: Seat) -> tuple[str, ...]:
    """Return the slices that a seat's profile requires (images.drivers.FEATURES)."""
    swap, zswap = seat.swap, seat.swap.zswap
    wanted = {
        zswap.compressor: zswap.enabled and swap.size.bytes != 0,
        "encrypt": seat.encrypts and swap.size.bytes != 0,
        "mirror": swap.layout == "mirror",
        "image": ROOTS[seat.root.kind].image,
        "verify": ROOTS[seat.root.kind].image and seat.root.verify is not False,
        "keep": ROOTS[seat.root.kind].image and seat.root.persist is not None,
        "vlan": seat.boot.vlan is not None,
    }
    return tuple(name for name, is_wanted in wanted.items() if is_wanted)


def swap_export(mac: str, area: int = 1) -> str:
    """Return the export name of a seat's swap area; further areas have their number appended."""
    name = "seat-" + mac.replace(":", "")
    return name if area == 1 else f"{name}-{area}"


def seat_of_export(export: str) -> str:
    """Return the MAC address of the seat that has a swap area: the reverse of ``swap_export``."""
    digits = export.removeprefix("seat-")[:12]
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


def kept_export(mac: str) -> str:
    """Return the export name of the area in which a seat keeps files."""
    return f"{swap_export(mac)}{KEPT}"


def _page_servers(seat: Seat, server: IPv4Address) -> str:
    """Return the servers for a seat's pages, in the order for this seat.

    With layout spread, mirror and any each seat has its own order, by rendezvous hashing (Thaler and
    Ravishankar, 1998). The order of the remaining servers stays the same if another one is removed
    from the list. A mirror is on the first two; the next ones stand in for them. With layout any the
    PC goes between its first two, and its agent knows no more.
    """
    servers = list(seat.swap.servers) or [server]
    if seat.swap.layout != "stripe":
        servers.sort(key=lambda each: hashlib.blake2b(f"{seat.mac} {each}".encode()).digest())
    told = SERVERS_OF_POOL if seat.swap.layout == "any" else SERVERS_TOLD
    return ",".join(map(str, servers[:told]))


def _image(
    root: Root, trees: Mapping[str, HashTree], versions: RootVersions
) -> tuple[str, HashTree | None]:
    """Return the export of a PC's image, empty for none, and its tree if the PC is to verify it."""
    export, tree = root_export(root) or "", trees.get(root.image or "")
    if ROOTS[root.kind].named and root.image is not None:
        version = versions(root.image)
        export, tree = ("", None) if version is None else (version.export, version.tree)
    return export, None if root.verify is False else tree


def _changes(root: Root) -> Iterator[str]:
    """Yield the size of the tmpfs over the image: in KiB, or in percent of the PC's RAM."""
    size = root.changes
    if size is not None:
        times = size.times_ram
        amount = f"{(size.bytes or 0) >> 10}" if times is None else f"{round(times * 100)}%"
        yield f"netboot.changes={amount}"


def _arguments(
    profile: Profile,
    seat: Seat,
    keys: SeatKeys,
    server: IPv4Address,
    export: str,
    trees: Mapping[str, HashTree],
    versions: RootVersions,
) -> tuple[str, ...]:
    swap, zswap = seat.swap, seat.swap.zswap
    both = ",".join(map(str, rank.with_other(server, profile.boot.servers)))
    words = [
        NO_SELF_TESTS,
        f"netboot.server=http://{both}:{profile.http.port}",
        f"netboot.ticket={keys.session}",
        f"netboot.root={ROOTS[seat.root.kind].hook}",
        f"netboot.on_failure={seat.boot.on_failure}",
    ]
    if has_own_files(seat):
        words.append("netboot.seat=1")
    if seat.boot.vlan is not None:
        words.append(f"netboot.vlan={seat.boot.vlan}")
    image, tree = _image(seat.root, trees, versions)
    swaps = swap.size.bytes != 0
    if image and tree is not None:
        image += VERIFIED
        mode = "yes" if seat.root.verify else "auto"
        words.append(f"netboot.verify={mode},{tree}")
    if image:
        words.append(f"netboot.image={both}:{swap.port}/{image}")
        words += _changes(seat.root)
        if seat.root.persist is not None:
            words.append(f"netboot.persist={server}:{swap.port}/{kept_export(seat.mac)}")
    if image or swaps:
        words.append(f"netboot.timeout={swap.timeout}")
    if swaps:
        words += [
            f"netboot.swap={_page_servers(seat, server)}:{swap.port}/{export}",
            # Each of several servers grants a lease, and makes its own token, on request.
            f"netboot.layout={swap.layout}"
            if swap.servers or profile.boot.servers
            else f"netboot.token={keys.token}",
            f"netboot.connections={swap.connections}",
            f"netboot.patience={swap.patience}",
        ]
        if swap.grow:
            words.append(f"netboot.grow={swap.grow}")
        if seat.encrypts:
            words.append("netboot.encrypt=1")
        if not swap.discard:
            words.append("netboot.discard=0")
        if zswap.enabled:
            shrinker = "Y" if zswap.shrinker else "N"
            words.append(f"netboot.zswap={zswap.compressor},{zswap.pool_percent},{shrinker}")
    # The operator's words come last: the initramfs takes the last of equal keys.
    return (*words, *seat.boot.arguments.split())
