"""The stages of events, from their table."""

from collections.abc import Callable, Mapping
from functools import partial

from netboot.boot.stages import GROUPS, StageGroup
from tools.reference.markdown import code, table


def _group(group: StageGroup) -> str:
    rows = [(code(stage.name), stage.meaning, stage.remedy) for stage in group.stages]
    return f"{group.source}\n\n{table(('Stage', 'Meaning', 'What to do'), rows)}"


BLOCKS: Mapping[str, Callable[[], str]] = {
    f"stages: {group.title}": partial(_group, group) for group in GROUPS
}
