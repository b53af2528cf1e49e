"""BootPlan -> GRUB configuration. Pure. Commands: GRUB's manual, chapter "The list of commands".

Debian's images for network boot (grub-efi-*-bin, *-signed) can load by TFTP alone and know nothing of
proxies' offers. In a file system of their own they have a script that reads grub.cfg in the folder /grub of
the TFTP server that the DHCPACK named. Where the image is not signed that script is replaced.
"""

import shlex

from netboot.boot.plan import BootPlan, Images
from netboot.profile.processors import AMD64

FIRST_FILE = "grub/grub.cfg"
CONFIG_SUFFIX = ".cfg"
FAILED_FILE = "failed.cfg"
RETRY_SECONDS = 10
OWN_SCRIPT = """if [ -e $prefix/PLATFORM/grub.cfg ]; then
\tsource $prefix/PLATFORM/grub.cfg
else
\tsource $prefix/grub.cfg
fi
"""
# Where it would look for modules, all of which it has inside: on the DHCP server, which in proxy mode
# has no TFTP: 33 s for each of four files. The object's type 3 and size (include/grub/kernel.h).
PREFIX = b"\3\0\0\0\x10\0\0\0/grub\0"
NO_PREFIX = b"\3\0\0\0\x10\0\0\0(no)\0\0"
CARDS = 8  # efinet0 to efinet7: one of them has booted


def is_needed(name: str) -> bool:
    """Whether a file is missed if it is not there. GRUB looks for lists of modules, which it has
    inside, and shim for lists of what was revoked since it was made.
    """
    return not name.endswith(".lst") and not name.startswith(("revocations", "shim_certificate"))


def aimed(image: bytes, server: str, folder: str, platform: str) -> bytes:
    """The GRUB ``image`` with a script inside that reads its seat's file in ``folder`` of ``server``;
    as it is if there is none to be replaced.
    """
    own = OWN_SCRIPT.replace("PLATFORM", platform).encode()
    script = f"source (tftp,{server})/{folder}/{platform}{CONFIG_SUFFIX}\n".encode()
    if own not in image or len(script) > len(own):
        return image
    return image.replace(own, script.ljust(len(own), b"\n")).replace(PREFIX, NO_PREFIX)


def render_first() -> str:
    """What a signed GRUB reads first: its seat's own file is where its loader came from, in a folder
    that nobody else knows.
    """
    files = "".join(f"${{net_efinet{number}_boot_file}}" for number in range(CARDS))
    return "\n".join(
        (
            f"regexp --set=1:folder '^/*(.*)/[^/]*$' \"{files}\"",
            f"source (tftp,$net_default_server)/$folder/$grub_cpu-$grub_platform{CONFIG_SUFFIX}",
            "",
        )
    )


def render(plan: BootPlan, server: str) -> str:
    """The file that loads kernel and initramfs over TFTP from ``server`` and starts them."""
    base = f"(tftp,{server})"
    # GRUB has the address, but tells no netmask: the initramfs asks by DHCP.
    words = [f"ip=::::{plan.seat.hostname}::off", "BOOTIF=01-$net_default_mac"]
    words += map(shlex.quote, plan.arguments)  # GRUB quotes as a shell does
    folder = plan.script_path.rpartition("/")[0]
    return "\n".join(
        (
            f"echo netboot: {plan.seat.hostname} boots from {server}",
            "while true; do",
            *(_load(images, words, base) for images in plan.images),
            f"source {base}/{folder}/{FAILED_FILE}",
            f"sleep {RETRY_SECONDS}",
            "done",
            "",
        )
    )


def render_failed() -> str:
    """What a GRUB reads that could not start what it loaded; so the server hears of it."""
    return f"echo netboot: nothing could be started, next try in {RETRY_SECONDS} s\n"


def _load(images: Images, words: list[str], base: str) -> str:
    initrds = " ".join(f"{base}/{path}" for path in images.initrd_paths)
    steps = [f"linux {base}/{images.kernel_path} {' '.join(words)}", f"initrd {initrds}"]
    if images.processor is AMD64:  # there is firmware of 32 bits on processors of 64
        steps.insert(0, "cpuid -l")
    # GRUB has no &&.
    return f"{''.join(f'if {step}; then ' for step in steps)}boot; {'fi; ' * len(steps)}"[:-2]
