"""Tasks for a classroom's PCs over SSH, and the wait for their boots at the server."""

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
from netboot.serve.http.status import fetch_history

POLL_SECONDS = 2.0
# The connection must be closed before the machine stops.
COMMANDS = {
    order: f"nohup sh -c 'sleep 1; {order}' >/dev/null 2>&1 &" for order in ("reboot", "poweroff")
}
EFIBOOTMGR = (
    "PATH=$PATH:/usr/sbin:/sbin; command -v efibootmgr >/dev/null || "
    "{ echo 'efibootmgr is not installed: apt install efibootmgr' >&2; exit 1; }; efibootmgr -v"
)
# GRUB resets "once" only on disks where it can write: not LVM, RAID or btrfs (grub-reboot(8)).
GRUB_WRITES = (
    "PATH=$PATH:/usr/sbin:/sbin; cd /boot/grub && "
    'test -z "$(grub-probe --target=abstraction .)" && '
    'test "$(grub-probe --target=fs .)" != btrfs && echo yes'
)


@dataclass(frozen=True, slots=True)
class Server:
    """The boot server. ``port`` is for HTTP."""

    host: Host
    port: int


def _tell_seats(server: Server, access: Access, order: str, hosts: Sequence[Host]) -> set[str]:
    """Have the server give ``order`` to the hosts that run without their disks; return their MACs.

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
    except Exception as error:  # noqa: BLE001 - after any error no PC was told
        raise OperatorError(f"{server.host.seat}: {complaint(server.host, error)}") from None
    return {mac for mac, reason in against.items() if not reason}


def tell(
    order: str,
    hosts: Sequence[Host],
    access: Access,
    server: Server | None,
    size: int,
) -> list[Outcome]:
    """Give ``order`` to ``size`` PCs at a time.

    PCs that run without disk get it from the server, the others by SSH.
    """

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
    """Return the hardware of the PC. Raises Failed, OperatorError."""
    return hardware.parse(far.read(hardware.ASK))


class Orders:
    """The original boot orders of PCs, in a file beside the profile. Threads may share it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def get(self, mac: str) -> str:
        """Return the order of ``mac``; it is empty if we did not change it."""
        return self._read().get(mac, "")

    def put(self, mac: str, order: str) -> None:
        """Store the order of ``mac`` unless one is stored; an empty order deletes it.

        The first order is the original: a second ``netboot`` reads our own from the PC.
        """
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
            try:
                orders: dict[str, str] = json.loads(self._path.read_text())
            except ValueError:
                raise OperatorError(
                    f"{self._path}: damaged, so original boot orders are not known",
                    hint="restore it from a backup, or remove it",
                ) from None
            return orders
        return {}


def to_network(far: Far, found: Hardware, orders: Orders, loader: Path, *, once: bool) -> str:
    """Make the PC boot from the network, ``once`` or from now on. Raises Failed, OperatorError."""
    if found.firmware == "uefi":
        variables = bootorder.parse_efibootmgr(far.read(EFIBOOTMGR, root=True))
        commands = bootorder.efi_commands(variables, found.mac, once=once)
        if not once and not far.dry:
            orders.put(found.mac, ",".join(variables.order))
        for command in commands:
            far.do(command)
        return f"UEFI: {bootorder.network_entry(variables, found.mac).name}"
    if once and far.read(GRUB_WRITES, root=True, status=False).strip() != "yes":
        raise Failed("GRUB cannot boot an entry once from LVM, RAID or btrfs; use --always")
    custom = far.read(f"cat {bootorder.GRUB_CUSTOM} 2>/dev/null", root=True, status=False)
    far.do(f"install -m 644 {far.put(loader)} {bootorder.GRUB_LOADER}")
    _write(far, bootorder.grub_entry(custom, once=once))
    if once:
        far.do(f"PATH=$PATH:/usr/sbin grub-reboot {bootorder.GRUB_ENTRY}")
    return "BIOS: GRUB loads iPXE"


def to_disk(far: Far, found: Hardware, orders: Orders) -> str:
    """Undo ``to_network``. Raises Failed, OperatorError."""
    if found.firmware == "uefi":
        variables = bootorder.parse_efibootmgr(far.read(EFIBOOTMGR, root=True))
        commands = bootorder.efi_restore(variables, found.mac, orders.get(found.mac))
        for command in commands:
            far.do(command)
        if not far.dry:
            orders.put(found.mac, "")
        return "UEFI: boot order restored" if commands else "nothing to undo"
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
    """Return the time of a seat's last event by the server's clock, or 0. Raises OperatorError."""
    return max((event["when"] for event in _events(server, mac)), default=0.0)


def wait_for_userland(server: str, mac: str, since: float, seconds: float) -> str:
    """Wait until the seat has reported userland to ``server`` later than ``since``.

    ``since`` is by the server's clock. Raises Failed with the seat's last stage after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    last = "no request from it"
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
    history = fetch_history(server, mac)
    return [] if history is None else history["events"]
