"""The meaning of each key of a section, which is the string below the key in the source. Pure.

pydantic can read these strings too, but reads them whenever the model is imported. That took 40 ms
of each start, and only the schema and the reference show them.
"""

import ast
import inspect
import textwrap
from functools import cache

from netboot.profile.fields import Section


@cache
def descriptions(section: type[Section]) -> dict[str, str]:
    """Return the string below each key, those of base classes included, by the keys' names."""
    found: dict[str, str] = {}
    for base in reversed(section.__mro__):
        if issubclass(base, Section):
            found |= _below_keys(textwrap.dedent(inspect.getsource(base)))
    return found


def _below_keys(source: str) -> dict[str, str]:
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef), source
    found: dict[str, str] = {}
    key = ""
    for statement in definition.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name)):
                key = name
            case ast.Expr(value=ast.Constant(value=str(text))) if key:
                found[key] = inspect.cleandoc(text)
                key = ""
            case _:
                key = ""
    return found
