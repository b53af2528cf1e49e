"""BootPlan -> iPXE script text. Pure. Commands: https://ipxe.org/cmd."""

from collections.abc import Iterator

from netboot.admission import Turn
from netboot.dhcp.pxe import OWN_USER_CLASS
from netboot.plan import BootPlan, Images
from netboot.profile.processors import AMD64, I386

RETRY_SECONDS = 3
UNFIT_SECONDS = 60


def render_chain(plan: BootPlan, base_url: str) -> str:
    """The script sent over TFTP: fetch the real one over HTTP, and keep trying."""
    return "\n".join(
        (
            "#!ipxe",
            ":retry",
            f"chain --autofree {base_url}/{plan.script_path} ||",
            f"echo netboot: no script from {base_url}, next try in {RETRY_SECONDS} s",
            f"sleep {RETRY_SECONDS}",
            "goto retry",
            "",
        )
    )


def render_wait(plan: BootPlan, base_url: str, turn: Turn) -> str:
    """The script of a seat that has to wait until it may download."""
    pcs = "1 PC is" if turn.before == 1 else f"{turn.before} PCs are"
    message = f"waits for its turn to download, about {turn.wait} s: {pcs} before it"
    return "\n".join(
        (
            "#!ipxe",
            f"echo netboot: {plan.seat.hostname} {message}",
            # Ctrl-C ends the sleep, not the boot.
            f"sleep {turn.wait} ||",
            ":retry",
            f"chain --replace --autofree {base_url}/{plan.script_path} ||",
            f"echo netboot: no script from {base_url}, next try in {RETRY_SECONDS} s",
            f"sleep {RETRY_SECONDS}",
            "goto retry",
            "",
        )
    )


def render_medium() -> str:
    """The script on a CD or a USB stick: ask by DHCP on one card after the other, until one answers
    with a script. It names itself, so that a server never sends it another iPXE.
    """
    return "\n".join(
        (
            "#!ipxe",
            f"set user-class {OWN_USER_CLASS.decode()}",
            ":retry",
            "autoboot ||",
            f"echo netboot: no server answers, next try in {RETRY_SECONDS} s",
            f"sleep {RETRY_SECONDS}",
            "goto retry",
            "",
        )
    )


def render(plan: BootPlan, base_url: str) -> str:
    """The script that loads kernel and initramfs over HTTP and starts them."""
    # ip= as the kernel documents it (nfsroot.rst); the values are iPXE's settings, so the initramfs
    # needs no second DHCP.
    address = f"ip=${{ip}}::${{gateway}}:${{netmask}}:{plan.seat.hostname}::off"
    arguments = (address, "BOOTIF=01-${mac:hexhyp}", *plan.arguments)
    return "\n".join(
        (
            "#!ipxe",
            f"echo netboot: {plan.seat.hostname} boots from {base_url}",
            ":retry",
            *_choice(plan),
            *(line for images in plan.images for line in _load(images, arguments, base_url)),
            ":failed",
            f"echo netboot: download failed, next try in {RETRY_SECONDS} s",
            "imgfree",
            f"sleep {RETRY_SECONDS}",
            "goto retry",
            "",
        )
    )


def _choice(plan: BootPlan) -> Iterator[str]:
    """Where the firmware does not say whether it runs on a 64-bit x86: bit 29 of CPUID 0x80000001's
    EDX is long mode. Bit 0 of CPUID 1 is the FPU, so this says whether iPXE has the command at all.
    """
    processors = [images.processor for images in plan.images]
    if AMD64 not in processors or I386 not in plan.client.arch.processors:
        return
    yield f"cpuid --ext 29 && goto {AMD64.name} ||"
    if I386 in processors:
        yield f"cpuid 0 && goto {I386.name} ||"
        return
    yield f"cpuid 0 || goto {AMD64.name}"
    yield "echo netboot: this PC has a 32-bit processor: the server's boot.architectures lacks i386"
    yield f"sleep {UNFIT_SECONDS}"
    yield "goto retry"


def _load(images: Images, arguments: tuple[str, ...], base_url: str) -> Iterator[str]:
    """EFI kernels find an initrd by the name given with ``initrd=``; BIOS ones ignore the word."""
    names = [path.rsplit("/", 1)[-1] for path in images.initrd_paths]
    words = [*(f"initrd={name}" for name in names), *arguments]
    yield f":{images.processor.name}"
    yield f"kernel {base_url}/{images.kernel_path} {' '.join(words)} || goto failed"
    yield from (f"initrd {base_url}/{path} || goto failed" for path in images.initrd_paths)
    yield "boot || goto failed"
