"""The hardware of an old PC, as a shell script prints it, and the problems that it has. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from netboot.errors import OperatorError
from netboot.host.text import printable
from netboot.profile import values
from netboot.profile.processors import AMD64, ARM64, I386, Processor

MIB = 1 << 20
# Of MemTotal, for a PC sold with 128 MB: less was never tried (docs/measurements/reliability.md).
LEAST_RAM = 112 * MIB
MOST_CHARACTERS = 200  # of a line; the longest honest one lists some modules

# The script reads only sysfs and proc, because it has to run on any Linux. It takes the card with
# the default route, or the first wired one with a link, or the first wired one. Between a virtual
# card and its PCI device there is a virtio device, which has numbers of its own.
ASK = r"""
card=$(ip -4 route show default 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1)
wired=
for path in /sys/class/net/*; do
    [ -e "$path/device" ] && [ ! -e "$path/wireless" ] || continue
    wired="$wired ${path##*/}"
done
[ -e "/sys/class/net/$card/device" ] && [ ! -e "/sys/class/net/$card/wireless" ] || card=
for name in $wired; do
    [ -n "$card" ] || [ "$(cat "/sys/class/net/$name/carrier" 2>/dev/null)" != 1 ] || card=$name
done
for name in $wired; do [ -n "$card" ] || card=$name; done
dev=/sys/class/net/$card
echo "hostname=$(hostname)"
sed -n 's/^MemTotal: *\([0-9]*\) kB/ram_kib=\1/p' /proc/meminfo
grep -qw lm /proc/cpuinfo && echo cpu64=1
[ "$(uname -m)" = aarch64 ] && echo arm64=1
[ -d /sys/firmware/efi ] && echo firmware=uefi || echo firmware=bios
od -An -tu1 -j4 -N1 /sys/firmware/efi/efivars/SecureBoot-* 2>/dev/null |
    sed 's/ *\([0-9]*\).*/secure_boot=\1/'
[ -n "$card" ] || exit 0
echo "card=$card"
echo "mac=$(cat "$dev/address")"
pci=$dev/device
[ -e "$pci/class" ] || pci=$(readlink -f "$pci")/..
echo "vendor=$(cat "$pci/vendor" 2>/dev/null)"
echo "device=$(cat "$pci/device" 2>/dev/null)"
echo "driver=$(basename "$(readlink "$dev/device/driver")")"
PATH=$PATH:/sbin:/usr/sbin
echo "modules=$(modprobe -R "$(cat "$dev/device/modalias")" 2>/dev/null | tr '\n' ' ')"
"""


@dataclass(frozen=True, slots=True)
class Hardware:
    """The hardware of one PC.

    ``mac`` is empty without a wired card. ``nic`` is PCI's ``8086:100e``, or empty. ``drivers`` are
    the modules of the PC's own kernel that support the card.
    """

    hostname: str
    ram_bytes: int
    firmware: str
    processor: Processor
    secure_boot: bool = False
    mac: str = ""
    nic: str = ""
    drivers: tuple[str, ...] = ()

    def __str__(self) -> str:
        words = (
            f"{self.ram_bytes // MIB} MiB",
            self.firmware,
            self.processor.name,
            " ".join(filter(None, (self.nic, *self.drivers[:1]))),
        )
        return ", ".join(filter(None, words))


def parse(text: str) -> Hardware:
    """Parse the output of ``ASK``, of a PC that anybody may have changed. Raises OperatorError."""
    lines = (printable(line, MOST_CHARACTERS) for line in text.splitlines())
    found = dict(line.partition("=")[::2] for line in lines if "=" in line)
    try:
        ram, firmware = int(found["ram_kib"]) << 10, found["firmware"]
        mac = values.mac(found["mac"]) if found.get("mac") else ""
    except (KeyError, ValueError):
        raise OperatorError(f"unexpected answer to the hardware script: {text[:60]!r}") from None
    names = [found.get("driver", ""), *found.get("modules", "").split()]
    ids = [found.get(key, "").removeprefix("0x") for key in ("vendor", "device")]
    processor = AMD64 if found.get("cpu64") == "1" else I386
    return Hardware(
        hostname=found.get("hostname", "").partition(".")[0],
        ram_bytes=ram,
        firmware=firmware,
        processor=ARM64 if found.get("arm64") == "1" else processor,
        secure_boot=found.get("secure_boot") == "1",
        mac=mac,
        nic=":".join(ids) if all(ids) else "",
        drivers=tuple(dict.fromkeys(name.replace("-", "_") for name in names if name)),
    )


def problems(hardware: Hardware, images: Mapping[str, Collection[str]]) -> list[str]:
    """Return the problems that the PC will have. ``images``: our modules, by processor."""
    found = []
    processors = [hardware.processor]
    if hardware.processor is AMD64 and hardware.firmware == "bios":
        processors.append(I386)
    fitting = [images[row.name] for row in processors if row.name in images]
    modules = fitting[0] if fitting else {name for each in images.values() for name in each}
    if not fitting:
        found.append(f"no images for its processor; add {processors[0].name} to boot.architectures")
    if not hardware.mac:
        found.append("no wired network card found")
    elif not set(hardware.drivers) & set(modules):
        name = hardware.drivers[0] if hardware.drivers else hardware.nic or "unknown"
        found.append(f"no driver for its network card ({name}) in the images")
    if hardware.secure_boot:
        found.append("Secure Boot is on; switch it off in the firmware setup")
    if hardware.ram_bytes < LEAST_RAM:
        ram, least = hardware.ram_bytes // MIB, LEAST_RAM // MIB
        found.append(f"{ram} MiB of RAM; less than {least} MiB was never tried")
    return found
