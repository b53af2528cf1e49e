"""Files of the Debian package that follow from the code: ``python -m tools.deb.files DEBIAN ROOT``.

DEBIAN gets the units and the manual pages, which debhelper installs; ROOT, the package's tree, the
command and the completion of shells. packaging/debian/rules runs it.
"""

import sys
from pathlib import Path

from typer.completion import get_completion_script  # type: ignore[attr-defined]

from netboot.deploy import packaged
from tools.deb import manual

COMMAND = """\
#!{python} -P
from netboot.__main__ import main

main()
"""
COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/netboot",
    "zsh": "usr/share/zsh/vendor-completions/_netboot",
    "fish": "usr/share/fish/vendor_completions.d/netboot.fish",
}


def write(debian: Path, root: Path) -> None:
    """Write all of them."""
    for name, text in packaged.units().items():
        _put(debian / f"netboot-classroom.{name}.service", text)
    for name, text in manual.pages().items():
        _put(debian / "man" / name, text)
    command = _put(
        Path(f"{root}{packaged.COMMAND[0]}").with_name("netboot"),
        COMMAND.format(python=packaged.COMMAND[0]),
    )
    command.chmod(0o755)
    for shell, place in COMPLETIONS.items():
        _put(root / place, completion(shell))


def completion(shell: str) -> str:
    """Return the script that completes verbs and options in ``bash``, ``zsh`` or ``fish``."""
    script = get_completion_script(
        prog_name="netboot", complete_var="_NETBOOT_COMPLETE", shell=shell
    )
    return f"{script}\n"


def _put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
