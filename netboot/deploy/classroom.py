"""What is done to a classroom's PCs over SSH, and how they are waited for at the server."""

import contextlib
import json
import shlex
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netboot.deploy import bootorder, hardware, layout
from netboot.deploy.fleet import Access, Failed, Far, complaint, on_each
from netboot.deploy.hardware import Hardware
from netboot.deploy.remote import NETBOOT
from netboot.deploy.report import Outcome
from netboot.deploy.roster import Host
from netboot.errors import OperatorError
from netboot.host.files import replace_file
from netboot.serve.http.status import fetch_status

POLL_SECONDS = 2.0
# The connection must be closed before the machine goes.
COMMANDS = {
    order: f"nohup sh -c 'sleep 1; {order}' >/dev/null 2>&1 &" for order in ("reboot", "poweroff")
}
EFIBOOTMGR = (
    "PATH=$PATH:/usr/sbin:/sbin; command -v efibootmgr >/dev/null || "
    "{ echo 'it has no efibootmgr: apt install efibootmgr' >&2; exit 1; }; efibootmgr -v"
)
# GRUB can take its "once" back only where it can write: not on LVM, RAID or btrfs (grub-reboot(8)).
GRUB_WRITES = (
    "PATH=$PATH:/usr/sbin:/sbin; cd /boot/grub && "
    'test -z "$(grub-probe --target=abstraction .)" && '
    'test "$(grub-probe --target=fs .)" != btrfs && echo yes'
)


@dataclass(frozen=True, slots=True)
class Server:
    """The boot server: ``port`` is that of HTTP."""

    host: Host
    port: int


def _tell_seats(server: Server, access: Access, order: str, hosts: Sequence[Host]) -> set[str]:
    """Has the server tell those of ``hosts`` that run without their disks; returns their MACs.
    Raises OperatorError if the server cannot be asked.
    """
    macs = [host.mac for host in hosts if host.mac]
    if not macs:
        return set()
    options = f"--json --state {layout.STATE} --server 127.0.0.1:{server.port}"
    command = f"{NETBOOT} order {order} {' '.join(macs)} {options} || test $? = 1"
    try:
        with contextlib.closing(Far(server.host, access)) as far:
            against = json.loads(far.do(command) or "{}")
    except Exception as error:  # noqa: BLE001 - whatever it is, nobody was told
        raise OperatorError(f"{server.host.seat}: {complaint(server.host, error)}") from None
    return {mac for mac, reason in against.items() if not reason}


def tell(
    order: str,
    hosts: Sequence[Host],
    access: Access,
    server: Server | None,
    size: int,
) -> list[Outcome]:
    """Tells ``size`` PCs at a time: those that run without disk by their server, the rest by SSH."""

    def step(far: Far) -> str:
        far.do(COMMANDS[order])
        return "told"

    outcomes = []
    for begin in range(0, len(hosts), size):
        wave = hosts[begin : begin + size]
        seats = set() if server is None else _tell_seats(server, access, order, wave)
        rest = iter(on_each([h for h in wave if h.mac not in seats], access, order, step, size))
        outcomes += [
            Outcome(h.seat, order, True, "told by the server", 0.0)
            if h.mac in seats
            else next(rest)
            for h in wave
        ]
    return outcomes


def ask(far: Far) -> Hardware:
    """What the PC is. Raises Failed, OperatorError."""
    return hardware.parse(far.read(hardware.ASK))


