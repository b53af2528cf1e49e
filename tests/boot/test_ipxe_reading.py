"""Our own scripts, as our own client reads them."""

import pytest

from netboot.boot import ipxe
from netboot.boot.admission import Turn
from netboot.boot.ipxe import Boot, Chain, read
from netboot.errors import AnswerError
from netboot.profile.fields import SwapSize
from netboot.profile.profile import Profile
from netboot.profile.sections import Swap
from tests.boot.test_ipxe import KEYS, MAC, SERVER, plan_of

BASE = f"http://{SERVER}:8080"
SCRIPT = f"{BASE}/boot/{MAC}/bios.ipxe"


def test_the_first_script_leads_to_the_second_at_once() -> None:
    assert read(ipxe.render_chain("bios.ipxe", BASE), MAC) == Chain(SCRIPT)


def test_a_pc_that_has_to_wait_is_told_how_long() -> None:
    text = ipxe.render_wait(plan_of(Profile()), BASE, Turn(wait=12, before=7))
    assert read(text, MAC) == Chain(SCRIPT, wait=12)
    assert (
        "echo netboot: pc-123456 waits for its turn to download, about 12 s: 7 PCs are before it"
        in (text.splitlines())
    )


def test_the_second_tells_files_and_swap() -> None:
    boot = read(ipxe.render(plan_of(Profile(), initrds=("b.img",)), BASE), MAC)
    assert isinstance(boot, Boot)
    files = [
        f"{BASE}/boot/{KEYS.session}/{name}"
        for name in ("amd64/vmlinuz", "amd64/initramfs.img", "b.img")
    ]
    assert list(boot.files) == files
    assert boot.arguments["netboot.token"] == KEYS.token
    assert boot.page_server() == (str(SERVER), 10809, "seat-525400123456")


def test_of_several_page_servers_the_first() -> None:
    swap = Swap.model_validate({"servers": ["10.0.0.8", "10.0.0.9"], "layout": "stripe"})
    boot = read(ipxe.render(plan_of(Profile(swap=swap)), BASE), MAC)
    assert isinstance(boot, Boot)
    assert boot.page_server() == ("10.0.0.8", 10809, "seat-525400123456")


def test_no_swap_is_no_page_server() -> None:
    boot = read(ipxe.render(plan_of(Profile(swap=Swap(size=SwapSize(bytes=0)))), BASE), MAC)
    assert isinstance(boot, Boot) and boot.page_server() is None


@pytest.mark.parametrize("text", ["", "#!ipxe\nshell\n", "chain undionly.kpxe"])
def test_strange_scripts_are_refused(text: str) -> None:
    with pytest.raises(AnswerError, match="neither boots nor leads"):
        read(text, MAC)


def test_a_page_server_that_cannot_be_read_is_told() -> None:
    with pytest.raises(AnswerError, match="expected ADDRESS:PORT/EXPORT"):
        Boot((), {"netboot.swap": "nowhere"}).page_server()
