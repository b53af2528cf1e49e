"""Filters of sockets: programs of classic BPF that the kernel runs on each packet.

An instruction is its code, the jumps if true and if false, and a value (linux/bpf_common.h).
"""

import ctypes
import socket
import struct
from collections.abc import Sequence

Instruction = tuple[int, int, int, int]
Load = tuple[int, int]  # code, offset
Test = tuple[int, int, bool]  # code, value, whether it must be true

SO_ATTACH_FILTER = 26  # asm-generic/socket.h
ACCEPT: Instruction = (0x06, 0, 0, 0x40000)
DROP: Instruction = (0x06, 0, 0, 0)
LOAD_HALF, LOAD_BYTE = 0x28, 0x30  # two bytes, or one, into A
LOAD_HEADER_BYTES = 0xB1  # the length of the IP header into X
LOAD_WORD_AFTER, LOAD_HALF_AFTER = 0x40, 0x48  # four bytes, or two, X bytes further on
EQUAL, ANY_BIT = 0x15, 0x45
UDP = 17
FRAGMENT_OFFSET = 0x1FFF


def udp_to(port: int) -> tuple[Load | Test, ...]:
    """Return the steps that accept UDP over IPv4 to ``port``. X is the place of UDP's header.

    Packets begin with the IP header.
    """
    return (
        (LOAD_BYTE, 9),
        (EQUAL, UDP, True),
        (LOAD_HALF, 6),
        (ANY_BIT, FRAGMENT_OFFSET, False),
        (LOAD_HEADER_BYTES, 0),
        (LOAD_HALF_AFTER, 2),
        (EQUAL, port, True),
    )


def program(*steps: Load | Test) -> tuple[Instruction, ...]:
    """Return the program that accepts a packet if all tests agree."""
    made: list[Instruction] = []
    for left, step in zip(range(len(steps), 0, -1), steps, strict=True):
        if len(step) == 2:
            made.append((step[0], 0, 0, step[1]))
        else:
            code, value, wanted = step
            made.append((code, 0, left, value) if wanted else (code, left, 0, value))
    return (*made, ACCEPT, DROP)


def attach(bound: socket.socket, instructions: Sequence[Instruction]) -> None:
    """Have the kernel drop the packets that the program does not accept. Raises OSError."""
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    buffer = ctypes.create_string_buffer(code)
    # struct sock_fprog; the kernel copies the program.
    head = struct.pack("@HP", len(instructions), ctypes.addressof(buffer))
    bound.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, head)
