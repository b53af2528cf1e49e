"""The root image of a PC: its check, file system, changes, and the files that it keeps."""

import pytest

from tests.support.shell import BEFORE, INITRAMFS, Lib


@pytest.mark.parametrize(
    ("mode", "kernel_can", "shown"),
    [
        ("yes", True, "5:cafe"),
        ("auto", True, "5:cafe"),
        ("yes", False, "refused: this kernel has no dm-verity, which root.verify needs"),
        ("auto", False, ""),
        ("", True, ""),
    ],
)
def test_a_kernel_without_verity_is_told(lib: Lib, mode: str, kernel_can: bool, shown: str) -> None:
    hook = (INITRAMFS / "root/nbd").read_text()
    function = hook[hook.index("choose_verification()") : hook.index("\nnew=")]
    if kernel_can:
        (lib.folder / "module/dm_verity").mkdir(parents=True)
    text = (
        f"modprobe() {{ return 1; }}\n{BEFORE}queue=$run/beacons screen=$run/screen\n{function}\n"
    )
    text += 'if choose_verification; then echo "$verify"; else echo "refused: $why"; fi'
    given = f"netboot.verify={mode},5:cafe" if mode else ""
    assert lib.run(text, given) == f"{shown}\n"
    screen = lib.folder / "screen"
    told = screen.read_text() if screen.exists() else ""
    assert ("80 root: not verified" in told) is (mode == "auto" and not kernel_can)
    assert bool(list((lib.folder / "beacons").iterdir())) is bool(told)


EROFS = bytes(1024) + b"\xe2\xe1\xf5\xe0" + bytes(3068)
SQUASHFS = b"hsqs" + bytes(4092)
OLD = "Linux 3.2 has no {}, the file system of the root image; boot Debian's kernel"
NEITHER = "the root image is neither an EROFS nor a squashfs"


@pytest.mark.parametrize(
    ("content", "kernel_has", "result"),
    [
        (EROFS, "erofs", "-q crc32c_generic\n-q erofs\n-t erofs -o ro DEVICE /image\nmounted\n"),
        (SQUASHFS, "squashfs", "-q squashfs\n-t squashfs -o ro DEVICE /image\nmounted\n"),
        (EROFS, "squashfs", f"-q crc32c_generic\n-q erofs\n{OLD.format('erofs')}\n"),
        (SQUASHFS, "erofs", f"-q squashfs\n{OLD.format('squashfs')}\n"),
        (bytes(4096), "erofs", f"{NEITHER}\n"),
        (b"hsq", "squashfs", f"{NEITHER}\n"),
        (b"", "squashfs", f"{NEITHER}\n"),
        (None, "erofs", "reading DEVICE failed: No such file or directory\n"),
    ],
)
def test_the_superblock_tells_the_file_system(
    lib: Lib, content: bytes | None, kernel_has: str, result: str
) -> None:
    (lib.folder / "sys/kernel").mkdir(parents=True)
    (lib.folder / "sys/kernel/osrelease").write_text("3.2\n")
    (lib.folder / "filesystems").write_text(f"nodev\tproc\n\t{kernel_has}\n")
    device = lib.folder / "nbd0"
    if content is not None:
        device.write_bytes(content)
    said = lib.run(
        f". {INITRAMFS / 'image.sh'}\n"
        'modprobe() { echo "$*" >&2; return 1; }; mount() { echo "$*" >&3; }\n'
        f'if mount_image {device} /image; then echo mounted; else echo "$why"; fi 2>&1 3>&1'
    )
    assert said.replace(str(device), "DEVICE") == result
    assert not (lib.folder / "superblock").exists()


IOMEM = "00001000-0009fbff : System RAM\n00100000-0fffffff : System RAM\n"  # 255.6 MiB


