"""The packet filter of this machine, as its own programs print it."""

from dataclasses import dataclass, field
from pathlib import Path

from netboot.deploy.firewall import iptables, nft
from netboot.deploy.firewall.rules import Table
from netboot.errors import AnswerError
from netboot.host.programs import is_installed, run

# Of the older kind of iptables, whose rules nft does not show.
LEGACY_TABLES = Path("/proc/net/ip_tables_names")


@dataclass(slots=True)
class Firewall:
    """The rules of this machine: to be judged as ``tables``, and to be loaded elsewhere as texts.

    ``unread`` says what could not be looked at. ``saved`` has the program that loads each text.
    """

    tables: list[Table] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)  # for nft -f
    saved: list[tuple[str, str]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def read() -> Firewall:
    """Return the rules of this machine, as far as its programs show them to us."""
    found = Firewall()
    by_iptables = _read_nft(found)
    if not _read_iptables(found, "nft") and by_iptables:
        found.unread.append("iptables-nft-save does not show the rules that iptables made")
    try:
        has_legacy = bool(LEGACY_TABLES.read_text().strip())
    except OSError:  # no such tables, or not for us
        has_legacy = False
    if has_legacy and not _read_iptables(found, "legacy"):
        found.unread.append("iptables-legacy-save does not show the rules of its kind that exist")
    return found


def _read_nft(found: Firewall) -> bool:
    """Read nft's own tables. Return True if iptables has tables, which nft cannot show whole."""
    if not is_installed("nft"):
        found.unread.append("nft is not installed (apt install nftables)")
        return False
    done = run(["nft", "-j", "list", "ruleset"], check=False)
    if done.returncode:
        found.unread.append(f"nft: {done.stderr.strip().splitlines()[0] if done.stderr else '?'}")
        return False
    try:
        tables, foreign = nft.parse(done.stdout), nft.managed_by_iptables(done.stdout)
        found.unread += [
            f"table {path} drops frames, and is not looked at"
            for path in nft.frame_filters(done.stdout)
        ]
    except AnswerError as error:
        found.unread.append(str(error))
        return False
    for key, table in tables.items():
        if key in foreign:
            continue
        found.tables.append(table)
        shown = run(["nft", "list", "table", *key], check=False)
        if shown.returncode:
            found.unread.append(f"nft: table {' '.join(key)} is gone")
        found.texts.append(shown.stdout)
    return any(key[0] in nft.FAMILIES for key in foreign)


def _read_iptables(found: Firewall, kind: str) -> bool:
    """Read the rules of one kind of iptables. Return False if it shows none."""
    program = f"iptables-{kind}"
    if not is_installed(f"{program}-save"):
        return False
    done = run([f"{program}-save"], check=False)
    try:
        tables = iptables.parse(done.stdout)
    except AnswerError as error:
        found.unread.append(str(error))
        return True
    found.tables += tables
    found.saved.append((f"{program}-restore", done.stdout))
    return bool(tables)
