"""The fuzz targets by name, and their places. A target is one file in targets/ or in c/."""

from pathlib import Path

from tests import ROOT

FOLDER = Path(__file__).parent
CORPUS = FOLDER / "corpus"
AGENT = ROOT / "initramfs/agent"
WORLD = FOLDER / "c/world.c"  # the system calls that the agent sees
REPLAY = FOLDER / "c/replay.c"  # a program for files, in the fuzzer's place

PYTHON = sorted(path.stem for path in (FOLDER / "targets").glob("[a-z]*.py"))
C = sorted(path.stem for path in (FOLDER / "c").glob("*.c") if path not in (WORLD, REPLAY))

WARNINGS = ("-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror")


def agent_commands(compiler: list[str], folder: Path) -> list[list[str]]:
    """Return the commands that compile the agent, with played system calls, into ``folder``."""
    world = str(WORLD.with_suffix(".h"))
    commands = [
        [*compiler, *WARNINGS, "-include", world, "-c", str(path), "-o", f"{folder}/{path.stem}.o"]
        for path in sorted(AGENT.glob("*.c"))
    ]
    return [*commands, [*compiler, *WARNINGS, "-c", str(WORLD), "-o", f"{folder}/world.o"]]


def target_command(
    compiler: list[str], name: str, objects: Path, program: Path, *more: Path
) -> list[str]:
    """Return the command that links a target, the ``objects`` of the agent and ``more`` files."""
    parts = map(str, [FOLDER / f"c/{name}.c", *more, *sorted(objects.glob("*.o"))])
    return [*compiler, *WARNINGS, f"-I{AGENT}", f"-I{WORLD.parent}", *parts, "-o", str(program)]
