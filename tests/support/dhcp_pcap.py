"""Extract DHCP of real firmware from a capture: ``python -m tests.support.dhcp_pcap IN OUT``.

The questions of the PC are kept unchanged, each one once. The answers are left out.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scapy.layers.inet import UDP
from scapy.utils import PcapReader, wrpcap

SERVER_PORTS = {67, 4011}
BOOTREQUEST = 1


def questions(path: Path) -> Iterator[Any]:
    """Yield the frames with a DHCP message of a client."""
    with PcapReader(str(path)) as reader:
        for frame in reader:
            asks = UDP in frame and frame[UDP].dport in SERVER_PORTS and frame[UDP].sport != 67
            if asks and bytes(frame[UDP].payload)[:1] == bytes((BOOTREQUEST,)):
                yield frame


def main() -> None:
    """Run the command line."""
    source, target = map(Path, sys.argv[1:])
    kept: dict[bytes, Any] = {}
    for frame in questions(source):
        kept.setdefault(bytes(frame[UDP].payload)[28:], frame)  # xid and secs differ in a retry
    wrpcap(str(target), list(kept.values()))


if __name__ == "__main__":
    main()
