"""Each input of the corpus, without a fuzzer: what was found once stays mended."""

import importlib
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fuzz.seeds import seeds
from tests.fuzz.table import CORPUS, PYTHON, REPLAY, C, agent_commands, target_command

GCC = ["gcc", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
MOST_BYTES = 1 << 20  # of the whole corpus, which every clone has


@pytest.mark.parametrize("name", PYTHON)
def test_the_corpus_breaks_no_python(name: str) -> None:
    target = importlib.import_module(f"tests.fuzz.targets.{name}")
    inputs = [(path.name, path.read_bytes()) for path in sorted((CORPUS / name).iterdir())]
    assert inputs
    for file, data in inputs:
        try:
            target.one_input(data)
        except Exception as error:
            raise AssertionError(f"tests/fuzz/corpus/{name}/{file}") from error


def test_dialogues_of_another_program_break_no_handshake() -> None:
    target = importlib.import_module("tests.fuzz.targets.nbd")
    for dialogue in seeds():
        target.one_input(dialogue)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the agent's objects, compiled with gcc's checks."""
    folder = tmp_path_factory.mktemp("objects")

    def compiled(command: list[str]) -> None:
        subprocess.run(command, check=True)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compiled, agent_commands(GCC, folder)))
    return folder


@pytest.mark.system
@pytest.mark.parametrize("name", C)
def test_the_corpus_breaks_no_c(name: str, agent: Path, tmp_path: Path) -> None:
    subprocess.run(target_command(GCC, name, agent, tmp_path / name, REPLAY), check=True)
    inputs = sorted(map(str, (CORPUS / name).iterdir()))
    assert inputs
    done = subprocess.run([tmp_path / name, *inputs], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


def test_the_corpus_is_small_and_has_a_folder_for_each_target() -> None:
    assert sorted(path.name for path in CORPUS.iterdir()) == sorted([*C, *PYTHON])
    assert sum(path.stat().st_size for path in CORPUS.rglob("*")) < MOST_BYTES
