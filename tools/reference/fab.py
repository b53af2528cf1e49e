"""The tasks of fabfile.py."""

import importlib
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from tools.reference.markdown import code, table


def tasks() -> Mapping[str, Any]:
    """Return fabfile's tasks by the names that ``fab`` takes."""
    namespace = importlib.import_module("fabfile").namespace
    return {name: namespace[name] for name in sorted(namespace.task_names)}


def options(task: Any) -> Mapping[str, str]:
    """Return the help of each option of a task."""
    found = {}
    for argument in deepcopy(task).get_arguments():  # which takes the help texts out of the task
        names = [f"-{name}" if len(name) == 1 else f"--{name}" for name in argument.names]
        for name in names:
            found[name.replace("_", "-")] = argument.help or ""
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _tasks() -> str:
    parts = []
    for name, task in tasks().items():
        rows = [(code(option), text) for option, text in options(task).items()]
        parts += [f"## fab {name}", task.__doc__ or "", table(("Option", "Meaning"), rows)]
    return "\n\n".join(parts)


BLOCKS: Mapping[str, Callable[[], str]] = {"fab": _tasks}
