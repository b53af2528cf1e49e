"""The boot id, from the kernel and from the service's unit."""

import pytest

from netboot.host import boot


def test_both_sources_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(boot.VARIABLE, raising=False)
    kernel = boot.boot_id()
    monkeypatch.setenv(boot.VARIABLE, kernel.strip().replace("-", ""))  # systemd's %b
    monkeypatch.setattr(boot, "FILE", None)
    assert boot.boot_id() == kernel
