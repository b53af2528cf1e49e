"""Drivers that a root image leaves out."""

import pytest

from netboot.roots.drivers import left_out

TABLE = """\
kernel/drivers/ata/ahci.ko: kernel/drivers/ata/libata.ko
kernel/drivers/ata/libata.ko:
kernel/drivers/media/usb/uvc/uvcvideo.ko.xz: kernel/drivers/media/mc/mc.ko.xz
kernel/drivers/media/mc/mc.ko.xz:
kernel/drivers/media/pci/saa.ko: kernel/drivers/media/mc/mc.ko.xz
kernel/drivers/scsi/scsi_mod.ko:
kernel/drivers/scsi/aic/aic.ko: kernel/drivers/scsi/scsi_mod.ko
kernel/sound/snd.ko:
"""


@pytest.mark.parametrize(
    ("drop", "keep", "removed"),
    [
        ((), (), set()),
        (("drivers/ata",), (), {"drivers/ata/ahci.ko", "drivers/ata/libata.ko"}),
        (("drivers/ata",), ("drivers/ata/ahci",), set()),
        (("drivers/media",), ("drivers/media/usb/uvc",), {"drivers/media/pci/saa.ko"}),
        (("drivers/scsi/*/*",), (), {"drivers/scsi/aic/aic.ko"}),
        (("snd", "aic"), (), {"drivers/scsi/aic/aic.ko", "sound/snd.ko"}),
        (("*",), ("sound",), None),
    ],
)
def test_what_a_remaining_driver_needs_remains(
    drop: tuple[str, ...], keep: tuple[str, ...], removed: set[str] | None
) -> None:
    found = {path.removeprefix("kernel/") for path in left_out(TABLE, drop, keep)}
    if removed is None:
        assert found == {
            line.partition(":")[0].removeprefix("kernel/") for line in TABLE.splitlines()
        } - {"sound/snd.ko"}
    else:
        assert found == removed
