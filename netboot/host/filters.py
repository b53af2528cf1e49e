"""Filters of sockets: programs of classic BPF that the kernel runs on each packet.

A program is a sequence of instructions: code, jump if true, jump if false, value
(linux/bpf_common.h).
"""

import ctypes
import socket
import struct
from collections.abc import Sequence

Instruction = tuple[int, int, int, int]

SO_ATTACH_FILTER = 26  # asm-generic/socket.h
ACCEPT: Instruction = (0x06, 0, 0, 0x40000)
DROP: Instruction = (0x06, 0, 0, 0)


def udp_to(port: int) -> tuple[Instruction, ...]:
    """Return a program that accepts UDP over IPv4 to ``port``. Packets begin with the IP header."""
    return (
        (0x30, 0, 0, 9),  # A = the protocol of IPv4
        (0x15, 0, 6, 17),  # UDP?
        (0x28, 0, 0, 6),  # A = flags and fragment offset
        (0x45, 4, 0, 0x1FFF),  # not the first fragment?
        (0xB1, 0, 0, 0),  # X = length of the header
        (0x48, 0, 0, 2),  # A = destination port
        (0x15, 0, 1, port),
        ACCEPT,
        DROP,
    )


def attach(bound: socket.socket, program: Sequence[Instruction]) -> None:
    """Have the kernel drop packets that ``program`` does not accept. Raises OSError."""
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code)
    # struct sock_fprog; the kernel copies the program.
    head = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    bound.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, head)
