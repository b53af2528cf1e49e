"""``python -m tests.fuzz.python_target NAME [libFuzzer options] [FOLDER or FILE...]``: atheris."""

import importlib
import shlex
import sys

import atheris

if __name__ == "__main__":
    _, name, *options = sys.argv
    with atheris.instrument_imports(include=["netboot"]):
        target = importlib.import_module(f"tests.fuzz.targets.{name}")
    # To merge, libFuzzer starts itself: its own name is the begin of that shell command.
    own = shlex.join([sys.executable, "-m", "tests.fuzz.python_target", name])
    atheris.Setup([own, *options], target.one_input)
    atheris.Fuzz()
