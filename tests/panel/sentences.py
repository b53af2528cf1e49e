"""The sentences that Python can send to the page, found in its source, and those of PCs.

A sentence is a text with at least two words. Values in it are ``{}``.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from netboot.boot.silence import Silent
from netboot.boot.stages import BY_NAME
from netboot.boot.waits import SWAP_WAITS, WAITS
from tests import ROOT

FOLDERS = ("panel", "serve", "pages")
# Calls whose texts reach the page: errors of the API, refusals, messages of events, troubles.
CALLS = frozenset(
    (
        *("refuse", "PortError", "Refused", "Ignored", "record", "tell", "complain"),
        *("AnswerError", "SilenceError", "Trouble"),
    )
)
# Functions and tables all of whose sentences do.
WHOLE = {
    "boot/flapping.py": ("summaries",),
    "boot/memory.py": ("__str__",),
    "boot/slices.py": ("complaint",),
    "pages/crew.py": ("_lose", "_reported", "_tell_attached"),
    "pages/exports.py": ("lose",),
    "pages/static_exports.py": ("lose",),
    "pages/rivals.py": ("warn_if_moved", "_refuse"),
    "panel/follow.py": ("WRONG_KEY", "PROBLEMS", "_refusal", "_why"),
    "panel/servers.py": ("send", "_part"),
    "panel/web/guard.py": ("_refusal", "__call__"),
    "panel/history/database.py": ("reason",),
    "panel/history/postgresql.py": ("_REASONS", "reason"),
    "panel/history/reading.py": ("_inventory_row",),
    "panel/history/rooms.py": ("regression",),
    "panel/history/sqlite.py": ("_REASONS", "reason"),
    "panel/keeping.py": ("REMEDY", "connected"),
    "panel/web/problems.py": ("DOCS", "_http", "_away"),
    "panel/web/stream.py": ("refusal",),
    "roots/checks.py": ("missing", "misfit", "foreign", "flaw", "line", "judged"),
    "serve/dhcp/full.py": ("full_mode", "_released", "_declined", "_shortage", "_request"),
    "serve/dhcp/record.py": ("of_request", "of_failure", "of_damage"),
    "serve/dhcp/refusal.py": ("HTTP_SHOWS",),
    "serve/dhcp/sender.py": ("client_from_packet", "not_ethernet"),
    "serve/doors.py": ("UNKNOWN", "RUNS", "SHOWS", "_at", "_denied", "_where", "refused"),
    "serve/feed/acting.py": ("_refusal", "_carried_out", "_order_entry"),
    "serve/http/orders.py": ("OFF", "OLD", "refusal"),
    "serve/http/server.py": ("_sent",),
    "serve/leases.py": ("end_all",),
    "serve/tftp_files.py": ("CAUSES",),
    "serve/room.py": ("plan", "missing"),
    "serve/seats.py": ("met", "report"),
    "serve/page_events.py": ("_watch_address",),
}
# Programs that stand for a PC in tests and bring their own errors to a terminal; lines of a log alone.
NOT_SHOWN = re.compile(r"client\.py$|tftp/download\.py$|history/writer\.py:tell$")
# What reads the same in each language, parts that only come with others, and answers to a PC alone.
LEFT_OUT = frozenset(
    (
        "{} {} kB in {} s",
        "{} {} MB in {} s, {} MB/s",
        "sudo netboot image update {}",
        "Not Found",
        "{} is in no network of this server; if PCs boot there, add its network ",
        "to dhcp.networks",
        "; {} holds most, {} MiB",
        "swap of {} MiB granted{}",
        "this is for {}: {}",
        "lease: expected size=BYTES or refused=REASON, found {}",
    )
)
_PLACE = re.compile(r"\{\w*\}")


def bare(template: str) -> str:
    """Return a template with values that have no names."""
    return _PLACE.sub("{}", template)


def is_sentence(text: str) -> bool:
    """Return True if a text has words enough to be one."""
    return " " in text and len(re.findall(r"[A-Za-z]{2,}", _PLACE.sub("", text))) >= 2


def texts_of(node: ast.AST) -> Iterator[str]:
    """Yield the texts in a piece of source. Those of the log are for its terminal."""
    match node:
        case ast.JoinedStr(values=values):
            parts = (str(e.value) if isinstance(e, ast.Constant) else "{}" for e in values)
            yield "".join(parts)
        case ast.Constant(value=str(text)):
            yield text
        case ast.Call(func=ast.Attribute(value=ast.Name(id="log"))):
            pass
        case ast.Expr(value=ast.Constant()):
            pass
        case _:
            for child in ast.iter_child_nodes(node):
                yield from texts_of(child)


def _found(tree: ast.Module, name: str, whole: tuple[str, ...]) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=own, body=body) | ast.AsyncFunctionDef(name=own, body=body):
                if own in whole:
                    for statement in body:
                        yield from texts_of(statement)
            case ast.Assign(targets=[ast.Name(id=own)], value=value) if own in whole:
                yield from texts_of(value)
            case ast.Call(func=ast.Attribute(attr=called) | ast.Name(id=called), args=given):
                if called in CALLS and not NOT_SHOWN.search(f"{name}:{called}"):
                    for argument in given:
                        yield from texts_of(argument)
            case _:
                pass


def sent() -> list[tuple[str, str]]:
    """Return each sentence that Python can send to the page, and its module."""
    found = []
    for path in sorted((ROOT / "netboot").rglob("*.py")):
        name = str(path.relative_to(ROOT / "netboot"))
        if name in WHOLE or (name.startswith(FOLDERS) and not NOT_SHOWN.search(name)):
            tree = ast.parse(path.read_text())
            found += [(name, bare(each)) for each in _found(tree, name, WHOLE.get(name, ()))]
    unique = dict.fromkeys(found)
    return [each for each in unique if is_sentence(each[1]) and each[1] not in LEFT_OUT]


def made() -> list[str]:
    """Return the sentences that tables have: remedies, and what a silent PC is told to be."""
    remedies = [stage.remedy for stage in BY_NAME.values() if stage.remedy]
    waits = [Silent("", wait, wait.seconds).message for wait in (*WAITS, *SWAP_WAITS)]
    return [*dict.fromkeys(remedies), *waits]


def words_of_all() -> str:
    """Return all texts of programs, without what stands in place of their values."""
    return "\n".join(_words(path) for path in _programs())


def _programs() -> Iterator[Path]:
    for folder in ("netboot", "initramfs", "rootfs/screen"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix in (".py", ".c", ".sh", ""):
                yield path


def _words(path: Path) -> str:
    text = path.read_text(errors="replace")
    if path.suffix == ".py":
        return "\n".join(_all_texts(ast.parse(text)))
    return re.sub(r"\"\s*\n\s*\"", "", text)


def _all_texts(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        match each:
            case ast.JoinedStr():
                yield from texts_of(each)
            case ast.Constant(value=str(text)):
                yield text
            case _:
                pass
