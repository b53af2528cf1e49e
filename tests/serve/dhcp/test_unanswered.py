"""An answer that this server cannot give names its PC, in the log and in the PC's history."""

import asyncio
import errno
from pathlib import Path

import pytest

from netboot.boot.events import Journal
from netboot.serve.dhcp import leasefile
from netboot.serve.dhcp.packet import MessageType
from tests.serve.dhcp.test_responder import FULL, PROXY
from tests.serve.dhcp.wire import ETH, Wire, server
from tests.support.pxe_client import UEFI_X64, PxeClient

ANN = PxeClient(mac="52:54:00:00:00:01", arch=UEFI_X64)


def test_a_firewall_that_lets_no_answer_out_is_told_for_each_pc(
    caplog: pytest.LogCaptureFixture,
) -> None:
    journal, wire = Journal(), Wire(errno.EPERM)
    server(PROXY, journal)._answer_all(wire.arrived(ANN.discover()))
    asked, refused = journal.history(ANN.mac)
    assert asked.message.startswith("DISCOVER")
    assert refused.message == (
        "no OFFER is sent: Operation not permitted: this machine's firewall does not let it out; "
        "the PC shows: PXE-E16: No valid offer received"
    )
    assert f"{ANN.mac}: {refused.message}" in caplog.text


def test_a_lease_that_cannot_be_saved_is_told_for_each_pc(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leasefile, "SAVE_SECONDS", 0.01)
    (tmp_path / "file").touch()  # in place of the folder
    journal, wire = Journal(), Wire()

    async def scenario() -> None:
        ours = server(FULL, journal, tmp_path / "file" / "leases.json")
        ours._answer_all(wire.arrived(ANN.discover()))
        ours._answer_all(wire.arrived(ANN.request(("server_id", str(ETH.address)))))
        await asyncio.gather(*ours._waiting)
        await ours.stop()

    asyncio.run(scenario())
    assert wire.sent == [MessageType.DHCPOFFER]
    *_, asked, refused = journal.history(ANN.mac)
    assert asked.message.startswith("REQUEST")
    assert refused.message.startswith("no ACK is sent: its lease cannot be saved; make room")
    assert refused.message.endswith("; the PC shows: PXE-E16: No valid offer received")
    assert f"{ANN.mac}: {refused.message}" in caplog.text
