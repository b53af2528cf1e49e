"""Processors of PCs other than this machine's: whether their programs run here.

A build runs the scripts of packages, with programs for the PCs' processor. Linux for amd64 runs those
of i386; for others it starts the emulator that binfmt_misc names.
"""

from pathlib import Path

from netboot.errors import OperatorError
from netboot.host.programs import check_installed, is_installed, run

# The emulator of each architecture in qemu-user-static, by its name in binfmt_misc.
EMULATORS = {"amd64": "qemu-x86_64", "i386": "qemu-i386", "arm64": "qemu-aarch64"}
BINFMT = Path("/proc/sys/fs/binfmt_misc")


def check_runs(architecture: str) -> None:
    """Raise OperatorError, with the remedy, if this machine runs no programs for ``architecture``."""
    own = run(["dpkg", "--print-architecture"], package="dpkg").stdout.strip()
    if architecture == own:
        return
    check_installed({"arch-test": "arch-test"})  # mmdebstrap asks it, too
    if run(["arch-test", architecture], check=False).returncode:
        raise OperatorError(
            f"an image for {architecture} cannot be built: this {own} runs no programs for "
            f"{architecture}, and its packages' scripts need them",
            hint=_remedy(EMULATORS[architecture]),
        )


def _remedy(emulator: str) -> str:
    """Return the command that lets this machine run programs of another processor."""
    if not is_installed(f"{emulator}-static"):
        return "sudo apt install qemu-user-static binfmt-support"
    command = f"sudo update-binfmts --enable {emulator}"
    if (BINFMT / "register").exists():
        return command
    return f"sudo mount -t binfmt_misc binfmt_misc {BINFMT} && {command}"  # none in a container
