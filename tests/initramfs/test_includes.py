"""The includes of the swap agent's modules (initramfs/agent): exact, and without a circle.

A module is NAME.c; NAME.h declares what the module offers. A header without functions (agent.h,
types.h) is vocabulary of all modules and belongs to none.
"""

import re
import subprocess
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from netboot.images import compiler, initramfs

AGENT = initramfs.sources() / "agent"
# The C library's header declares what text.c defines; agent.c is the program.
WITHOUT_HEADER = {"text", "agent"}

INCLUDE = re.compile(r'^#include "(\w+\.h)"', re.MULTILINE)
NOT_CODE = re.compile(r"/\*.*?\*/|^#include.*?$", re.DOTALL | re.MULTILINE)
STRING = re.compile(r'"(?:\\.|[^"\\\n])*"')
FUNCTION = re.compile(r"^[a-z_][\w *]*?\b(\w+)\([^;{}]*;", re.MULTILINE)
MACRO = re.compile(r"^#define (\w+)", re.MULTILINE)
TYPE = re.compile(r"^((?:struct|union|enum) \w+) \{", re.MULTILINE)
ENUMERATORS = re.compile(r"^enum \w* ?\{(.*?)\}", re.DOTALL | re.MULTILINE)


def code(path: Path) -> str:
    """Return the text of a C file without comments, includes and strings."""
    return STRING.sub('""', NOT_CODE.sub("", path.read_text()))


def functions(header: Path) -> set[str]:
    return set(FUNCTION.findall(code(header)))


def offered(header: Path) -> set[str]:
    """Return the names that a header declares: functions, macros, types and enumerators."""
    text = code(header)
    guard = header.name.upper().replace(".", "_")
    enumerators = ",".join(ENUMERATORS.findall(text))
    names = {part.split("=")[0].strip() for part in enumerators.split(",")}
    found = functions(header) | names | set(MACRO.findall(text)) | set(TYPE.findall(text))
    return found - {"", guard}


def includes(path: Path) -> set[str]:
    return set(INCLUDE.findall(path.read_text()))


def needed(source: Path) -> set[str]:
    """Return the headers that declare a name which ``source`` uses."""
    text = code(source)
    return {
        header.name
        for header in source.parent.glob("*.h")
        if any(re.search(rf"\b{name}\b", text) for name in offered(header))
    }


def graph(folder: Path) -> dict[str, set[str]]:
    """Return the modules that each module reaches by includes, those of headers followed."""

    def used(path: Path) -> set[str]:
        found: set[str] = set()
        for header in sorted(includes(path) - {f"{path.stem}.h"}):
            has_module = functions(folder / header) and (folder / header).with_suffix(".c").exists()
            found |= {Path(header).stem} if has_module else used(folder / header)
        return found

    return {
        source.stem: used(source)
        | (used(header) if (header := source.with_suffix(".h")).exists() else set())
        for source in folder.glob("*.c")
    }


def circle(folder: Path) -> list[str]:
    """Return the modules of a circle of includes, empty if there is none."""
    try:
        list(TopologicalSorter(graph(folder)).static_order())
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_modules_include_each_other_without_a_circle() -> None:
    assert len(graph(AGENT)) > 15
    assert circle(AGENT) == []


def test_the_modules_order_in_the_overview_is_an_order_of_includes() -> None:
    listed = re.findall(r"^ \*   (\w+)\.c ", (AGENT / "agent.h").read_text(), re.MULTILINE)
    found = graph(AGENT)
    assert sorted(listed) == sorted(found)
    for at, module in enumerate(listed):
        assert found[module] <= set(listed[:at]), module


def test_each_module_has_a_header_for_what_it_offers() -> None:
    for source in AGENT.glob("*.c"):
        if source.stem not in WITHOUT_HEADER:
            assert functions(source.with_suffix(".h")), source.name
            assert source.with_suffix(".h").name in includes(source)


