"""BootPlan -> GRUB configuration. Pure.

Commands: GRUB's manual, chapter "The list of commands".

Debian's images for network boot (grub-efi-*-bin, *-signed) can load over TFTP only, and ignore the
offers of proxies. Their embedded file system has a script that reads grub.cfg in the folder /grub
of the TFTP server that the DHCPACK gave. In unsigned images this script is replaced.
"""

import shlex

from netboot.boot import splash
from netboot.boot.plan import BootPlan, Images
from netboot.profile.processors import AMD64

FIRST_FILE = "grub/grub.cfg"
CONFIG_SUFFIX = ".cfg"
FAILED_FILE = "failed.cfg"
RETRY_SECONDS = 10
OBSTACLE_SECONDS = 30
OWN_SCRIPT = """if [ -e $prefix/PLATFORM/grub.cfg ]; then
\tsource $prefix/PLATFORM/grub.cfg
else
\tsource $prefix/grub.cfg
fi
"""
# GRUB would look for its modules, all of which it contains, on the DHCP server. In proxy mode that
# has no TFTP: 33 s for each of four files. For the object's type 3 and size: include/grub/kernel.h.
PREFIX = b"\3\0\0\0\x10\0\0\0/grub\0"
NO_PREFIX = b"\3\0\0\0\x10\0\0\0(no)\0\0"
OWN_MAC = "$net_default_mac"


def is_needed(name: str) -> bool:
    """Return True if GRUB or shim misses the file ``name`` when the server does not have it.

    GRUB looks for lists of its modules, which it contains, and shim for lists of later revocations.
    """
    own = name.rpartition("/")[2]
    return not own.endswith(".lst") and not own.startswith(("revocations", "shim_certificate"))


def aimed(image: bytes, server: str, platform: str) -> bytes:
    """Return the GRUB ``image``, made to read its seat's file from ``server``.

    Return it unchanged if it has no script to replace.
    """
    own = OWN_SCRIPT.replace("PLATFORM", platform).encode()
    script = f"{_source(server, platform)}\n".encode()
    if own not in image or len(script) > len(own):
        return image
    return image.replace(own, script.ljust(len(own), b"\n")).replace(PREFIX, NO_PREFIX)


def render_first() -> str:
    """Return the file that a signed GRUB reads first: it leads to the seat's own file."""
    return f"{_source('$net_default_server', '$grub_cpu-$grub_platform')}\n"


def _source(server: str, platform: str) -> str:
    """Return the command that reads the seat's file.

    GRUB names its own MAC address, which the server compares with what the kernel knows.
    """
    return f"source (tftp,{server})/boot/{OWN_MAC}/{platform}{CONFIG_SUFFIX}"


def render(plan: BootPlan, server: str) -> str:
    """Return the file that loads kernel and initramfs over TFTP from ``server`` and starts them."""
    base = f"(tftp,{server})"
    # GRUB has the address but does not give the netmask, so the initramfs asks by DHCP.
    words = [f"ip=::::{plan.seat.hostname}::off", f"BOOTIF=01-{OWN_MAC}"]
    words += map(shlex.quote, plan.arguments)  # GRUB quotes as a shell does
    folder = plan.script_path.rpartition("/")[0]
    return "\n".join(
        (
            f"echo netboot: {plan.seat.hostname} boots from {server}",
            *splash.lines(plan.seat, "boots"),
            "while true; do",
            *(_load(images, words, base) for images in plan.images),
            f"source {base}/{folder}/{FAILED_FILE}",
            f"sleep {RETRY_SECONDS}",
            "done",
            "",
        )
    )


def render_obstacle(plan: BootPlan, server: str, obstacle: str) -> str:
    """Return the file for a seat that cannot boot now: it shows the line, and asks again."""
    folder, platform = plan.script_path.rpartition("/")[0], plan.client.arch.grub
    return "\n".join(
        (
            f"echo netboot: {plan.seat.hostname} cannot boot: {shlex.quote(obstacle)}",
            f"echo netboot: next try in {OBSTACLE_SECONDS} s",
            *splash.lines(plan.seat, "obstacle", OBSTACLE_SECONDS),
            f"sleep {OBSTACLE_SECONDS}",
            f"source (tftp,{server})/{folder}/{platform}{CONFIG_SUFFIX}",
            "",
        )
    )


def render_failed() -> str:
    """Return the file that a GRUB reads if nothing could be started; so the server notices."""
    return f"echo netboot: nothing could be started, next try in {RETRY_SECONDS} s\n"


def _load(images: Images, words: list[str], base: str) -> str:
    initrds = " ".join(f"{base}/{path}" for path in images.initrd_paths)
    steps = [f"linux {base}/{images.kernel_path} {' '.join(words)}", f"initrd {initrds}"]
    if images.processor is AMD64:  # 64-bit processors may have 32-bit firmware
        steps.insert(0, "cpuid -l")
    # GRUB has no &&.
    return f"{''.join(f'if {step}; then ' for step in steps)}boot; {'fi; ' * len(steps)}"[:-2]