@pytest.mark.parametrize(
    ("command_line", "kib"),
    [
        ("", 105_000 + 262_144),  # half of what programs have, and half of the swap
        ("netboot.changes=524288", 524_288),
        ("netboot.changes=100%", 261_755),
        ("netboot.changes=150%", 392_632),
        *(
            (f"netboot.changes={wrong}", 367_144)
            for wrong in ("", "0", "%", "1%2", "x", "-1", "1k")
        ),
    ],
)
def test_the_space_for_changes_has_a_size(lib: Lib, command_line: str, kib: int) -> None:
    meminfo = "MemTotal:       210000 kB\nMemFree: 1000 kB\nSwapTotal:      524288 kB\n"
    (lib.folder / "meminfo").write_text(meminfo)
    (lib.folder / "iomem").write_text(IOMEM)
    said = lib.run(f". {INITRAMFS / 'changes.sh'}\nread_changes; echo $kib", command_line)
    assert int(said) == kib


def test_a_full_space_for_changes_is_told_once_and_when_it_is_free_again(lib: Lib) -> None:
    (lib.folder / "netboot").mkdir()
    full = (
        "if [ -e $run/netboot/overlay-full ]; then cat $run/netboot/overlay-full; else echo -; fi"
    )
    looks = (
        ("1000 101 4096 500 500", "-"),
        ("1000 100 4096 500 500", "90 0"),
        ("1000 0 4096 500 500", "100 0"),
        ("100000 14100 4096 500 500", "85 55"),  # not yet free
        ("100000 16000 4096 500 500", "-"),
        ("100000 90000 4096 500 25", "95 351"),  # many small files
        ("100000 90000 4096 0 0", "-"),
        ("", "-"),
    )
    text = f". {INITRAMFS / 'changes.sh'}\nserver=http://10.0.0.1:8080 ticket=t online=yes\n"
    text += "".join(
        f"stat() {{ echo '{numbers}'; }}\nlook_at_changes; {full}\n" for numbers, _ in looks
    )
    assert lib.run(text).splitlines() == [said for _, said in looks]
    words = [line.partition("beacon/t/")[2].split("?")[0] for line in lib.posted()]
    assert words == ["overlay:full", "overlay:free"] * 2
    assert "90 % of the space for changes is used percent=90 left_mib=0" in lib.posted()[0]


def test_the_real_statfs_has_five_numbers(lib: Lib) -> None:
    (lib.folder / "netboot").mkdir()
    text = f". {INITRAMFS / 'changes.sh'}\nfolder=/proc FULL_PERCENT=0; look_at_changes; echo fine"
    assert lib.run(text) == "fine\n"
    text = f". {INITRAMFS / 'changes.sh'}\nfolder=/dev/shm FULL_PERCENT=0; look_at_changes"
    lib.run(text)
    used, left = (lib.folder / "netboot/overlay-full").read_text().split()
    assert 0 <= int(used) <= 100
    assert int(left) >= 0


@pytest.mark.parametrize(
    ("top", "ahead", "prefetched"), [("0fffffff", 128, 16384), ("0bffffff", 192, 32768)]
)
def test_reading_and_swapping_are_tuned_where_the_kernel_can(
    lib: Lib, top: str, ahead: int, prefetched: int
) -> None:
    text = f". {INITRAMFS / 'changes.sh'}\ntune /dev/dm-1; echo fine"
    (lib.folder / "iomem").write_text(f"00100000-{top} : System RAM\n")
    assert lib.run(text) == "fine\n"
    parameters = [f"module/{name}/parameters" for name in ("dm_bufio", "dm_verity")]
    for folder in ("sys/vm", "block/dm-1/queue", "kernel/mm/lru_gen", *parameters):
        (lib.folder / folder).mkdir(parents=True)
    assert lib.run(text) == "fine\n"
    assert (lib.folder / "kernel/mm/lru_gen/enabled").read_text() == "y\n"
    assert (lib.folder / "sys/vm/swappiness").read_text() == "200\n"
    assert (lib.folder / "sys/vm/watermark_boost_factor").read_text() == "0\n"
    assert (lib.folder / "block/dm-1/queue/read_ahead_kb").read_text() == f"{ahead}\n"
    assert (lib.folder / parameters[0] / "retain_bytes").read_text() == "2097152\n"
    assert (lib.folder / parameters[1] / "prefetch_cluster").read_text() == f"{prefetched}\n"


