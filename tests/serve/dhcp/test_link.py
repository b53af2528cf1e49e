"""A link that cannot be watched is the operator's to mend, or tried again."""

import errno
import socket
from ipaddress import IPv4Address, IPv4Network

import pytest

from netboot.errors import OperatorError
from netboot.host.interfaces import Interface
from netboot.serve.dhcp.link import Link

LAN = Interface("lan0", 2, IPv4Address("10.9.0.1"), IPv4Network("10.9.0.0/24"))


@pytest.mark.parametrize("code", [errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS])
def test_whatever_the_kernel_refuses_is_one_kind_of_error(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a descriptor, a card that came while the server ran was never served."""

    def refuse(*_: int) -> socket.socket:
        raise OSError(code, "refused")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(OperatorError, match="cannot watch lan0: refused") as caught:
        Link(LAN, lambda *_: None, lambda *_: None).start()
    assert ("root" in caught.value.hint) == (code == errno.EPERM)
