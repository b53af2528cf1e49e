"""SQL injection is impossible: statements are built of tables and bound values, never of texts."""

import ast

import pytest

from tests import ROOT

PANEL = ROOT / "netboot" / "panel"
# What makes SQL of a text.
OF_TEXTS = {"text", "TextClause", "literal_column", "DDL", "exec_driver_sql", "op"}
# Its PRAGMAs and BEGIN are constants, and SQLAlchemy has no expression for them.
MAY = {"history/sqlite.py"}
NAMES = sorted(str(path.relative_to(PANEL)) for path in PANEL.rglob("*.py"))


@pytest.mark.parametrize("name", sorted(set(NAMES) - MAY))
def test_no_statement_is_made_of_a_text(name: str) -> None:
    used = set()
    for node in ast.walk(ast.parse((PANEL / name).read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlalchemy"):
            used |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            used |= {node.func.attr} & {"exec_driver_sql", "op"}
    assert used & OF_TEXTS == set()