def test_a_pc_with_very_little_ram_reads_less_ahead(lib: Lib) -> None:
    """Nearly all of its pages are used again, and Linux would find none to drop."""
    for folder in ("kernel/mm/lru_gen", "sys/vm", "block/dm-1/queue"):
        (lib.folder / folder).mkdir(parents=True)
    (lib.folder / "iomem").write_text("00100000-07ffffff : System RAM\n")
    assert lib.run(f". {INITRAMFS / 'changes.sh'}\ntune /dev/dm-1; echo fine") == "fine\n"
    assert not (lib.folder / "kernel/mm/lru_gen/enabled").exists()
    assert not (lib.folder / "sys/vm/watermark_boost_factor").exists()
    assert (lib.folder / "sys/vm/swappiness").read_text() == "180\n"
    assert (lib.folder / "block/dm-1/queue/read_ahead_kb").read_text() == "128\n"


KEPT = "host=10.0.0.1 port=10809 export=seat-1-persist"
KEEP = "netboot.persist=10.0.0.1:10809/seat-1-persist"


@pytest.mark.parametrize(
    ("command_line", "answer", "started", "device", "told"),
    [
        ("", "size=1 token=ab", "", "", ""),
        (
            KEEP,
            "size=67108864 token=ab",
            f"ab {KEPT} connections=2 timeout=3 patience=1000 use=keep\n",
            "/dev/nbd2",
            "",
        ),
        (KEEP, "refused=no room to keep files", "", "", "no room to keep files"),
        (KEEP, "agent: cannot connect", "", "", "agent: cannot connect"),
        (KEEP, "size=1 token=bad", "bad ", "", "unknown"),
    ],
)
def test_files_are_kept_only_if_the_server_agrees(
    lib: Lib, command_line: str, answer: str, started: str, device: str, told: str
) -> None:
    (lib.folder / "netboot").mkdir()
    text = f". {INITRAMFS / 'keep.sh'}\n{BEFORE}"
    text += "queue=$run/beacons screen=$run/screen timeout=3 PATIENCE=1000 code=0 why=\n"
    text += "load_nbd() { :; }; modprobe() { return 1; }\n"
    text += f'agent() {{ echo "$*" >"$run/asked"; echo "{answer}"; }}\n'
    text += (
        'start_agent() { echo "$*" >"$run/started"; why=unknown; [ "$1" != bad ] || return 1; '
        'answer="device=/dev/nbd2 size=1 connections=2"; }\n'
    )
    lib.run(f"{text}attach_kept && echo fine", command_line)
    found = lib.folder / "started"
    assert (found.read_text() if found.exists() else "").startswith(started or "")
    assert found.exists() is bool(started)
    kept = lib.folder / "netboot/keep"
    assert (kept.read_text() if kept.exists() else "") == (f"{device}\n" if device else "")
    beacons = [path.read_text() for path in (lib.folder / "beacons").iterdir()]
    assert beacons == ([f"{told}\n"] if told else [])
    assert (lib.folder / "asked").exists() is bool(command_line)


@pytest.mark.parametrize(
    ("content", "called"),
    [
        (bytes(70000), "mke2fs"),
        (bytes(1024) + b"\x53\xef" + bytes(70000), "e2fsck"),
        (bytes(4096), ""),
        (None, ""),
    ],
)
def test_only_an_area_that_was_read_and_is_empty_gets_a_file_system(
    lib: Lib, content: bytes | None, called: str
) -> None:
    """A read that fails while the server is away must not cost a pupil's files."""
    (lib.folder / "netboot").mkdir()
    (lib.folder / "netboot/keep").write_text(f"{lib.folder}/area\n")
    if content is not None:
        (lib.folder / "area").write_bytes(content)
    text = (INITRAMFS / "keep.sh").read_text().replace("/persist", f"{lib.folder}/persist")
    for name in ("mke2fs", "e2fsck"):
        text = text.replace(f"/sbin/{name}", name)
        text += f'{name}() {{ echo {name} >"$run/called"; }}\n'
    text += f"mount() {{ :; }}\n{BEFORE}queue=$run/beacons screen=$run/screen\n"
    lib.run(f"{text}mount_kept 2>/dev/null; :")
    found = lib.folder / "called"
    assert (found.read_text() if found.exists() else "") == (f"{called}\n" if called else "")
    beacons = [path.read_text() for path in (lib.folder / "beacons").iterdir()]
    assert beacons == ([] if called else ["its first bytes cannot be read\n"])
