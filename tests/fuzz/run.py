"""Run the fuzz targets: ``python -m tests.fuzz.run [--seconds N] [--jobs N] [--keep] [TARGET...]``.

By default as many run at a time as there are CPUs. Each begins with the corpus of the repository and with the
inputs that earlier runs found here (build/fuzz/corpus). ``--keep`` puts the smallest set of both
that reaches all code into the repository. Exit status 1 if an input was found that must not be.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory

from tests import ROOT
from tests.fuzz.table import CORPUS, PYTHON, C, agent_commands, target_command

WORK = ROOT / "build/fuzz"
SANITIZERS = ["-fno-sanitize-recover=all"]
LONGEST_INPUT = 4096
# By the wall's clock: on a machine with 20 busy processes 150 bytes once took 6 s, alone 20 us.
HANG_SECONDS = 25
# Code, modules and libFuzzer's corpus. ASan keeps freed memory for a while.
MEMORY_MB = {"c": 1024, "python": 400}
FOUND = "found-"  # begins the names of corpus files that once were crashes: --keep keeps them
ROW = "{:<10} {:>12} {:>9} {:>9} {:>8}  {}"


@dataclass(frozen=True, slots=True)
class Result:
    """The end of one target's run; the figures are libFuzzer's."""

    name: str
    passed: bool
    runs: str
    rate: str
    coverage: str
    corpus: str
    log: Path

    def row(self) -> str:
        """Return a line of the table."""
        end = "" if self.passed else "FAILED"
        return ROW.format(self.name, self.runs, self.rate, self.coverage, self.corpus, end)


def build(names: list[str]) -> None:
    """Compile the C targets of ``names`` with ASan, UBSan and libFuzzer into build/fuzz/bin."""
    if not names:
        return
    programs = WORK / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    compiler = ["clang", *SANITIZERS]
    compile_only = [*compiler, "-fsanitize=fuzzer-no-link,address,undefined"]
    link = [*compiler, "-fsanitize=fuzzer,address,undefined"]
    with TemporaryDirectory(dir=WORK) as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = Path(folder)
        list(pool.map(_must, agent_commands(compile_only, objects)))
        list(pool.map(_must, [target_command(link, n, objects, programs / n) for n in names]))


def _must(command: list[str]) -> None:
    subprocess.run(command, check=True)


def program(name: str) -> list[str]:
    """Return the command of a target, to which libFuzzer's options are added."""
    if name in C:
        return [str(WORK / "bin" / name)]
    # Started by a shell: a program that we execute ourselves inherits our peak of memory
    # (fs/exec.c, setmax_mm_hiwater_rss), and libFuzzer's limit applies to the peak.
    start = ["sh", "-c", '"$@"; exit $?', "sh"]
    return [*start, sys.executable, "-m", "tests.fuzz.python_target", name]


def fuzz(name: str, seconds: int) -> Result:
    """Run one target for ``seconds``."""
    work, found, log = WORK / "corpus" / name, WORK / "found" / name, WORK / f"{name}.log"
    for folder in (work, found):
        folder.mkdir(parents=True, exist_ok=True)
    memory = MEMORY_MB["c" if name in C else "python"]
    options = [f"-max_total_time={seconds}", f"-max_len={LONGEST_INPUT}", "-print_final_stats=1"]
    if os.environ.get("CI") == "true":
        # A find by chance would stop a change that is not at fault. Other runs look further each time.
        options.append("-seed=1")
    options += [f"-timeout={HANG_SECONDS}", f"-rss_limit_mb={memory}", f"-artifact_prefix={found}/"]
    with log.open("wb") as output:
        command = [*program(name), *options, str(work), str(CORPUS / name)]
        done = subprocess.run(command, cwd=ROOT, stdout=output, stderr=output, check=False)
    text = log.read_text(errors="replace")

    def figure(pattern: str) -> str:
        found = re.findall(pattern, text)
        return found[-1] if found else "-"

    return Result(
        name,
        done.returncode == 0 and "stat::number_of_executed_units" in text,
        figure(r"stat::number_of_executed_units: +(\d+)"),
        figure(r"stat::average_exec_per_sec: +(\d+)"),
        figure(r"cov: (\d+)"),
        figure(r"corp: (\d+)"),
        log,
    )


def explain(result: Result) -> str:
    """Return what is needed to repeat a failure: its end, the input, the command."""
    text = result.log.read_text(errors="replace")
    written = re.findall(r"Test unit written to (\S+)", text)
    lines = [f"\n{result.name}: the end of {result.log.relative_to(ROOT)}:"]
    lines += [line[:200] for line in text.splitlines()[-40:]]
    for path in written:
        lines.append(f"input: {Path(path).relative_to(ROOT)}")
        lines.append(f"repeat: {' '.join([*program(result.name)[-4:], path])}")
    return "\n".join(lines)


def keep(name: str) -> None:
    """Replace the repository's corpus of a target by the smallest set that reaches as much."""
    fresh, kept = WORK / "merged" / name, CORPUS / name
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    kept.mkdir(parents=True, exist_ok=True)
    sources = [str(kept), str(WORK / "corpus" / name)]
    options = ["-set_cover_merge=1", f"-max_len={LONGEST_INPUT}", "-rss_limit_mb=1024"]
    command = [*program(name), *options, str(fresh), *sources]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    for path in kept.iterdir():
        if not path.name.startswith(FOUND):
            path.unlink()
    for path in fresh.iterdir():
        shutil.copy(path, kept / path.name[:16])


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{line.rstrip()}\n")
    sys.stdout.flush()


def main() -> int:
    """Run the targets of the command line, by default all. Return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__)
    parser.add_argument("--seconds", type=int, default=30, help="for each target")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="at a time")
    parser.add_argument("--keep", action="store_true", help="renew tests/fuzz/corpus instead")
    parser.add_argument("names", nargs="*", metavar="TARGET", help=", ".join([*C, *PYTHON]))
    words = parser.parse_args()
    if unknown := set(words.names) - {*C, *PYTHON}:
        parser.error(f"unknown target: {', '.join(sorted(unknown))}")
    pairs = zip_longest(PYTHON, C)  # the slow starts of Python beside C
    names = words.names or [name for name in chain.from_iterable(pairs) if name]
    build([name for name in names if name in C])
    with ThreadPoolExecutor(words.jobs) as pool:
        if words.keep:
            list(pool.map(keep, names))
            return 0
        say(ROW.format("target", "runs", "runs/s", "coverage", "corpus", ""))
        results = []
        for result in pool.map(lambda name: fuzz(name, words.seconds), names):
            say(result.row())
            results.append(result)
    failed = [result for result in results if not result.passed]
    for result in failed:
        say(explain(result))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
