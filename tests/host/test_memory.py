"""The memory that the kernel lets us fill: the machine's, and that of each cgroup above us."""

from pathlib import Path

import pytest

from netboot.host.memory import (
    SPARED_BYTES,
    SPARED_SHARE,
    Limit,
    free_bytes,
    memory_limits,
    ram_bytes,
)

MIB = 1 << 20


class Machine:
    """Files of /proc and /sys below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/meminfo", f"MemTotal:       {1024 << 10} kB\nMemFree: 1 kB\n")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def cgroups(self) -> list[Limit]:
        """The limits of cgroups, the innermost one first, with 20 MiB of pages stored."""
        return memory_limits(20 * MIB, self.root)[1:]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def left(limit: int, used: int = 0) -> int:
    return limit - used - SPARED_BYTES - limit // SPARED_SHARE


V2 = "30 24 0:26 {top} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
V1 = "35 31 0:32 {top} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


def test_the_ram_is_that_of_the_container(machine: Machine) -> None:
    """LXC: sysconf(3) tells the RAM of the host, /proc/meminfo that of the container."""
    machine.write("proc/meminfo", "MemTotal: 65536 kB\n")
    assert ram_bytes(machine.root) == 64 * MIB
    machine.write("proc/meminfo", "nothing of use\n")
    assert ram_bytes(machine.root) == ram_bytes()


def test_each_cgroup_above_us_counts(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "0::/room.slice/netboot.service\n")
    machine.write(
        "proc/self/mountinfo", "23 1 0:1 / / rw - ext4 /dev/sda rw\n" + V2.format(top="/")
    )
    inner, outer = (f"sys/fs/cgroup/room.slice{end}" for end in ("/netboot.service", ""))
    machine.write(f"{inner}/memory.max", "max\n")
    machine.write(f"{inner}/memory.high", f"{400 * MIB}\n")
    machine.write(f"{inner}/memory.stat", f"anon {50 * MIB}\nfile 9\nshmem {25 * MIB}\n")
    machine.write(f"{outer}/memory.max", f"{300 * MIB}\n")
    assert machine.cgroups() == [
        Limit("the memory limit of cgroup /room.slice/netboot.service", left(400 * MIB, 55 * MIB)),
        Limit("the memory limit of cgroup /room.slice", left(300 * MIB)),
    ]


def test_cgroups_of_version_1_count(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/a/b\n0::/\n")
    machine.write("proc/self/mountinfo", V1.format(top="/"))
    machine.write("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", f"{260 * MIB}\n")
    stat = f"rss 1\ntotal_rss {30 * MIB}\ntotal_shmem {20 * MIB}\n"
    machine.write("sys/fs/cgroup/memory/a/b/memory.stat", stat)
    machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    (found,) = machine.cgroups()
    assert found.size_bytes == left(260 * MIB, 30 * MIB)
    assert found.what.endswith(" /a/b")


@pytest.mark.parametrize(("top", "path"), [("/docker/1", "/docker/1"), ("/", "/"), ("/x", "/y")])
def test_a_container_sees_its_own_part(machine: Machine, top: str, path: str) -> None:
    machine.write("proc/self/cgroup", f"4:memory:{path}\n")
    machine.write("proc/self/mountinfo", V1.format(top=top))
    machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", f"{512 * MIB}\n")
    assert machine.cgroups() == [Limit("the memory limit of cgroup /", left(512 * MIB))]


def test_a_limit_that_is_used_up_leaves_nothing(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "0::/\n")
    machine.write("proc/self/mountinfo", V2.format(top="/"))
    machine.write("sys/fs/cgroup/memory.max", f"{32 * MIB}\n")
    assert [each.size_bytes for each in machine.cgroups()] == [0]


def test_a_machine_without_cgroups_has_its_ram(machine: Machine) -> None:
    assert memory_limits(0, machine.root) == [Limit("the RAM of this machine", left(1024 * MIB))]


def test_what_no_program_has_is_free(machine: Machine) -> None:
    assert free_bytes(machine.root) == 1024 * MIB, "a kernel that does not say"
    machine.write("proc/meminfo", "MemTotal: 9 kB\nMemAvailable:  2048 kB\nSwapFree: 1024 kB\n")
    assert free_bytes(machine.root) == 3 * MIB