class Orders:
    """The boot orders that PCs had before, in a file beside the profile. Many PCs at once may ask."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def get(self, mac: str) -> str:
        """The order of ``mac``, empty if it was not changed."""
        return self._read().get(mac, "")

    def put(self, mac: str, order: str) -> None:
        """Keeps the first one: a second ``netboot`` finds our own. An empty one forgets."""
        with self._lock:
            before = self._read()
            orders = (
                {mac: order, **before} if order else {k: v for k, v in before.items() if k != mac}
            )
            if orders == before:
                return
            replace_file(self._path, json.dumps(orders, indent=1) + "\n")

    def _read(self) -> dict[str, str]:
        with contextlib.suppress(FileNotFoundError):
            orders: dict[str, str] = json.loads(self._path.read_text())
            return orders
        return {}


def to_network(far: Far, found: Hardware, orders: Orders, loader: Path, *, once: bool) -> str:
    """Has the PC boot from the network next time, or from now on. Raises Failed, OperatorError."""
    if found.firmware == "uefi":
        variables = bootorder.parse_efibootmgr(far.read(EFIBOOTMGR, root=True))
        commands = bootorder.efi_commands(variables, found.mac, once=once)
        if not once and not far.dry:
            orders.put(found.mac, ",".join(variables.order))
        for command in commands:
            far.do(command)
        return f"UEFI: {bootorder.network_entry(variables, found.mac).name}"
    if once and far.read(GRUB_WRITES, root=True, status=False).strip() != "yes":
        raise Failed("its GRUB cannot boot something once (LVM, RAID or btrfs): use --always")
    custom = far.read(f"cat {bootorder.GRUB_CUSTOM} 2>/dev/null", root=True, status=False)
    far.do(f"install -m 644 {far.put(loader)} {bootorder.GRUB_LOADER}")
    _write(far, bootorder.grub_entry(custom, once=once))
    if once:
        far.do(f"PATH=$PATH:/usr/sbin grub-reboot {bootorder.GRUB_ENTRY}")
    return "BIOS: GRUB loads iPXE"


def to_disk(far: Far, found: Hardware, orders: Orders) -> str:
    """Undoes that. Raises Failed, OperatorError."""
    if found.firmware == "uefi":
        variables = bootorder.parse_efibootmgr(far.read(EFIBOOTMGR, root=True))
        commands = bootorder.efi_restore(variables, found.mac, orders.get(found.mac))
        for command in commands:
            far.do(command)
        if not far.dry:
            orders.put(found.mac, "")
        return "UEFI: boot order as it was" if commands else "nothing to undo"
    custom = far.read(f"cat {bootorder.GRUB_CUSTOM} 2>/dev/null", root=True, status=False)
    kept = bootorder.without_entry(custom)
    if kept == custom:
        return "nothing to undo"
    if kept:
        _write(far, kept)
    else:
        far.do(f"rm {bootorder.GRUB_CUSTOM}")
    far.do(f"rm -f {bootorder.GRUB_LOADER}")
    far.do(f"PATH=$PATH:/usr/sbin grub-editenv {bootorder.GRUB_FOLDER}/grubenv unset next_entry")
    return "BIOS: GRUB's entry removed"


def _write(far: Far, custom: str) -> None:
    aside = f"{bootorder.GRUB_CUSTOM}.new"
    far.do(f"printf %s {shlex.quote(custom)} > {aside} && mv {aside} {bootorder.GRUB_CUSTOM}")


def last_event(server: str, mac: str) -> float:
    """When the seat was heard of last, by the server's clock; 0 if never. Raises OperatorError."""
    return max((event["when"] for event in _events(server, mac)), default=0.0)


def wait_for_userland(server: str, mac: str, since: float, seconds: float) -> str:
    """Returns when the seat has reported userland to ``server`` later than ``since``, which is by
    the server's clock. Raises Failed with the last stage it came to.
    """
    deadline = time.monotonic() + seconds
    last = "it has not asked for anything"
    while time.monotonic() < deadline:
        with contextlib.suppress(OperatorError):  # the server may be away for a moment
            for event in _events(server, mac):
                if event["when"] > since:
                    last = f"{event['stage']}: {event['message']}"
                    if event["stage"] == "userland":
                        return "in userland"
        time.sleep(POLL_SECONDS)
    raise Failed(f"no userland after {seconds:g} s; last: {last}")


def _events(server: str, mac: str) -> list[dict[str, Any]]:
    seats = fetch_status(server)["seats"]
    return next((seat["events"] for seat in seats if seat["mac"] == mac), [])