@pytest.mark.parametrize("source", sorted(AGENT.glob("*.c")), ids=lambda path: path.stem)
def test_a_module_includes_exactly_the_headers_that_it_needs(source: Path) -> None:
    assert includes(source) - {f"{source.stem}.h"} == needed(source) - {f"{source.stem}.h"}


def symbols(path: Path, kinds: str) -> set[str]:
    """Return the names of those ``kinds`` in an object file, as nm(1) prints them."""
    done = subprocess.run(["nm", path], capture_output=True, text=True, check=True)
    words = [line.split() for line in done.stdout.splitlines()]
    return {line[-1] for line in words if line[-2] in kinds}


@pytest.mark.system
def test_modules_call_only_modules_that_they_include(tmp_path: Path) -> None:
    command = [*compiler.native().command, "-std=gnu11", "-Os", "-c", *map(str, AGENT.glob("*.c"))]
    subprocess.run(command, cwd=tmp_path, check=True)
    defined = {path.stem: symbols(path, "TDB") for path in tmp_path.glob("*.o")}
    for module, reached in graph(AGENT).items():
        wanted = symbols(tmp_path / f"{module}.o", "U")
        assert {other for other, names in defined.items() if names & wanted} <= reached | {"text"}


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        stem, kind = name.rsplit("_", 1)
        (folder / f"{stem}.{kind}").write_text(text)


def test_a_circle_is_found(tmp_path: Path) -> None:
    write(
        tmp_path,
        words_h="#define MANY 5 /* not a_function(int); */\n",
        a_h="int a(int number);\n",
        b_h="void b(void);\n",
        c_h="void c(void);\n",
        a_c='#include "a.h"\n#include "b.h"\n#include "words.h"\nint a(int n) { b(); return n; }\n',
        b_c='#include "b.h"\n#include "c.h"\nvoid b(void) { c(); }\n',
        c_c='#include "c.h"\nvoid c(void) {}\n',
    )
    assert graph(tmp_path) == {"a": {"b"}, "b": {"c"}, "c": set()}
    assert circle(tmp_path) == []
    write(tmp_path, c_c='#include "a.h"\n#include "c.h"\nvoid c(void) { a(1); }\n')
    assert set(circle(tmp_path)) == {"a", "b", "c"}


def test_a_circle_through_headers_is_found(tmp_path: Path) -> None:
    write(
        tmp_path,
        types_h='#include "b.h"\nstruct both { struct b b; };\n',
        a_h='#include "types.h"\nvoid a(struct both *both);\n',
        b_h="struct b {\n    int n;\n};\nvoid b(void);\n",
        a_c='#include "a.h"\nvoid a(struct both *both) { both->b.n = 0; }\n',
        b_c='#include "b.h"\nvoid b(void) {}\n',
    )
    assert graph(tmp_path)["a"] == {"b"}
    write(tmp_path, b_c='#include "a.h"\n#include "b.h"\nvoid b(void) { a(0); }\n')
    assert set(circle(tmp_path)) == {"a", "b"}


def test_needed_headers_are_those_of_the_names_in_use(tmp_path: Path) -> None:
    write(
        tmp_path,
        a_h="#ifndef A_H\n#define A_H\nint a(int n,\n      int m);\nenum kind { ONE, TWO = 2 };\n#endif\n",
        b_h="struct box {\n    int n;\n};\n",
        c_h="struct box;\nvoid c(struct box *box);\n",
        calls_c="void f(void) { a(1, 2); }\n",
        counts_c="int f(void) { return TWO; }\n",
        holds_c="void f(void) { struct box box = {0}; }\n",
        says_c='/* a(), c() */\nconst char *f(void) { int box; return "a c TWO"; }\n',
    )
    found = {path.stem: needed(path) for path in tmp_path.glob("*.c")}
    assert found == {"calls": {"a.h"}, "counts": {"a.h"}, "holds": {"b.h"}, "says": set()}
