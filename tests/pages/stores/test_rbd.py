"""The store ``rbd`` without a cluster: its notation, and the mistakes of an operator."""

import ctypes
from pathlib import Path

import pytest

from netboot.errors import OperatorError
from netboot.pages.headroom import Promise, look
from netboot.pages.stores import librbd, rbd
from netboot.pages.stores.librbd import Access
from netboot.profile.stores import StoreSpec, parse_store

GIB = 1 << 30


def test_the_notation() -> None:
    assert parse_store("rbd:swap") == StoreSpec("rbd", pool="swap")
    assert parse_store(" rbd: a.b,namespace=room ") == StoreSpec(
        "rbd", pool="a.b", namespace="room"
    )
    for text in ("rbd", "rbd:", "rbd:a/b", "rbd:swap,namespace=", "rbd:swap,size=1", "rbd:swap x"):
        with pytest.raises(OperatorError) as caught:
            parse_store(text)
        assert caught.value.hint == "did you mean 'rbd:POOL[,namespace=NAME]'?"


def test_without_the_library_the_remedy_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> ctypes.CDLL:
        raise OSError(f"{name}: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    librbd._library.cache_clear()
    with pytest.raises(OperatorError, match="needs Ceph's library librbd.so.1") as caught:
        rbd.RbdStore(Access("netboot", "", "", "swap", ""))
    assert caught.value.hint == "sudo apt install librbd1"
    librbd._library.cache_clear()


def test_a_missing_configuration_is_the_operators_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(rbd.CONF_VARIABLE, str(tmp_path / "ceph.conf"))
    with pytest.raises(
        OperatorError, match=r"the store rbd cannot read .*/ceph.conf: No such file"
    ):
        rbd.find_access(parse_store("rbd:swap"))


def test_the_key_is_that_of_our_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = tmp_path / "keyring"
    keyring.write_text("[client.admin]\n\tkey = AAAA==\n[client.netboot]\n\tkey = BBBB==\n[mon.]\n")
    conf = tmp_path / "ceph.conf"
    conf.write_text(f"[global]\nmon host = 127.0.0.1:1\nkeyring = {tmp_path}/none,{keyring}\n")
    monkeypatch.setenv(rbd.CONF_VARIABLE, str(conf))
    try:
        found = rbd.find_access(parse_store("rbd:swap,namespace=room"))
    except OperatorError as error:
        pytest.skip(str(error))
    assert (found.key, found.pool, found.namespace) == ("BBBB==", "swap", "room")
    assert found.conf == conf.read_text()


def test_a_pool_is_not_limited_by_this_machine(tmp_path: Path) -> None:
    spec = StoreSpec("rbd", pool="swap")
    holding = look(Promise(spec, 4096 * GIB, 2.0), tmp_path, 0)
    assert (holding.granted, holding.warnings) == (8192 * GIB, ())
