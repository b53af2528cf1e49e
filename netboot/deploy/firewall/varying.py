"""Parts of rules that vary: they may do otherwise with an equal packet. Pure.

They count packets, look at the clock, the PC's network card or the server's user, or throw dice. A
copy of the rules, asked once, cannot tell what they do with a room of PCs.
"""

from typing import Any

# Of nft: statements and expressions, and the keys of meta and ct (nft(8)).
PARTS = frozenset(("limit", "quota", "ct count", "numgen", "socket"))
META = frozenset(("hour", "day", "time", "skuid", "skgid", "cgroup", "cpu"))
CT = frozenset(("count", "bytes", "packets", "avgpkt", "expiration"))
# Of iptables: matches (iptables-extensions(8)).
MATCHES = frozenset(
    (
        *("connbytes", "connlimit", "hashlimit", "limit", "quota", "rateest", "recent"),
        *("mac", "owner", "statistic", "time"),
    )
)


def varies_in_nft(part: Any) -> bool:
    """Return True if a rule of nft with this part, as JSON, varies."""
    match part:
        case {"meta": {"key": key}}:
            return key in META
        case {"ct": {"key": key}}:
            return key in CT
        case {"payload": {"protocol": "ether"} | {"base": "ll"}}:
            return True
        case {"set": {"op": _}}:  # it adds the PC to a set, perhaps with a limit of its own
            return True
        case dict():
            return any(key in PARTS or varies_in_nft(inner) for key, inner in part.items())
        case list():
            return any(map(varies_in_nft, part))
        case _:
            return False
