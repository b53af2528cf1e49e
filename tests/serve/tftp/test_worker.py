"""A worker's session: which requests of its client mean this transfer."""

import os
import socket
from pathlib import Path

from netboot.serve.tftp import packet
from netboot.serve.tftp.handover import Job
from netboot.serve.tftp.worker import LATE_SECONDS, Session


def test_a_repeated_request_means_a_transfer_that_goes_on(tmp_path: Path) -> None:
    (path := tmp_path / "loader").write_bytes(bytes(5000))
    one, other = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    one.bind(("127.0.0.1", 0))
    other.bind(("127.0.0.1", 0))
    one.connect(other.getsockname())
    session = Session(Job(1, "loader", {}, 1500, 20), one, os.open(path, os.O_RDONLY), print)
    session.sender.start(0.0)
    assert session.may_repeat(9.0), "its client has acknowledged nothing"
    session.sender.receive(packet.ack(1), 9.0)
    assert session.may_repeat(9.0 + LATE_SECONDS / 2)
    session.sender.receive(packet.ack(2), 9.0 + LATE_SECONDS)
    assert session.may_repeat(9.0 + 1.5 * LATE_SECONDS), "it is under way for longer than that"
    assert not session.may_repeat(9.0 + 2 * LATE_SECONDS), "the PC was switched off and on"
    session.close()
    other.close()
