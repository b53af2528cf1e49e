"""PCs at switch ports whose network is a tagged VLAN: ``python -m tests.vm.vlan IMAGES MEDIUM FOLDER``.

The UEFI of the first one has the VLAN in its variables, as its setup writes it. The second one has a
BIOS, and boots from a medium of ``netboot media --vlan``. The ports drop frames without the tag. They
are a program, because not every kernel of a host has VLANs. The result is JSON.
"""

import asyncio
import fcntl
import json
import os
import socket
import struct
import sys
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from netboot.lab import machine, network, rig
from netboot.lab.rig import Classroom, Lesson

VLAN = 10
SECONDS = 400.0  # for what takes 40 on an idle machine
KIND = "uefi-vlan"
# <linux/if_tun.h>, <linux/if_packet.h>
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
SOL_PACKET, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING, VLAN_VALID = 263, 8, 23, 0x10
AUXDATA = struct.Struct("<IIIHHHH")
ETH_P_ALL, ETH_P_8021Q = 0x0003, 0x8100
ADDRESSES = 12  # bytes of a frame before the tag
MOST_BYTES = 1 << 16
TAG = struct.pack("!HH", ETH_P_8021Q, VLAN)

# EDK2: MdeModulePkg/Include/Guid/VariableFormat.h; MdePkg/Include/Protocol/VlanConfig.h. Its driver
# reads a list of tags from the variable with the card's MAC address as its name (MnpVlan.c).
VLAN_CONFIG = UUID("9e23d768-d2f3-4366-9fc3-3a7aba864374")
VARIABLE = struct.Struct("<HBBIQ16sIII16s")
STORE = UUID("aaf32c78-947b-439a-a180-2e144ec37792").bytes_le  # of authenticated variables
STORE_HEADER = 28
BEGIN, ADDED, KEPT_FOR_BOOT = 0x55AA, 0x3F, 0x3


def with_vlan(variables: bytes, mac: str) -> bytes:
    """Return the variables of a UEFI with one more: the VLAN of the card ``mac``."""
    name = (mac.replace(":", "").upper() + "\0").encode("utf-16-le")
    data = struct.pack("<H", VLAN)
    head = (BEGIN, ADDED, 0, KEPT_FOR_BOOT, 0, bytes(16), 0, len(name), len(data))
    row = VARIABLE.pack(*head, VLAN_CONFIG.bytes_le) + name + data
    at = variables.index(STORE) + STORE_HEADER
    while variables[at : at + 2] == struct.pack("<H", BEGIN):
        *_, names, values, _ = VARIABLE.unpack_from(variables, at)
        at += VARIABLE.size + names + values
        at += -at % 4
    assert not variables[at : at + len(row)].strip(b"\xff"), "no room"
    return variables[:at] + row + variables[at + len(row) :]


class Port:
    """The port of a switch for the tap device ``name``: tagged there, untagged in the room."""

    def __init__(self, name: str) -> None:
        self.tagged = 0
        network.ip("tuntap", "add", name, "mode", "tap")
        network.ip("link", "set", name, "mtu", "1504", "addrgenmode", "none", "up")
        self._pc = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK)
        self._pc.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self._pc.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self._pc.bind((name, ETH_P_ALL))
        self._room = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        inside = f"port-{name}"
        request = struct.pack("16sH22x", inside.encode(), IFF_TAP | IFF_NO_PI)
        fcntl.ioctl(self._room, TUNSETIFF, request)
        network.ip("link", "set", inside, "master", network.BRIDGE, "up")
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pc, self._from_pc)
        loop.add_reader(self._room, self._from_room)

    def _from_pc(self) -> None:
        frame, more, _, _ = self._pc.recvmsg(MOST_BYTES, socket.CMSG_SPACE(AUXDATA.size))
        # The kernel has taken the tag off.
        for level, kind, data in more:
            if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                status, _, _, _, _, tag, _ = AUXDATA.unpack(data[: AUXDATA.size])
                if status & VLAN_VALID and tag & 0xFFF == VLAN:
                    self.tagged += 1
                    os.write(self._room, frame)
                    return

    def _from_room(self) -> None:
        frame = os.read(self._room, MOST_BYTES)
        try:
            self._pc.send(frame[:ADDRESSES] + TAG + frame[ADDRESSES:])
        except BlockingIOError:  # the PC is slow: a switch drops, too
            return


async def lesson(plan: Lesson) -> tuple[Classroom, list[Port]]:
    """Boot the PCs. Return their classroom and their ports."""
    ports: list[Port] = []
    rig.add_tap = lambda name: ports.append(Port(name))  # type: ignore[attr-defined]
    room = Classroom(plan)
    await room.run()
    return room, ports


def main() -> int:
    """Print the result."""
    images, medium, folder = map(Path, sys.argv[1:4])
    profile, variables = folder / "room.yaml", folder / "vlan.fd"
    profile.write_text(f"boot: {{vlan: {VLAN}}}\n")
    usual = machine.KINDS["uefi"]
    assert usual.flash is not None
    flash = replace(usual.flash, variables=str(variables))
    machine.KINDS[KIND] = replace(usual, flash=flash)
    kinds = (KIND, "bios-cd")
    plan = Lesson(profile, images, folder, clients=2, firmware=kinds, medium=medium)
    # capture: frames without the checksums that a PC leaves to its card.
    plan = replace(plan, timeout=SECONDS, capture=True)
    mac, _ = Classroom(plan).seats
    old = (machine.OVMF / usual.flash.variables).read_bytes()
    variables.write_bytes(with_vlan(old, mac))
    room, ports = asyncio.run(lesson(plan))
    report = {**room.as_json(), "tagged": [port.tagged for port in ports]}
    sys.stdout.write(json.dumps(report) + "\n")
    return 0 if room.ok else 1


if __name__ == "__main__":
    network.run_isolated(main)
